//! Published weights: checkpoints of other implementations, read as tensors only.
//!
//! [`read_pth`] reads PyTorch's two containers without executing anything; [`ofa_mbv3`] renames the parameters of the
//! published once-for-all checkpoints to this supernet's. `array`, `error`, `pickle` and `pth` know neither LibTorch
//! nor search spaces.

mod array;
mod error;
#[cfg(feature = "torch")]
pub mod ofa_mbv3;
mod pickle;
mod pth;

#[cfg(feature = "torch")]
pub(crate) use array::byte_len;
pub use array::{DType, HostArray};
pub use error::TensorFileError;
#[cfg(feature = "torch")]
pub(crate) use error::{END, Fault};
pub use pth::{read_pth, read_pth_from};

/// A golden file by its path, or `None` (said so) where this machine does not have it.
#[cfg(test)]
pub(crate) fn golden(path: &str) -> Option<std::path::PathBuf> {
    let shared = std::env::var_os("OFA_SHARED")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into(), std::path::PathBuf::from);
    let path = shared.join("golden").join(path);
    if !path.exists() {
        println!("SKIPPED: no shared data ({})", path.display());
        return None;
    }
    Some(path)
}
