//! Supernets and extracted networks as folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use search::arch::ArchSpec;
use search::arch_file::ArchFile;
use search::space::SearchSpace;
use serde::{Deserialize, Serialize};
use supernet::data::PreprocessingFile;
use supernet::extract::StaticSubnet;
use supernet::supernet::Supernet;
use supernet::tensors::{Metadata, load_safetensors, save_safetensors};
use supernet::torchscript::save_torchscript;
use supernet::weights::{NamedWeight, Role};
use tch::{Device, Kind, Tensor};

use crate::error::AppError;

/// The supernet in `folder/supernet.safetensors`.
///
/// # Errors
/// A missing or damaged file, or weights of another space.
pub fn load_supernet(folder: &Path, space: &SearchSpace, device: Device) -> Result<Supernet> {
    let path = folder.join("supernet.safetensors");
    let (tensors, metadata) = load_safetensors(&path)?;
    if let Some(made_for) = metadata.get("space").filter(|name| **name != *space.id().0) {
        anyhow::bail!(AppError::OtherSpace { path, made_for: made_for.clone(), asked: space.id().to_string() });
    }
    Supernet::from_tensors(space, tensors, device).with_context(|| path.display().to_string())
}

/// Number format of weights in a file; whoever reads them computes in float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stored {
    /// float32.
    #[default]
    Fp32,
    /// Convolution and linear weights in float16, which halves the file; batch norm and biases in float32.
    Fp16,
}

/// Rounds the weights to what a file in the format `stored` keeps of them.
pub fn round_to(supernet: &Supernet, stored: Stored) {
    if stored == Stored::Fp16 {
        tch::no_grad(|| {
            for weight in supernet.weights().iter().filter(|weight| weight.role == Role::Decayed) {
                weight.tensor.shallow_clone().copy_(&weight.tensor.to_kind(Kind::Half));
            }
        });
    }
}

/// Writes `folder/supernet.safetensors` and `folder/space.yaml`.
///
/// # Errors
/// A file cannot be written.
pub fn save_supernet(folder: &Path, supernet: &Supernet, stored: Stored) -> Result<()> {
    let metadata = Metadata::from([
        ("schema".into(), "ofa.supernet/1".into()),
        ("space".into(), supernet.space().id().to_string()),
    ]);
    let as_stored = |weight: &NamedWeight| match (stored, weight.role) {
        (Stored::Fp16, Role::Decayed) => weight.tensor.detach().to_kind(Kind::Half),
        _ => weight.tensor.detach(),
    };
    let tensors = supernet.weights().iter().map(|weight| (weight.name.clone(), as_stored(weight))).collect();
    save(&folder.join("supernet.safetensors"), &tensors, &metadata)?;
    write_text(&folder.join("space.yaml"), &supernet.space().to_yaml())
}

/// What goes into the folder of an extracted network.
pub struct Deployment<'a> {
    /// Its space.
    pub space: &'a SearchSpace,
    /// Which subnet it is.
    pub arch: &'a ArchSpec,
    /// The calibrated network, on the CPU.
    pub network: &'a StaticSubnet,
    /// How images become its input.
    pub preprocessing: Option<&'a PreprocessingFile>,
    /// What it was calibrated with, in words.
    pub calibrated_with: &'a str,
    /// Whether to write a TorchScript module, too.
    pub torchscript: bool,
}

impl Deployment<'_> {
    /// Writes `weights.safetensors`, `subnet.json`, `space.yaml`, `preprocessing.json` where known, and `module.pt`
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
        let mut files = vec!["weights.safetensors", "subnet.json", "space.yaml"];
        save(&folder.join(files[0]), &self.network.tensors(), &metadata)?;
        write_text(&folder.join(files[1]), &format!("{subnet}\n"))?;
        write_text(&folder.join(files[2]), &self.space.to_yaml())?;
        if let Some(file) = self.preprocessing {
            let described = file.preprocessing().describe(Some(self.arch.resolution() as usize), &file.class_names);
            described.write(&folder.join("preprocessing.json"))?;
            files.push("preprocessing.json");
        }
        if self.torchscript {
            save_torchscript(self.network, &folder.join("module.pt"))?;
            files.push("module.pt");
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
        let space = SearchSpace::from_yaml(&read_text(&named("space.yaml"))?)
            .with_context(|| named("space.yaml").display().to_string())?;
        let subnet = named("subnet.json");
        let arch = ArchFile::from_json(&read_text(&subnet)?)
            .and_then(|file| space.parse(&file))
            .with_context(|| subnet.display().to_string())?;
        let path = named("weights.safetensors");
        let (tensors, _) = load_safetensors(&path)?;
        let network = StaticSubnet::from_tensors(&space, &space.resolve(&arch), tensors, device)
            .with_context(|| path.display().to_string())?;
        let preprocessing = match named("preprocessing.json") {
            path if path.exists() => Some(PreprocessingFile::read(&path)?),
            _ => None,
        };
        Ok(Self { space, arch, network, preprocessing })
    }
}

fn save(path: &Path, tensors: &BTreeMap<String, Tensor>, metadata: &Metadata) -> Result<()> {
    let tensors: Vec<(String, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
    Ok(save_safetensors(path, &tensors, metadata)?)
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    Ok(storage::atomic::write_atomically(path, |file| std::io::Write::write_all(file, text.as_bytes()))?)
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .map_err(|error| AppError::FileInFolder { path: path.to_path_buf(), reason: error.to_string() }.into())
}
