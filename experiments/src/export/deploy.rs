//! From a subnet to a folder that can be deployed: extract, calibrate, write.

use std::path::{Path, PathBuf};

use search::arch::ArchSpec;
use supernet::extract::StaticSubnet;
use tch::Device;

use crate::error::Result;
use crate::folders::deployment::Deployment;
use crate::torch::WeightsForm;
use crate::training::open_bundle::OpenBundle;

/// A subnet taken out of a bundle and calibrated, not written yet.
pub(crate) struct Extracted<'a> {
    bundle: &'a OpenBundle,
    arch: &'a ArchSpec,
    form: WeightsForm,
    network: StaticSubnet,
    calibrated_with: String,
}

/// Takes `arch` out of `bundle`, calibrated with training images of the bundle's source, or with its own images where there
/// is none.
///
/// # Errors
/// A bundle without weights or without calibration images, images that cannot be read.
pub(crate) fn extract<'a>(bundle: &'a OpenBundle, arch: &'a ArchSpec, form: WeightsForm) -> Result<Extracted<'a>> {
    let resolutions = [arch.resolution()];
    let (calibration, calibrated_with) = match bundle.data() {
        Some(data) => (bundle.real_calibration(&resolutions)?, format!("training images of {data}")),
        None => {
            bundle.bundle().calibration()?;
            let name = bundle.bundle().name();
            (bundle.own_calibration(&resolutions)?, format!("the images that come with bundle {name}"))
        }
    };
    let subnet = bundle.supernet()?.subnet(&bundle.space().resolve(arch));
    let network = StaticSubnet::extract(&subnet, &calibration.calibrate(&subnet)?).to_device(Device::Cpu);
    Ok(Extracted { bundle, arch, form, network, calibrated_with })
}

impl Extracted<'_> {
    /// Writes it into `folder`, in place of what was deployed there before. Returns the files.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let settings = self.bundle.settings()?;
        let deployment = Deployment {
            space: self.bundle.space(),
            arch: self.arch,
            network: &self.network,
            preprocessing: &settings.preprocessing,
            class_names: &settings.class_names,
            trained_on: settings.trained_on.as_ref(),
            calibrated_with: &self.calibrated_with,
            form: self.form,
            bundle: self.bundle.bundle(),
            supernet: self.bundle.supernet()?,
        };
        deployment.write(folder)
    }
}

/// Takes `arch` out of `bundle` into `folder`, as [`extract`] does. Returns the files written.
///
/// # Errors
/// Those of [`extract`]; a file that cannot be written.
pub(crate) fn deploy(bundle: &OpenBundle, arch: &ArchSpec, form: WeightsForm, folder: &Path) -> Result<Vec<PathBuf>> {
    extract(bundle, arch, form)?.write(folder)
}
