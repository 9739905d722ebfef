//! Published weights: checkpoints of other implementations, read as tensors only.
//!
//! [`read_pth`] reads PyTorch's two containers without executing anything; [`ofa_mbv3`] renames the parameters of the
//! published once-for-all checkpoints to this supernet's. `pickle` and `pth` know neither LibTorch nor search spaces.

#[cfg(feature = "torch")]
pub mod ofa_mbv3;
mod pickle;
mod pth;

pub use pth::read_pth;
pub use storage::arrays::{DType, HostArray, TensorFileError};

/// A golden file by its path, or `None` (said so) where this machine does not have it.
#[cfg(test)]
pub(crate) fn golden(path: &str) -> Option<std::path::PathBuf> {
    shared_data::file(&format!("golden/{path}"))
}

#[cfg(test)]
mod tests {
    use storage::arrays::npz::read_npz;

    use super::*;

    #[test]
    fn golden_inputs_and_logits() {
        let Some(path) = golden("ofa-mbv3-w1.0/inputs.npz") else { return };
        let inputs = read_npz(&path).unwrap();
        assert_eq!(inputs["r192"].shape(), [2, 3, 192, 192]);
        let logits = read_npz(&path.with_file_name("logits.npz")).unwrap();
        assert_eq!((logits["logits"].shape(), logits["logits"].dtype()), (&[8, 2, 1000][..], DType::F32));
        let batches = read_npz(&path.with_file_name("calibration.npz")).unwrap();
        assert_eq!(batches["batches"].shape(), [2, 16, 3, 128, 128]);
    }
}
