//! `ofa eval`: the true accuracy of subnets on real images.

use std::path::Path;

use search::arch::ArchSpec;
use supernet::data::{DataSource, PreprocessingFile};
use supernet::network::Network;
use tch::Device;

use crate::error::{Error, Result};
use crate::folders::image_settings::options;
use crate::folders::names;
use crate::folders::network_folder::NetworkFolder;
use crate::torch::{CalibrationSource, Evaluation, MeasuredPart, Part};
use crate::training::images::EvalImages;
use crate::training::measure_accuracy::measure_each;
use crate::training::open_bundle::OpenBundle;
use crate::training::sample::resolutions_of;
use crate::training::test_part::{TestPart, test_part};

/// Measures subnets of `bundle`, each calibrated first.
///
/// # Errors
/// A damaged bundle, images that cannot be read, outputs that are not finite.
pub(crate) fn evaluate(
    bundle: &OpenBundle,
    archs: &[ArchSpec],
    part: Part,
    source: CalibrationSource,
) -> Result<Evaluation> {
    let resolutions = resolutions_of(archs);
    let (images, part, own_notes) = match part {
        Part::HeldOut => (bundle.held_out_images(&resolutions)?, MeasuredPart::HeldOut, Vec::new()),
        Part::Test => {
            let TestPart { images, part, notes } = bundle.test_part()?;
            (bundle.eval_images(&images, &resolutions)?, part, notes)
        }
    };
    let supernet = bundle.supernet()?;
    let calibration = match source {
        CalibrationSource::Data => bundle.real_calibration(&resolutions)?,
        CalibrationSource::Bundle => bundle.own_calibration(&resolutions)?,
    };
    let notes = [own_notes, bundle.notes()].concat();
    let mut accuracies = Vec::with_capacity(archs.len());
    let shapes: Vec<_> = archs.iter().map(|arch| bundle.space().resolve(arch)).collect();
    measure_each(supernet, &shapes, &calibration, &images, &mut |_, measured| {
        accuracies.push(measured.accuracy);
        true
    })?;
    Ok(Evaluation { part, accuracies, notes, warnings: Vec::new() })
}

/// Measures the network in `folder` with the statistics that it carries: a subnet taken out of a supernet, or any other.
///
/// # Errors
/// A damaged folder or images that cannot be read.
pub(crate) fn evaluate_network(folder: &Path, data: &DataSource, device: Device) -> Result<Evaluation> {
    let NetworkFolder { shape, weights, mixed } = NetworkFolder::read(folder)?;
    let file = |name: &str, reason: String| Error::FileInFolder { path: folder.join(name), reason };
    if !folder.join(names::PREPROCESSING).exists() {
        let reason = "is missing, so nothing says how images become this network's input";
        return Err(file(names::PREPROCESSING, reason.into()));
    }
    let (input, output) = (shape.input(), shape.output());
    if input.channels != 3 || output.size != 1 {
        let reason = format!("it makes {output} of {input}, which is no classifier of colour images");
        return Err(file(names::NETWORK, reason));
    }
    let described = PreprocessingFile::read(&folder.join(names::PREPROCESSING))?;
    let preprocessing = described.preprocessing();
    let options = options(&preprocessing, &described.class_names, output.channels as usize);
    let TestPart { images, part, notes } = test_part(data, &options, described.trained_on.as_ref())?;
    let network = Network::from_weights(&shape, &weights, device)?;
    let images = EvalImages::new(&images, &preprocessing, &[input.size], device)?;
    Ok(Evaluation { part, accuracies: vec![images.evaluate_network(&network)?], notes, warnings: mixed })
}
