//! `ofa import ofa-mbv3`: a published checkpoint becomes a bundle without a predictor.

use std::path::Path;

use search::space::SearchSpace;
use supernet::import::ofa_mbv3::import_ofa_mbv3;
use supernet::supernet::Supernet;
use supernet::tensors::to_tensor;
use tch::Device;

use crate::error::Result;
use crate::folders::supernet_file::{StoredAs, save_supernet};

/// Reads `checkpoint` (tensors only) as weights of `space` and writes the bundle folder `out`.
///
/// # Errors
/// A damaged checkpoint, weights of another space, or a folder that cannot be written.
pub(crate) fn import(checkpoint: &Path, space: &SearchSpace, out: &Path) -> Result<Supernet> {
    let arrays = import_ofa_mbv3(checkpoint, space)?;
    let tensors = arrays.iter().map(|(name, array)| (name.clone(), to_tensor(array))).collect();
    let supernet = Supernet::from_tensors(space, tensors, Device::Cpu)?;
    save_supernet(out, &supernet, StoredAs::Fp32)?;
    Ok(supernet)
}
