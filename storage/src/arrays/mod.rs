//! Dense arrays in host memory, and files of them that other programs read and write too.
//!
//! An array is its shape, its element type and its bytes ([`HostArray`]); a file gives arrays by name, or a
//! [`TensorFileError`] that says which part of which file is wrong.

mod array;
mod error;

pub mod npz;
pub mod safetensors;

pub use array::{DType, HostArray, byte_len};
pub use error::{END, Fault, TensorFileError};
