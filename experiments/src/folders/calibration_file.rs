//! `calibration/images.safetensors` of a bundle: images for batch-norm statistics, made by the project itself, since real
//! training images may often not be passed on.
//!
//! It holds one tensor `images`, u8 `[N, S, S, 3]`; its metadata say how it was made and into which batches it has to be
//! divided. The file stays below a megabyte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use supernet::data::{Preprocessing, resize};
use supernet::distill::from_bytes;
use supernet::tensors::{Metadata, load_safetensors, save_safetensors};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::folders::names;

/// What the file's metadata call its layout.
pub(crate) const SCHEMA: &str = "ofa.calibration-images/1";
/// The file's only tensor.
pub(crate) const TENSOR: &str = "images";

/// Writes `images`, u8 `[N, S, S, 3]`, with what `about` says of them, and returns the path.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(folder: &Path, images: &Tensor, about: Metadata) -> Result<PathBuf> {
    let mut metadata = Metadata::from([("schema".to_owned(), SCHEMA.to_owned())]);
    metadata.extend(about);
    let path = file_in(folder);
    save_safetensors(&path, &[(TENSOR.to_owned(), images)], &metadata)?;
    Ok(path)
}

/// What the file says, checked.
pub(crate) struct CalibrationFile {
    images: Tensor,
    batch: i64,
    /// How many subnets the images were made for.
    pub(crate) pool: usize,
    /// Seed of the choice of those subnets.
    pub(crate) seed: u64,
}

impl CalibrationFile {
    /// Reads the file of the bundle in `folder`.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = file_in(folder);
        if !path.exists() {
            return Err(Error::BundleLacks { bundle: folder.to_path_buf(), file: names::CALIBRATION });
        }
        let wrong = |reason: String| Error::FileInFolder { path: path.clone(), reason };
        let (mut tensors, metadata) = load_safetensors(&path)?;
        if metadata.get("schema").is_none_or(|schema| schema != SCHEMA) {
            return Err(wrong(format!("its schema is not `{SCHEMA}`")));
        }
        let images = tensors.remove(TENSOR).ok_or_else(|| wrong(format!("holds no tensor `{TENSOR}`")))?;
        let shape = images.size();
        let is_square = matches!(shape[..], [count, height, width, 3] if count > 0 && height > 0 && height == width);
        if !is_square || images.kind() != Kind::Uint8 {
            return Err(wrong(format!("`{TENSOR}` is {:?} {shape:?} instead of u8 [N, S, S, 3]", images.kind())));
        }
        let number = |key: &'static str| -> Result<u64, Error> {
            let value = metadata.get(key).and_then(|text| text.parse().ok());
            value.ok_or_else(|| wrong(format!("its metadata lack the number `{key}`")))
        };
        let batch = number("batch")?;
        if batch == 0 {
            return Err(wrong("its batches are empty".into()));
        }
        let batch = batch.min(shape[0] as u64) as i64;
        Ok(Self { batch, pool: number("pool")? as usize, seed: number("seed")?, images })
    }

    /// The images at each of `resolutions`, normalised, in the batches they were made in.
    pub(crate) fn batches(
        &self,
        preprocessing: &Preprocessing,
        resolutions: &[u32],
        device: Device,
    ) -> BTreeMap<u32, Vec<Tensor>> {
        let images = from_bytes(&self.images, preprocessing).to_device(device);
        let at = |&resolution: &u32| (resolution, resize(&images, i64::from(resolution)).split(self.batch, 0));
        resolutions.iter().map(at).collect()
    }
}

/// Where the images of the bundle in `folder` are.
pub(crate) fn file_in(folder: &Path) -> PathBuf {
    folder.join(names::CALIBRATION).join(names::CALIBRATION_IMAGES)
}

#[cfg(test)]
mod tests {
    use storage::failure::{Failure, FailureKind};

    use super::*;

    #[test]
    fn a_bundle_without_images_or_with_a_foreign_file_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let problem = || CalibrationFile::read(folder.path()).err().unwrap();
        assert!(problem().to_string().contains(names::CALIBRATION));
        let images = Tensor::zeros([2, 4, 4, 3], (Kind::Uint8, Device::Cpu));
        let write = |tensor: &Tensor, metadata: &[(&str, &str)]| {
            let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            save_safetensors(&file_in(folder.path()), &[(TENSOR.to_owned(), tensor)], &metadata).unwrap();
        };
        write(&images, &[]);
        assert!(problem().to_string().contains(SCHEMA));
        write(&images, &[("schema", SCHEMA), ("pool", "2"), ("seed", "1")]);
        assert!(problem().to_string().contains("`batch`"));
        write(&images.to_kind(Kind::Float), &[("schema", SCHEMA), ("batch", "2"), ("pool", "2"), ("seed", "1")]);
        assert!(problem().to_string().contains("u8 [N, S, S, 3]"));
        assert_eq!(problem().kind(), FailureKind::Content);
    }
}
