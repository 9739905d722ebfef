//! The folder of an extracted network: weights with their statistics, which subnet it is, and how images become its input.

use std::path::{Path, PathBuf};

use search::arch::ArchSpec;
use search::space::SearchSpace;
use serde_json::json;
use storage::arrays::safetensors::load_metadata;
use supernet::data::{Preprocessing, TrainedOn};
use supernet::extract::StaticSubnet;
use supernet::supernet::Supernet;
use supernet::tensors::Metadata;
use supernet::torchscript::save_torchscript;

use crate::error::Result;
use crate::folders::bundle::Bundle;
use crate::folders::network_folder::{LAYERS, digest_of, write_shape};
use crate::folders::supernet_file::{self, save, write_text};
use crate::folders::{names, output, parent};
use crate::torch::WeightsForm;

/// What goes into the folder of an extracted network.
pub(crate) struct Deployment<'a> {
    /// Its space.
    pub space: &'a SearchSpace,
    /// Which subnet it is.
    pub arch: &'a ArchSpec,
    /// The calibrated network, on the CPU.
    pub network: &'a StaticSubnet,
    /// How images become its input.
    pub preprocessing: &'a Preprocessing,
    /// Class names, in the order of the outputs.
    pub class_names: &'a [String],
    /// Which images its weights have seen, where that is known.
    pub trained_on: Option<&'a TrainedOn>,
    /// What it was calibrated with, in words.
    pub calibrated_with: &'a str,
    /// What is written of its weights.
    pub form: WeightsForm,
    /// Where they come from.
    pub bundle: &'a Bundle,
    /// All weights there.
    pub supernet: &'a Supernet,
}

/// Key of the bundle's name in the metadata of weights and of statistics, where it is one of a zoo.
const BUNDLE: &str = "bundle";
/// Key of its space there.
const SPACE: &str = "space";

/// The names of the bundle that the network in `folder` was taken out of and of its space, if its files say them.
pub(crate) fn bundle_of(folder: &Path) -> Option<(String, String)> {
    let metadata =
        [names::WEIGHTS, names::STATISTICS].into_iter().find_map(|file| load_metadata(&folder.join(file)).ok())?;
    Some((metadata.get(BUNDLE)?.clone(), metadata.get(SPACE)?.clone()))
}

impl Deployment<'_> {
    /// Writes `weights.safetensors` or a pointer to the bundle, `subnet.json`, `space.yaml`, `preprocessing.json`,
    /// `network.json`, and `module.pt` where wanted, in place of what an earlier network left there. Returns the files.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let (subnet, shape) = (self.space.to_subnet_json(self.arch), self.space.network(self.arch));
        let mut metadata = Metadata::from([
            ("schema".into(), "ofa.extracted/1".into()),
            (SPACE.into(), self.space.id().to_string()),
            ("subnet".into(), subnet.to_string()),
            ("calibrated_with".into(), self.calibrated_with.into()),
            (LAYERS.into(), digest_of(&shape).to_string()),
        ]);
        // A path would make files of equal weights differ.
        if self.bundle.has_known_name() {
            metadata.insert(BUNDLE.into(), self.bundle.name());
        }
        output::clear(folder, &output::DEPLOYMENT)?;
        let mut files = vec![names::SUBNET, names::SPACE, names::PREPROCESSING, names::NETWORK];
        let tensors = self.network.tensors();
        match self.form {
            WeightsForm::Pointer => {
                // Reading all weights for their digest takes longer than writing those of a subnet.
                let weights = supernet_file::digest_of(&self.supernet.tensors());
                parent::write(folder, self.bundle, &weights, &tensors, &metadata)?;
                files.extend([names::STATISTICS, names::PARENT]);
            }
            WeightsForm::Tensors | WeightsForm::TorchScript => {
                save(&folder.join(names::WEIGHTS), &tensors, &metadata)?;
                files.push(names::WEIGHTS);
            }
        }
        write_text(&folder.join(names::SUBNET), &format!("{subnet}\n"))?;
        write_text(&folder.join(names::SPACE), &self.space.to_yaml())?;
        let resolution = Some(self.arch.resolution() as usize);
        let described = self.preprocessing.describe(resolution, self.class_names, self.trained_on);
        described.write(&folder.join(names::PREPROCESSING))?;
        if self.form == WeightsForm::TorchScript {
            save_torchscript(self.network, &folder.join(names::TORCHSCRIPT))?;
            files.push(names::TORCHSCRIPT);
        }
        let origin = json!({"space": self.space.id().to_string(), "subnet": subnet});
        write_shape(folder, &shape, &origin)?;
        Ok(files.into_iter().map(|file| folder.join(file)).collect())
    }
}
