//! From a subnet to a folder that can be deployed: extract, calibrate, write.

use std::path::{Path, PathBuf};

use search::arch::ArchSpec;
use supernet::extract::StaticSubnet;
use tch::Device;

use crate::error::Result;
use crate::folders::deployment::Deployment;
use crate::torch::WeightsForm;
use crate::training::open_bundle::OpenBundle;

/// Takes `arch` out of `bundle` into `folder`, calibrated with training images of the bundle's source, or with its own
/// images where there is none. Returns the files written.
///
/// # Errors
/// A bundle without weights or without calibration images, images that cannot be read, a file that cannot be written.
pub(crate) fn deploy(bundle: &OpenBundle, arch: &ArchSpec, form: WeightsForm, folder: &Path) -> Result<Vec<PathBuf>> {
    let space = bundle.space();
    let resolutions = [arch.resolution()];
    let (calibration, calibrated_with) = match bundle.data() {
        Some(data) => (bundle.real_calibration(&resolutions)?, format!("training images of {data}")),
        None => {
            bundle.bundle().calibration()?;
            let name = bundle.bundle().name();
            (bundle.own_calibration(&resolutions)?, format!("the images that come with bundle {name}"))
        }
    };
    let supernet = bundle.supernet()?;
    let subnet = supernet.subnet(&space.resolve(arch));
    let network = StaticSubnet::extract(&subnet, &calibration.calibrate(&subnet)?).to_device(Device::Cpu);
    let settings = bundle.settings()?;
    let deployment = Deployment {
        space,
        arch,
        network: &network,
        preprocessing: &settings.preprocessing,
        class_names: &settings.class_names,
        trained_on: settings.trained_on.as_ref(),
        calibrated_with: &calibrated_with,
        form,
        bundle: bundle.bundle(),
        supernet,
    };
    deployment.write(folder)
}
