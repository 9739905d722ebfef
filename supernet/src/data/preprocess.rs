//! How an image becomes a network's input, as a value that travels with every trained and exported network.
//!
//! Decode to RGB, bring to the native size, scale to 0…1, normalise each channel, and only then resize to the subnet's
//! resolution: one batch is resized at once, and every resolution sees the same normalised pixels.

use std::io::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::atomic::write_atomically;
use tch::Tensor;

use super::error::{DataError, read_file};
use super::image_set::ImageSet;
use super::orientation::ExifOrientation;
use super::trained_on::TrainedOn;

/// Native size and normalisation of a data set; the rest of the rule is fixed and written into
/// [`PreprocessingFile::steps`].
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessing {
    /// Height and width images are brought to before they are normalised.
    pub native_size: usize,
    /// Mean of each channel (R, G, B) of values scaled to 0…1.
    pub mean: [f64; 3],
    /// Standard deviation of each channel.
    pub std: [f64; 3],
    /// How a batch is resized to a subnet's resolution.
    pub interpolation: Interpolation,
    /// What is done about an orientation in EXIF.
    pub exif_orientation: ExifOrientation,
}

/// How normalised images are resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Bilinear; a triangle filter widened by the scale when shrinking. torchvision's `Resize(antialias=True)`.
    #[default]
    BilinearAntialias,
}

impl Preprocessing {
    /// CIFAR-10's usual constants at 32 pixels.
    pub fn cifar10() -> Preprocessing {
        Preprocessing {
            native_size: 32,
            mean: [0.4914, 0.4822, 0.4465],
            std: [0.2470, 0.2435, 0.2616],
            interpolation: Interpolation::default(),
            exif_orientation: ExifOrientation::default(),
        }
    }

    /// ImageNet's usual constants at `size` pixels, which published networks are trained with, on pixels as they are stored.
    pub fn imagenet(size: usize) -> Preprocessing {
        Preprocessing {
            native_size: size,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            interpolation: Interpolation::default(),
            exif_orientation: ExifOrientation::Ignored,
        }
    }

    /// Mean and standard deviation measured on `train`, at its size; a constant channel keeps deviation 1.
    ///
    /// # Errors
    /// As for [`ImageSet::image`].
    pub fn measured(train: &ImageSet) -> Result<Preprocessing, DataError> {
        let (mean, std) = train.channel_statistics()?;
        let std = std.map(|std| if std > 0.0 { std } else { 1.0 });
        let exif_orientation = ExifOrientation::Applied;
        let interpolation = Interpolation::default();
        Ok(Preprocessing { native_size: train.size(), mean, std, interpolation, exif_orientation })
    }

    /// Whether images can be brought to that size and inputs stay ordinary numbers.
    ///
    /// # Errors
    /// Which value is wrong, and what it must be.
    pub fn check(&self) -> Result<(), String> {
        check_size("native_size", self.native_size)?;
        check_normalisation(&self.mean, &self.std)
    }

    /// What each byte of each channel becomes: `(byte/255 − mean)/std`.
    pub(super) fn table(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            std::array::from_fn(|byte| ((byte as f64 / 255.0 - self.mean[channel]) / self.std[channel]) as f32)
        })
    }

    /// The description to ship with a network that reads images of `resolution`, where it reads only one; `trained_on`:
    /// which images its weights have seen, where that is known.
    pub fn describe(
        &self,
        resolution: Option<usize>,
        class_names: &[String],
        trained_on: Option<&TrainedOn>,
    ) -> PreprocessingFile {
        let size = self.native_size;
        let mut steps = vec![
            match self.exif_orientation {
                ExifOrientation::Applied => "decode to RGB, turned and mirrored as EXIF says".to_string(),
                ExifOrientation::Ignored => "decode to RGB; an orientation in EXIF is not applied".to_string(),
            },
            format!(
                "unless {size}×{size} already: resize the shorter side to {size} (bilinear, antialias), crop the centre"
            ),
            "divide by 255, subtract `mean`, divide by `std`, channel by channel".to_string(),
        ];
        match resolution {
            Some(resolution) if resolution == size => {}
            Some(resolution) => steps.push(format!(
                "resize the normalised floats to {resolution}×{resolution} (bilinear, antialias, corners not aligned)"
            )),
            None => steps.push(
                "resize the normalised floats to the subnet's resolution (bilinear, antialias, corners not aligned)"
                    .to_string(),
            ),
        }
        steps.push("lay out as float32 [N, 3, height, width]".to_string());
        PreprocessingFile {
            schema: SCHEMA.to_string(),
            native_size: size,
            resolution,
            mean: self.mean,
            std: self.std,
            interpolation: self.interpolation,
            exif_orientation: self.exif_orientation,
            class_names: class_names.to_vec(),
            trained_on: trained_on.cloned(),
            steps,
        }
    }
}

const SCHEMA: &str = "ofa.preprocessing/1";

/// Largest height and width of an input.
pub const MAX_SIZE: usize = 4096;

fn check_size(field: &str, size: usize) -> Result<(), String> {
    let fits = (1..=MAX_SIZE).contains(&size);
    if fits { Ok(()) } else { Err(format!("`{field}` is {size}, but must be 1 to {MAX_SIZE}")) }
}

/// Whether pixels can be normalised by these constants.
///
/// # Errors
/// Which constant is wrong, and what it must be.
pub fn check_normalisation(mean: &[f64; 3], std: &[f64; 3]) -> Result<(), String> {
    // NaN is in no range.
    let check = |field, values: &[f64; 3], range: std::ops::RangeInclusive<f64>| {
        let Some(value) = values.iter().find(|value| !range.contains(value)) else { return Ok(()) };
        let (low, high) = range.into_inner();
        let unit = "pixels count from 0 to 1 here, so divide constants for 0 to 255 by 255";
        Err(format!("`{field}` holds {value}, but must be {low} to {high}: {unit}"))
    };
    check("mean", mean, -10.0..=10.0)?;
    check("std", std, 1e-4..=10.0)
}

/// `preprocessing.json`: what a program needs to feed a network, and in `steps` the same in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreprocessingFile {
    /// `ofa.preprocessing/1`.
    pub schema: String,
    /// Height and width before normalisation.
    pub native_size: usize,
    /// Height and width the network reads; none for a supernet, whose subnets differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<usize>,
    /// Mean of R, G, B in 0…1.
    pub mean: [f64; 3],
    /// Standard deviation of R, G, B.
    pub std: [f64; 3],
    /// Resizing to the resolution.
    pub interpolation: Interpolation,
    /// Whether images are turned as their EXIF says; earlier versions, which did not say, took pixels as they are stored.
    #[serde(default = "ExifOrientation::unsaid")]
    pub exif_orientation: ExifOrientation,
    /// In the order of the network's outputs.
    pub class_names: Vec<String>,
    /// Which images the weights have seen; left out where nobody wrote it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_on: Option<TrainedOn>,
    /// For a reader, in order.
    #[serde(default)]
    pub steps: Vec<String>,
}

impl PreprocessingFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// A missing file, wrong JSON, an unknown schema, a size or a constant out of range.
    pub fn read(path: &Path) -> Result<PreprocessingFile, DataError> {
        let wrong = |what: String| DataError::content(path, what);
        let file: PreprocessingFile =
            serde_json::from_slice(&read_file(path)?).map_err(|error| wrong(error.to_string()))?;
        if file.schema != SCHEMA {
            return Err(wrong(format!("schema `{}` instead of `{SCHEMA}`", file.schema)));
        }
        let resolution = file.resolution.map_or(Ok(()), |resolution| check_size("resolution", resolution));
        resolution.and_then(|()| file.preprocessing().check()).map_err(wrong)?;
        Ok(file)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        let text = serde_json::to_string_pretty(self).expect("numbers and strings");
        write_atomically(path, |file| writeln!(file, "{text}")).map_err(|source| DataError::read(path, source))
    }

    /// The rule itself.
    pub fn preprocessing(&self) -> Preprocessing {
        Preprocessing {
            native_size: self.native_size,
            mean: self.mean,
            std: self.std,
            interpolation: self.interpolation,
            exif_orientation: self.exif_orientation,
        }
    }
}

/// Resizes `images` `[N, 3, H, W]` to `[N, 3, resolution, resolution]`, bilinear with antialias, corners not aligned;
/// the same size is the identity. The memory layout is kept.
pub fn resize(images: &Tensor, resolution: i64) -> Tensor {
    let (_, _, height, width) = images.size4().expect("images are [N, 3, H, W]");
    if (height, width) == (resolution, resolution) {
        return images.shallow_clone();
    }
    images.internal_upsample_bilinear2d_aa([resolution, resolution], false, None, None)
}

/// `images` with channels innermost in memory, the layout convolutions of a CPU are fastest in.
pub fn channels_last(images: &Tensor) -> Tensor {
    images.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}
