//! `ofa network`: any network, with or without a search space: published ones as folders, what one consists of, what it
//! costs, how much memory it needs.

use std::path::{Path, PathBuf};

use hw_targets::cost::NetworkCost;
use hw_targets::target::Target;
use network::memory::{PeakMemory, peak_memory_of};
use network::published;
use network::shape::NetworkShape;
use network::weights::Weights;
use serde_json::json;

use crate::error::{Error, Result};
use crate::folders::names;
use crate::folders::network_folder::NetworkFolder;

/// Normalisation of ImageNet's images (mean and deviation of R, G, B), which published networks read.
const IMAGENET: [[f64; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// Writes the published network `name` with random weights of `seed` into the folder `out`. Returns the network and the
/// files.
///
/// # Errors
/// A name that no published network has; a folder that holds something else; a file that cannot be written.
pub fn from_published(name: &str, classes: Option<u32>, seed: u64, out: &Path) -> Result<(NetworkShape, Vec<PathBuf>)> {
    let shape = published::network(name, classes)?;
    // A network taken out of a supernet, or anything else, is not written over.
    let own = [names::NETWORK, names::WEIGHTS, names::PREPROCESSING];
    if let Ok(entries) = std::fs::read_dir(out) {
        // A kill leaves a temporary file of one of them.
        let is_own = |name: &str| {
            own.iter().any(|own| name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with(".tmp")))
        };
        let mut names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        if let Some(name) = names.find(|name| !is_own(name)) {
            let reason = format!("holds {name}: name an empty folder");
            return Err(Error::FileInFolder { path: out.to_path_buf(), reason });
        }
    }
    let folder = NetworkFolder { weights: Weights::random(&shape, seed), shape, mixed: Vec::new() };
    let mut files = folder.write(out, &json!({"published": name, "random_weights": seed}))?;
    let size = folder.shape.input().size;
    let described = json!({
        "schema": "ofa.preprocessing/1",
        "native_size": size,
        "resolution": size,
        "mean": IMAGENET[0],
        "std": IMAGENET[1],
        "interpolation": "bilinear-antialias",
        "class_names": [],
    });
    let path = out.join(names::PREPROCESSING);
    let text = format!("{described:#}\n");
    storage::atomic::write_atomically(&path, |file| std::io::Write::write_all(file, text.as_bytes()))
        .map_err(|source| Error::Write { source })?;
    files.push(path);
    Ok((folder.shape, files))
}

/// What the network costs on `target`.
///
/// # Errors
/// An operator that the target does not cover, with its name and the dimension that lies too far outside.
pub fn cost(target: &Target, shape: &NetworkShape) -> Result<NetworkCost> {
    let mut cost = target.cost_of(&shape.workload())?;
    // A network may branch, which a row of operators does not.
    cost.peak_memory = arena(shape).total();
    Ok(cost)
}

/// Memory that one int8 inference needs at its peak.
pub fn arena(shape: &NetworkShape) -> PeakMemory {
    let layers: Vec<_> = shape.layers().into_iter().map(|named| named.layer).collect();
    peak_memory_of(&layers)
}
