//! `ofa eval`: the true accuracy of subnets on real images.

use std::path::Path;

use search::arch::ArchSpec;
use supernet::data::{DataSource, LoadOptions};
use supernet::evaluate::Accuracy;
use tch::Device;

use crate::error::{Error, Result};
use crate::folders::deployment::Extracted;
use crate::folders::names;
use crate::torch::{CalibrationSource, Part};
use crate::training::images::EvalImages;
use crate::training::measure_accuracy::measure_each;
use crate::training::open_bundle::OpenBundle;
use crate::training::sample::resolutions_of;

/// Measures subnets of `bundle`, each calibrated first.
///
/// # Errors
/// A damaged bundle or images that cannot be read.
pub(crate) fn evaluate(
    bundle: &OpenBundle,
    archs: &[ArchSpec],
    part: Part,
    source: CalibrationSource,
) -> Result<Vec<Accuracy>> {
    let supernet = bundle.supernet()?;
    let resolutions = resolutions_of(archs);
    let calibration = match source {
        CalibrationSource::Data => bundle.real_calibration(&resolutions)?,
        CalibrationSource::Bundle => bundle.own_calibration(&resolutions)?,
    };
    let images = match part {
        Part::HeldOut => bundle.held_out_images(&resolutions)?,
        Part::Test => bundle.test_images(&resolutions)?,
    };
    let mut accuracies = Vec::with_capacity(archs.len());
    measure_each(supernet, archs, &calibration, &images, &mut |_, measured| {
        accuracies.push(measured.accuracy);
        true
    });
    Ok(accuracies)
}

/// Measures an extracted network with the statistics that it carries.
///
/// # Errors
/// A damaged folder or images that cannot be read.
pub(crate) fn evaluate_extracted(folder: &Path, data: &DataSource, device: Device) -> Result<Accuracy> {
    let extracted = Extracted::read(folder, device)?;
    let Some(file) = &extracted.preprocessing else {
        return Err(Error::FileInFolder {
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
    let resolution = extracted.arch.resolution();
    let images = EvalImages::new(&data.test(&options)?, &preprocessing, &[resolution], device)?;
    Ok(images.evaluate(extracted.network.subnet(), extracted.network.statistics()))
}
