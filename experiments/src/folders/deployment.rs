//! The folder of an extracted network: weights with their statistics, which subnet it is, and how images become its input.

use std::fs;
use std::path::{Path, PathBuf};

use search::arch::ArchSpec;
use search::arch_file::ArchFile;
use search::space::SearchSpace;
use supernet::data::{Preprocessing, PreprocessingFile};
use supernet::extract::StaticSubnet;
use supernet::tensors::{Metadata, load_safetensors};
use supernet::torchscript::save_torchscript;
use tch::Device;

use crate::error::{Error, Result, Within};
use crate::folders::names;
use crate::folders::supernet_file::{save, write_text};

/// What goes into the folder of an extracted network.
pub struct Deployment<'a> {
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
    /// What it was calibrated with, in words.
    pub calibrated_with: &'a str,
    /// Whether to write a TorchScript module, too.
    pub torchscript: bool,
}

impl Deployment<'_> {
    /// Writes `weights.safetensors`, `subnet.json`, `space.yaml`, `preprocessing.json`, and `module.pt`
    /// where wanted. Returns the files.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let subnet = self.space.to_subnet_json(self.arch);
        let metadata = Metadata::from([
            ("schema".into(), "ofa.extracted/1".into()),
            ("space".into(), self.space.id().to_string()),
            ("subnet".into(), subnet.to_string()),
            ("calibrated_with".into(), self.calibrated_with.into()),
        ]);
        let mut files = vec![names::WEIGHTS, names::SUBNET, names::SPACE, names::PREPROCESSING];
        save(&folder.join(files[0]), &self.network.tensors(), &metadata)?;
        write_text(&folder.join(files[1]), &format!("{subnet}\n"))?;
        write_text(&folder.join(files[2]), &self.space.to_yaml())?;
        let described = self.preprocessing.describe(Some(self.arch.resolution() as usize), self.class_names);
        described.write(&folder.join(files[3]))?;
        if self.torchscript {
            save_torchscript(self.network, &folder.join(names::TORCHSCRIPT))?;
            files.push(names::TORCHSCRIPT);
        }
        Ok(files.into_iter().map(|file| folder.join(file)).collect())
    }
}

/// An extracted network read back.
pub struct Extracted {
    /// Its space.
    pub space: SearchSpace,
    /// Which subnet it is.
    pub arch: ArchSpec,
    /// The network with the statistics it was written with.
    pub network: StaticSubnet,
    /// How images become its input, where the folder says so.
    pub preprocessing: Option<PreprocessingFile>,
}

impl Extracted {
    /// Reads what [`Deployment::write`] wrote.
    ///
    /// # Errors
    /// A missing or damaged file, or weights that do not fit the subnet.
    pub fn read(folder: &Path, device: Device) -> Result<Self> {
        let named = |name: &str| folder.join(name);
        let space = SearchSpace::from_yaml(&read_text(&named(names::SPACE))?)
            .within(|| named(names::SPACE).display().to_string())?;
        let subnet = named(names::SUBNET);
        let arch = ArchFile::from_json(&read_text(&subnet)?)
            .and_then(|file| space.parse(&file))
            .within(|| subnet.display().to_string())?;
        let path = named(names::WEIGHTS);
        let (tensors, _) = load_safetensors(&path)?;
        let network = StaticSubnet::from_tensors(&space, &space.resolve(&arch), tensors, device)
            .within(|| path.display().to_string())?;
        let preprocessing = match named(names::PREPROCESSING) {
            path if path.exists() => Some(PreprocessingFile::read(&path)?),
            _ => None,
        };
        Ok(Self { space, arch, network, preprocessing })
    }
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .map_err(|error| Error::FileInFolder { path: path.to_path_buf(), reason: error.to_string() })
}
