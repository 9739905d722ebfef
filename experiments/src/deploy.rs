//! From a subnet found to a folder that can be deployed: extract, calibrate, write.

use std::path::{Path, PathBuf};

use anyhow::Result;
use search::arch::ArchSpec;
use supernet::data::{DataSource, PreprocessingFile};
use supernet::extract::StaticSubnet;
use tch::Device;

use crate::bundle::Bundle;
use crate::calibration_images;
use crate::eval::ImageSettings;
use crate::weights::{Deployment, load_supernet};

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
            (settings.calibration_from(&train, &resolutions, device)?, format!("training images of {data}"))
        }
        None => {
            bundle.calibration()?;
            let own = calibration_images::load(bundle.folder(), &settings.preprocessing, &resolutions, device)?;
            (own, format!("the images that come with bundle {}", bundle.name()))
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
