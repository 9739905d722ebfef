//! TensorFlow Lite: float32 and full int8, channels innermost throughout, without a transposition in the file.

mod file;
mod label;
mod layer;
mod model;

pub use label::{Label, Normalisation};
pub use model::{float_model, int8_model};
