//! `ofa predictor import`: a published predictor becomes one for `search`.

use std::path::Path;

use predictors::published::{self, NamedArray};
use predictors::{resnet50, saved};
use supernet::import::read_state_dict;

use crate::error::{Error, Result};
use crate::folders::spaces;

/// Makes the published predictor at `path` (a `.pth` file; tensors are read, nothing in it is executed) a predictor for
/// `space` at `out`. Gives the resolutions it knows. `resolutions` as in [`published::predictor`].
///
/// # Errors
/// A file that is missing, damaged or of another layout; an unknown space; a place that cannot be written.
pub fn import(path: &Path, space: &str, resolutions: Option<&[u32]>, out: &Path) -> Result<Vec<u32>> {
    if !path.exists() {
        return Err(Error::NotFound { path: path.to_path_buf() });
    }
    let space = if space == resnet50::SPACE { None } else { Some(spaces::find(space)?) };
    let origin = path.file_name().unwrap_or_default().to_string_lossy();
    let arrays = read_state_dict(path)?
        .into_iter()
        .filter_map(|(name, array)| Some(NamedArray { name, shape: array.shape().to_vec(), values: array.to_f32()? }));
    let arrays: Vec<NamedArray> = arrays.collect();
    if let Some(space) = space {
        let predictor = published::predictor(&arrays, &origin, &space, resolutions)?;
        saved::save(&predictor, &space, out)?;
        Ok(predictor.resolutions().to_vec())
    } else {
        let predictor = published::resnet50(&arrays, &origin, resolutions.unwrap_or_default())?;
        saved::save_resnet50(&predictor, out)?;
        Ok(predictor.encoder().resolutions().to_vec())
    }
}
