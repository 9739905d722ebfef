//! `ofa eval`: the true accuracy of subnets on real images.

use std::path::Path;

use anyhow::Result;
use search::arch::ArchSpec;
use search::space::SearchSpace;
use supernet::data::{DataSource, LoadOptions};
use supernet::evaluate::Accuracy;
use supernet::supernet::Supernet;
use tch::Device;

use crate::folders::calibration_file::CalibrationFile;
use crate::folders::deployment::Extracted;
use crate::folders::image_settings::ImageSettings;
use crate::folders::names;
use crate::folders::supernet_file::load_supernet;
use crate::training::images::{CalibrationImages, EvalImages};
use crate::training::measure_accuracy::measure_each;
use crate::training::sample::resolutions_of;

/// Which images are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// The test set: for final reports.
    #[default]
    Test,
    /// The part of the training set that the bundle's recipe kept apart: for decisions.
    HeldOut,
}

/// Where the statistics of a supernet's subnets come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CalibrationSource {
    /// Training images of the given data.
    #[default]
    Data,
    /// The images that come with the bundle.
    Bundle,
}

/// Measures subnets of the bundle in `folder`, each calibrated first.
///
/// # Errors
/// A damaged bundle or images that cannot be read.
pub fn eval_bundle(
    folder: &Path,
    space: &SearchSpace,
    archs: &[ArchSpec],
    data: &DataSource,
    part: Part,
    source: CalibrationSource,
    device: Device,
) -> Result<Vec<Accuracy>> {
    let supernet: Supernet = load_supernet(folder, space, device)?;
    let settings = ImageSettings::of_bundle(folder)?;
    let resolutions = resolutions_of(archs);
    let needs_training = part == Part::HeldOut || source == CalibrationSource::Data;
    let training = needs_training.then(|| settings.training(data, space)).transpose()?;
    let calibration = match (&training, source) {
        (Some((train, _)), CalibrationSource::Data) => {
            CalibrationImages::of_training(train, &settings, &resolutions, device)?
        }
        _ => {
            let file = CalibrationFile::read(folder)?;
            CalibrationImages::new(file.batches(&settings.preprocessing, &resolutions, device))
        }
    };
    let set = match (training, part) {
        (Some((_, held_out)), Part::HeldOut) => held_out,
        _ => data.test(&settings.options(space))?,
    };
    let images = EvalImages::new(&set, &settings.preprocessing, &resolutions, device)?;
    let mut accuracies = Vec::with_capacity(archs.len());
    measure_each(&supernet, archs, &calibration, &images, &mut |_, measured| {
        accuracies.push(measured.accuracy);
        true
    });
    Ok(accuracies)
}

/// Measures an extracted network with the statistics that it carries.
///
/// # Errors
/// A damaged folder or images that cannot be read.
pub fn eval_extracted(folder: &Path, data: &DataSource, device: Device) -> Result<Accuracy> {
    let extracted = Extracted::read(folder, device)?;
    let Some(file) = &extracted.preprocessing else {
        anyhow::bail!(crate::error::AppError::FileInFolder {
            path: folder.join(names::PREPROCESSING),
            reason: "is missing, so nothing says how images become this network's input".into(),
        });
    };
    let preprocessing = file.preprocessing();
    let options = LoadOptions {
        image_size: Some(preprocessing.native_size),
        class_names: None,
        classes: Some(extracted.space.classes() as usize),
    };
    let images = EvalImages::new(&data.test(&options)?, &preprocessing, &[extracted.arch.resolution()], device)?;
    Ok(images.evaluate(extracted.network.subnet(), extracted.network.statistics()))
}
