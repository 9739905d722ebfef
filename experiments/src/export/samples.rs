//! Images that a file is checked and calibrated with.

use std::path::Path;

use network::shape::NetworkShape;
use supernet::data::{self, DataError, DataSource, ImageSet, Loaded, Preprocessing, PreprocessingFile};
use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::folders::bundle::Bundle;
use crate::folders::deployment::bundle_of;
use crate::folders::image_settings::options;
use crate::training::open_bundle::OpenBundle;
use crate::training::test_part::test_part;

/// Images of noise at most.
const MOST_NOISE: usize = 1000;
/// Training images that ranges and means are taken from.
const CALIBRATING: usize = 512;

/// Images that come with a bundle, as a network of its reads them.
pub(crate) struct OwnImages {
    /// `[N, C, S, S]`, normalised.
    pub(crate) images: Tensor,
    /// The bundle's name.
    pub(crate) bundle: String,
}

/// Those of `bundle` at `resolution`.
///
/// # Errors
/// A bundle without such images, or a damaged file of them.
pub(crate) fn own_images(bundle: &OpenBundle, resolution: u32) -> Result<OwnImages> {
    bundle.bundle().calibration()?;
    let batches = bundle.calibration_file()?.batches(&bundle.settings()?.preprocessing, &[resolution], Device::Cpu);
    Ok(OwnImages { images: Tensor::cat(&batches[&resolution], 0), bundle: bundle.bundle().name().to_owned() })
}

/// The images that come with the bundle of whose subnets the network in `folder` is one, at its `resolution`, if the
/// folder names a bundle of the zoo, of the same space, and that has some.
///
/// # Errors
/// A damaged file of images.
pub(crate) fn images_of_origin(folder: &Path, resolution: u32) -> Result<Option<OwnImages>> {
    let Some((name, space)) = bundle_of(folder) else { return Ok(None) };
    let open = || -> Result<OpenBundle> {
        let bundle = Bundle::named(&name)?;
        bundle.calibration()?;
        let space = bundle.space()?;
        Ok(OpenBundle::new(bundle, space, None, Device::Cpu))
    };
    match open() {
        Ok(bundle) if bundle.space().id().to_string() == space => own_images(&bundle, resolution).map(Some),
        Ok(_) => Ok(None),
        Err(error) => {
            tracing::info!(%error, "no images of the bundle that the network was taken out of");
            Ok(None)
        }
    }
}

/// Images as a network reads them.
pub(crate) struct Samples {
    /// `[N, C, S, S]`, normalised, on the CPU.
    pub(crate) images: Tensor,
    /// One for each image, where there are some.
    pub(crate) labels: Option<Vec<i64>>,
    /// Where they come from.
    pub(crate) words: String,
    /// What they are, without a path.
    pub(crate) kind: &'static str,
    /// What a reader should know about them.
    pub(crate) notes: Vec<String>,
}

impl Samples {
    /// The first `count` test images of `data`, all of them for 0.
    ///
    /// # Errors
    /// Images that cannot be read or do not fit.
    pub(crate) fn of_test(
        data: &DataSource,
        described: &PreprocessingFile,
        shape: &NetworkShape,
        count: usize,
    ) -> Result<Samples> {
        let preprocessing = described.preprocessing();
        let known = options(&preprocessing, &described.class_names, shape.output().channels as usize);
        let part = test_part(data, &known, described.trained_on.as_ref())?;
        let count = if count == 0 { part.images.len() } else { count.min(part.images.len()) };
        let set = part.images.select(&(0..count).collect::<Vec<usize>>());
        let size = i64::from(shape.input().size);
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for batch in data::eval_batches(&set, &preprocessing, 250, size, Device::Cpu)? {
            let batch = batch?;
            images.push(batch.images);
            labels.extend(Vec::<i64>::try_from(batch.labels).expect("whole numbers"));
        }
        let (kind, words) = (part.part.name(), format!("{} images of {data}", part.part.name()));
        Ok(Samples { images: Tensor::cat(&images, 0), labels: Some(labels), words, kind, notes: part.notes })
    }

    /// Images of nothing, as large as normalised ones.
    pub(crate) fn noise(shape: &NetworkShape, count: usize) -> Samples {
        let size = i64::from(shape.input().size);
        tch::manual_seed(0);
        // There is no end of noise, and some of it says as much as more.
        let count = if count == 0 { MOST_NOISE } else { count.min(MOST_NOISE) };
        let shape = [count as i64, i64::from(shape.input().channels), size, size];
        let images = Tensor::randn(shape, (Kind::Float, Device::Cpu));
        Samples { images, labels: None, words: "noise".into(), kind: "noise", notes: Vec::new() }
    }

    /// The first `count` of the images that come with a bundle, all of them for 0.
    pub(crate) fn of_bundle(own: &OwnImages, count: usize) -> Samples {
        let all = own.images.size()[0];
        let count = if count == 0 { all } else { i64::try_from(count).unwrap_or(all).min(all) };
        let words = format!("the images that come with bundle {}", own.bundle);
        let images = own.images.narrow(0, 0, count);
        Samples { images, labels: None, words, kind: "distilled images of the bundle", notes: Vec::new() }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> i64 {
        self.images.size()[0]
    }
}

/// Training images of `data` to calibrate with, `[N, C, S, S]`, normalised, on the CPU.
///
/// # Errors
/// Images that cannot be read or do not fit.
pub(crate) fn training_images(
    data: &DataSource,
    described: &PreprocessingFile,
    shape: &NetworkShape,
) -> Result<Tensor> {
    let preprocessing = described.preprocessing();
    let known = options(&preprocessing, &described.class_names, shape.output().channels as usize);
    let Loaded { images, .. } = data.train(&known)?;
    calibration_images(&images, &preprocessing, shape)
}

/// Some of `images` as the network reads them, `[N, C, S, S]`, normalised, on the CPU.
///
/// # Errors
/// Images of another size than the preprocessing's.
pub(crate) fn calibration_images(
    images: &ImageSet,
    preprocessing: &Preprocessing,
    shape: &NetworkShape,
) -> Result<Tensor> {
    let set = data::calibration_set(images, CALIBRATING.min(images.len()), 0)?;
    let batches = data::eval_batches(&set, preprocessing, 256, i64::from(shape.input().size), Device::Cpu)?;
    Ok(Tensor::cat(&batches.map(|batch| Ok(batch?.images)).collect::<Result<Vec<_>, DataError>>()?, 0))
}

/// The bytes that normalised images were made of, or would be at their size: whole numbers from 0 to 255.
pub(crate) fn bytes_of(images: &Tensor, preprocessing: &Preprocessing) -> Tensor {
    let of = |values: [f64; 3]| Tensor::from_slice(&values.map(|value| value as f32)).reshape([1, 3, 1, 1]);
    ((images * of(preprocessing.std) + of(preprocessing.mean)) * 255.0).round().clamp(0.0, 255.0)
}

/// On the host, row by row.
pub(crate) fn numbers(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.to_device(Device::Cpu).contiguous().flatten(0, -1)).expect("float32")
}

/// Bytes with channels innermost, `[N, S, S, C]`.
pub(crate) fn channels_innermost(bytes: &Tensor) -> Vec<u8> {
    numbers(&bytes.permute([0, 2, 3, 1])).into_iter().map(|value| value as u8).collect()
}
