//! From a subnet found to a folder that can be deployed: extract, calibrate, write.

use std::path::{Path, PathBuf};

use anyhow::Result;
use search::arch::ArchSpec;
use supernet::data::{DataSource, PreprocessingFile};
use supernet::extract::StaticSubnet;
use tch::Device;

use crate::folders::bundle::Bundle;
use crate::folders::calibration_file::CalibrationFile;
use crate::folders::deployment::Deployment;
use crate::folders::image_settings::ImageSettings;
use crate::folders::supernet_file::load_supernet;
use crate::training::images::CalibrationImages;

/// Takes `arch` out of `bundle` into `folder`, calibrated with training images of `data`, or with the bundle's own
/// images where there is none. Returns the files written.
///
/// # Errors
/// A bundle without weights or without calibration images, images that cannot be read, a file that cannot be written.
pub fn deploy(
    bundle: &Bundle,
    arch: &ArchSpec,
    data: Option<&DataSource>,
    torchscript: bool,
    folder: &Path,
    device: Device,
) -> Result<Vec<PathBuf>> {
    bundle.supernet()?;
    let space = bundle.space()?;
    let preprocessing = PreprocessingFile::read(&bundle.preprocessing()?)?;
    let settings = ImageSettings::of_bundle(bundle.folder())?;
    let resolutions = [arch.resolution()];
    let (calibration, calibrated_with) = match data {
        Some(data) => {
            let (train, _) = settings.training(data, &space)?;
            (
                CalibrationImages::of_training(&train, &settings, &resolutions, device)?,
                format!("training images of {data}"),
            )
        }
        None => {
            bundle.calibration()?;
            let own = CalibrationFile::read(bundle.folder())?.batches(&settings.preprocessing, &resolutions, device);
            (CalibrationImages::new(own), format!("the images that come with bundle {}", bundle.name()))
        }
    };
    let supernet = load_supernet(bundle.folder(), &space, device)?;
    let subnet = supernet.subnet(&space.resolve(arch));
    let network = StaticSubnet::extract(&subnet, &calibration.calibrate(&subnet)).to_device(Device::Cpu);
    let deployment = Deployment {
        space: &space,
        arch,
        network: &network,
        preprocessing: Some(&preprocessing),
        calibrated_with: &calibrated_with,
        torchscript,
    };
    deployment.write(folder)
}
