//! The folder of a network: `network.json` (its layers, no search space needed), `weights.safetensors`, and
//! `preprocessing.json` where somebody knows how images become its input. In place of weights a subnet may have a pointer to
//! its bundle ([`parent`]).
//!
//! A folder of an extracted subnet from before `network.json` (`space.yaml` and `subnet.json`) is read as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use network::shape::NetworkShape;
use network::shape_file;
use network::weights::{Array, Weights};
use search::arch_file::ArchFile;
use search::space::SearchSpace;
use serde_json::Value;
use storage::arrays::HostArray;
use storage::arrays::safetensors::{Metadata, load_arrays, save_arrays};
use storage::atomic::write_atomically;
use storage::digest::{Digest, Digester};

use crate::error::{Error, Result};
use crate::folders::spaces::read_text;
use crate::folders::{names, parent};

/// A network with its weights on the host.
#[derive(Clone, Debug)]
pub struct NetworkFolder {
    /// Its layers.
    pub shape: NetworkShape,
    /// Their tensors.
    pub weights: Weights,
    /// What in the folder is not what was written together, one sentence each.
    pub mixed: Vec<String>,
}

impl NetworkFolder {
    /// Reads the folder at `path`.
    ///
    /// # Errors
    /// A missing or damaged file, layers that do not meet, weights of another network.
    pub fn read(path: &Path) -> Result<Self> {
        let shape = read_shape(path)?;
        let mut mixed = changed(path);
        let (file, (arrays, metadata)) = match path.join(names::PARENT) {
            parent if parent.exists() => (path.join(names::STATISTICS), parent::load(path)?),
            _ => {
                let file = path.join(names::WEIGHTS);
                let loaded = load_arrays(&file)?;
                (file, loaded)
            }
        };
        let wrong = |reason: String| Error::FileInFolder { path: file.clone(), reason };
        check_subnet(path, &metadata).map_err(wrong)?;
        let mut floats = BTreeMap::new();
        for (name, array) in arrays {
            let Some(values) = array.to_f32() else {
                return Err(wrong(format!("tensor `{name}` holds {}, not floats", array.dtype())));
            };
            floats.insert(name, Array { shape: array.shape().to_vec(), values });
        }
        let weights = Weights::new(&shape, floats).map_err(|error| wrong(error.to_string()))?;
        if metadata.get(LAYERS).is_some_and(|layers| *layers != digest_of(&shape).to_string()) {
            mixed.push(format!(
                "{} has changed since {} was written: what follows is of the changed network",
                names::NETWORK,
                names::WEIGHTS
            ));
        }
        Ok(Self { shape, weights, mixed })
    }

    /// Writes `network.json` and `weights.safetensors` into the folder at `path`; `origin` says where the network comes
    /// from. Returns the files.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, path: &Path, origin: &Value) -> Result<Vec<PathBuf>> {
        let arrays = self.weights.arrays().iter();
        let arrays =
            arrays.map(|(name, array)| (name.clone(), HostArray::from_f32(&array.shape, &array.values))).collect();
        let metadata = Metadata::from([
            ("schema".into(), shape_file::SCHEMA.into()),
            (LAYERS.into(), digest_of(&self.shape).to_string()),
        ]);
        let files = [names::WEIGHTS, names::NETWORK].map(|name| path.join(name));
        save_arrays(&files[0], &arrays, &metadata)?;
        write_shape(path, &self.shape, origin)?;
        Ok(files.to_vec())
    }
}

/// Key of [`digest_of`] in the metadata of weights.
pub(crate) const LAYERS: &str = "layers";
/// Key of the digests of the folder's other files in the origin of `network.json`.
const FILES: &str = "files";
/// Those files; a pointer to a bundle names its weights by itself, and may be mended.
const TOGETHER: [&str; 6] =
    [names::WEIGHTS, names::STATISTICS, names::TORCHSCRIPT, names::PREPROCESSING, names::SUBNET, names::SPACE];

/// Of all layers, whatever the network's origin.
pub(crate) fn digest_of(shape: &NetworkShape) -> Digest {
    Digester::new("network").text(&shape_file::to_json(shape, None).to_string()).finish()
}

/// A sentence for every file that is not the one that `network.json` was written with, where it says so.
fn changed(folder: &Path) -> Vec<String> {
    let origin = std::fs::read_to_string(folder.join(names::NETWORK)).ok();
    let Some(mut file) = origin.and_then(|text| serde_json::from_str::<Value>(&text).ok()) else { return Vec::new() };
    let files = file.get_mut("origin").and_then(|origin| origin.get_mut(FILES)).map(Value::take);
    let Some(Value::Object(files)) = files else { return Vec::new() };
    let differs = |name: &str, digest: &Value| {
        let bytes = storage::file::read_bytes(&folder.join(name)).ok();
        bytes.is_some_and(|bytes| Digester::new(FILES).bytes(&bytes).finish().to_string() != *digest)
    };
    let others = files.iter().filter(|(name, digest)| TOGETHER.contains(&name.as_str()) && differs(name, digest));
    others
        .map(|(name, _)| {
            format!(
                "{name} is not the file that {} was written with: changed since, or another network's",
                names::NETWORK
            )
        })
        .collect()
}

/// Writes `network.json` into the folder at `path`, with digests of the files beside it.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_shape(path: &Path, shape: &NetworkShape, origin: &Value) -> Result<()> {
    let mut origin = origin.clone();
    for name in TOGETHER {
        if let Ok(bytes) = storage::file::read_bytes(&path.join(name)) {
            origin[FILES][name] = Digester::new(FILES).bytes(&bytes).finish().to_string().into();
        }
    }
    let text = format!("{:#}\n", shape_file::to_json(shape, Some(&origin)));
    write_atomically(&path.join(names::NETWORK), |file| std::io::Write::write_all(file, text.as_bytes()))
        .map_err(|source| Error::Write { source })
}

/// The layers of the network at `path`: a folder, or a `network.json` alone.
///
/// # Errors
/// A missing file; what is wrong in it, with the layer's name.
pub fn read_shape(path: &Path) -> Result<NetworkShape> {
    let file = if path.is_dir() { path.join(names::NETWORK) } else { path.to_path_buf() };
    if path.is_dir() && !file.exists() && path.join(names::SUBNET).exists() {
        return shape_of_subnet(path);
    }
    let text = read_text(&file)?;
    shape_file::parse(&text).map_err(|problem| Error::NetworkFile { path: file, problem })
}

/// Refuses weights of another subnet than the folder's other files describe; those that name none are of no subnet.
fn check_subnet(folder: &Path, weights: &Metadata) -> Result<(), String> {
    let Some(of_weights) = weights.get("subnet").and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Ok(());
    };
    let json = |name: &str| serde_json::from_str::<Value>(&std::fs::read_to_string(folder.join(name)).ok()?).ok();
    let described = [
        (
            names::NETWORK,
            json(names::NETWORK).and_then(|mut file| Some(file.get_mut("origin")?.get_mut("subnet")?.take())),
        ),
        (names::SUBNET, json(names::SUBNET)),
    ];
    match described.into_iter().find(|(_, subnet)| subnet.as_ref().is_some_and(|subnet| *subnet != of_weights)) {
        Some((name, _)) => Err(format!("its weights are of another subnet than {name} describes")),
        None => Ok(()),
    }
}

/// The layers of an extracted subnet, from its space.
fn shape_of_subnet(folder: &Path) -> Result<NetworkShape> {
    let file = |name: &str| folder.join(name);
    let space = SearchSpace::from_yaml(&read_text(&file(names::SPACE))?)
        .map_err(|problem| Error::in_file(file(names::SPACE), problem))?;
    let subnet = file(names::SUBNET);
    let arch = ArchFile::from_json(&read_text(&subnet)?)
        .and_then(|file| space.parse(&file))
        .map_err(|problem| Error::in_file(subnet, problem))?;
    Ok(space.network(&arch))
}
