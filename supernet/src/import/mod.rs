//! Published weights: checkpoints of other implementations, read as tensors only.
//!
//! [`read_pth`] reads PyTorch's two containers without executing anything; [`once_for_all`] renames the parameters of the
//! published once-for-all checkpoints to this supernet's. `pickle` and `pth` know neither LibTorch nor search spaces.

#[cfg(feature = "torch")]
pub mod once_for_all;
mod pickle;
mod pth;

pub use pth::read_pth;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub use storage::arrays::{DType, HostArray, TensorFileError};

/// The published once-for-all supernets whose checkpoints are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// OFAMobileNetV3: two layers between the last stage and the classifier, the second after the pooling.
    MobileNetV3,
    /// OFAProxylessNASNets: one, before it.
    ProxylessNas,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::MobileNetV3 => "MobileNetV3",
            Family::ProxylessNas => "ProxylessNAS",
        })
    }
}

/// What training loops put their weights under.
const STATE_DICT: &str = "state_dict.";
/// What data-parallel wrappers put in front of every name.
const WRAPPER: &str = "module.";

/// Every tensor of the checkpoint at `path` under the name that its network gives it, as [`read_pth`] reads them.
///
/// Only what is under `state_dict` counts, where there is such a key; `module.` in front is left off.
///
/// # Errors
/// As [`read_pth`].
pub fn read_state_dict(path: &Path) -> Result<Vec<(String, HostArray)>, TensorFileError> {
    Ok(state_dict(read_pth(path)?).into_iter().map(|(name, _, array)| (name, array)).collect())
}

/// Tensors by the names that their network gives them, with their names in the file.
pub(crate) fn state_dict(tensors: BTreeMap<String, HostArray>) -> Vec<(String, String, HostArray)> {
    let is_nested = tensors.keys().any(|key| key.starts_with(STATE_DICT));
    let inner = |(key, array): (String, HostArray)| {
        let name = if is_nested { key.strip_prefix(STATE_DICT)? } else { &key };
        Some((name.strip_prefix(WRAPPER).unwrap_or(name).to_owned(), key, array))
    };
    tensors.into_iter().filter_map(inner).collect()
}

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
    fn wrappers_around_weights_are_taken_off() {
        let of = |names: &[&str]| {
            let array = || HostArray::from_f32(&[1], &[0.0]);
            let tensors = names.iter().map(|name| ((*name).to_owned(), array())).collect();
            state_dict(tensors).into_iter().map(|(name, key, _)| (name, key)).collect::<Vec<_>>()
        };
        let pair = |name: &str, key: &str| (name.to_owned(), key.to_owned());
        assert_eq!(of(&["0.weight"]), [pair("0.weight", "0.weight")]);
        assert_eq!(
            of(&["optimizer.x", "state_dict.module.0.weight"]),
            [pair("0.weight", "state_dict.module.0.weight")]
        );
    }

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
