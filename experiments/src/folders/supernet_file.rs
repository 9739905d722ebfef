//! `supernet.safetensors`: the weights of all subnets, read and written.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use search::space::SearchSpace;
use serde::{Deserialize, Serialize};
use storage::digest::{Digest, Digester};
use supernet::supernet::Supernet;
use supernet::tensors::{Metadata, load_safetensors, save_safetensors};
use supernet::weights::{NamedWeight, Role};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result, Within};
use crate::folders::names;

/// Metadata key: the space as YAML. A name alone would take the weights for those of any space that is called so.
const DEFINITION: &str = "space_definition";

/// The supernet in `folder/supernet.safetensors`.
///
/// # Errors
/// A missing or damaged file, or weights of another space, be it of the same name; files of earlier versions hold the name
/// alone.
pub(crate) fn load_supernet(folder: &Path, space: &SearchSpace, device: Device) -> Result<Supernet> {
    let path = folder.join(names::SUPERNET);
    let (tensors, metadata) = load_safetensors(&path)?;
    if let Some(made_for) = metadata.get("space").filter(|name| **name != *space.id().0) {
        return Err(Error::OtherSpace { path, made_for: made_for.clone(), asked: space.id().to_string() });
    }
    if let Some(definition) = metadata.get(DEFINITION) {
        let made_for = SearchSpace::from_yaml(definition).map_err(|problem| Error::in_file(&path, problem))?;
        if let Some(what) = made_for.difference(space) {
            return Err(Error::OtherDefinition { path, name: space.id().to_string(), what });
        }
    }
    Supernet::from_tensors(space, tensors, device).within(|| path.display().to_string())
}

/// Names, shapes and bits of all weights, as float32.
pub(crate) fn digest_of(tensors: &BTreeMap<String, Tensor>) -> Digest {
    let mut digester = Digester::new("weights");
    for (name, tensor) in tensors {
        digester = digester.text(name);
        for size in tensor.size() {
            digester = digester.number(size.cast_unsigned());
        }
        let values = tensor.to_device(Device::Cpu).to_kind(Kind::Float).flatten(0, -1);
        let values = Vec::<f32>::try_from(values).expect("float32 values");
        digester = digester.bytes(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    }
    digester.finish()
}

/// Number format of weights in a file; whoever reads them computes in float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoredAs {
    /// float32.
    #[default]
    Fp32,
    /// Convolution and linear weights in float16, which halves the file; batch norm and biases in float32.
    Fp16,
}

/// Rounds the weights to what a file in the format `stored` keeps of them.
pub(crate) fn round_to(supernet: &Supernet, stored: StoredAs) {
    if stored == StoredAs::Fp16 {
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
pub(crate) fn save_supernet(folder: &Path, supernet: &Supernet, stored: StoredAs) -> Result<()> {
    let as_stored = |weight: &NamedWeight| match (stored, weight.role) {
        (StoredAs::Fp16, Role::Decayed) => weight.tensor.detach().to_kind(Kind::Half),
        _ => weight.tensor.detach(),
    };
    let tensors: BTreeMap<String, Tensor> =
        supernet.weights().iter().map(|weight| (weight.name.clone(), as_stored(weight))).collect();
    let metadata = Metadata::from([
        ("schema".into(), "ofa.supernet/1".into()),
        ("space".into(), supernet.space().id().to_string()),
        (DEFINITION.into(), supernet.space().to_yaml()),
        (names::WEIGHTS_DIGEST.into(), digest_of(&tensors).to_string()),
    ]);
    save(&folder.join(names::SUPERNET), &tensors, &metadata)?;
    write_text(&folder.join(names::SPACE), &supernet.space().to_yaml())
}

/// Writes named tensors with their metadata.
pub(super) fn save(path: &Path, tensors: &BTreeMap<String, Tensor>, metadata: &Metadata) -> Result<()> {
    let tensors: Vec<(String, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
    Ok(save_safetensors(path, &tensors, metadata)?)
}

/// Writes a text file whole or not at all.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<()> {
    Ok(storage::atomic::write_atomically(path, |file| std::io::Write::write_all(file, text.as_bytes()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_know_the_definition_of_their_space() {
        let folder = tempfile::tempdir().unwrap();
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        save_supernet(folder.path(), &Supernet::new(&space, 1, Device::Cpu), StoredAs::Fp16).unwrap();
        let loaded = load_supernet(folder.path(), &space, Device::Cpu).unwrap();
        let (_, metadata) = load_safetensors(&folder.path().join(names::SUPERNET)).unwrap();
        assert_eq!(metadata[names::WEIGHTS_DIGEST], digest_of(&loaded.tensors()).to_string());
        let swish =
            SearchSpace::from_yaml(&space.to_yaml().replace("activation: relu6", "activation: hswish")).unwrap();
        let error = load_supernet(folder.path(), &swish, Device::Cpu).unwrap_err();
        assert!(matches!(&error, Error::OtherDefinition { what, .. } if what == "another stem"), "{error}");
    }
}
