//! A subnet's folder without weights of its own: `parent.json` names the bundle that has them, `statistics.safetensors` holds
//! the batch-norm statistics that it was calibrated to. Some kilobytes where the weights are megabytes.

use std::collections::BTreeMap;
use std::path::Path;

use storage::arrays::HostArray;
use storage::arrays::safetensors::Metadata;

use crate::error::{Error, Result};

#[cfg(feature = "torch")]
pub(crate) use with_torch::{load, write};

/// All tensors of a subnet with what its file says of itself.
type Loaded = (BTreeMap<String, HostArray>, Metadata);

/// Takes the weights out of the bundle.
///
/// # Errors
/// [`Error::NoTorch`], always.
#[cfg(not(feature = "torch"))]
pub(crate) fn load(_: &Path) -> Result<Loaded> {
    Err(Error::NoTorch { what: "taking a subnet's weights out of its bundle" })
}

#[cfg(feature = "torch")]
mod with_torch {
    use search::arch_file::ArchFile;
    use serde::{Deserialize, Serialize};
    use storage::arrays::safetensors::{load_arrays, save_arrays};
    use storage::digest::Digest;
    use supernet::extract::StaticSubnet;
    use supernet::tensors::from_tensor;
    use tch::{Device, Tensor};

    use super::*;
    use crate::folders::bundle::Bundle;
    use crate::folders::names;
    use crate::folders::spaces::read_text;
    use crate::folders::supernet_file::{digest_of, load_supernet, write_text};

    const SCHEMA: &str = "ofa.parent/1";

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ParentFile {
        schema: String,
        /// Its name, or its path where it has none.
        bundle: String,
        /// Of all weights of its supernet.
        weights: String,
    }

    /// Writes both files: the pointer to `bundle`, whose weights have that digest, and the statistics among `tensors`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn write(
        folder: &Path,
        bundle: &Bundle,
        weights: &Digest,
        tensors: &BTreeMap<String, Tensor>,
        metadata: &Metadata,
    ) -> Result<()> {
        let statistics = tensors.iter().filter(|(name, _)| is_statistic(name));
        let statistics = statistics.map(|(name, tensor)| (name.clone(), from_tensor(tensor))).collect();
        save_arrays(&folder.join(names::STATISTICS), &statistics, metadata)?;
        let bundle = match bundle.has_known_name() {
            true => bundle.name(),
            false => {
                let path = std::fs::canonicalize(bundle.folder()).unwrap_or_else(|_| bundle.folder().to_path_buf());
                path.display().to_string()
            }
        };
        let file = ParentFile { schema: SCHEMA.into(), bundle, weights: weights.to_string() };
        let text = serde_json::to_string_pretty(&file).expect("strings");
        write_text(&folder.join(names::PARENT), &format!("{text}\n"))
    }

    fn is_statistic(name: &str) -> bool {
        [".running_mean", ".running_var"].iter().any(|end| name.ends_with(end))
    }

    /// Takes the weights out of the bundle that `folder` points to, and the statistics out of the folder.
    ///
    /// # Errors
    /// A damaged file, no such bundle, one with other weights.
    pub(crate) fn load(folder: &Path) -> Result<Loaded> {
        let path = folder.join(names::PARENT);
        let wrong = |reason: String| Error::FileInFolder { path: path.clone(), reason };
        let file: ParentFile = serde_json::from_str(&read_text(&path)?).map_err(|error| wrong(error.to_string()))?;
        if file.schema != SCHEMA {
            return Err(wrong(format!("its schema is {}, not {SCHEMA}", file.schema)));
        }
        // A name means the zoo, a path whatever is there.
        let bundle = Bundle::named(&file.bundle).or_else(|_| Bundle::find(&file.bundle)).map_err(|error| {
            wrong(format!(
                "the weights are those of bundle {}, and {error}; write where it is into this file",
                file.bundle
            ))
        })?;
        let space = bundle.space()?;
        let supernet = load_supernet(bundle.folder(), &space, Device::Cpu)?;
        if digest_of(&supernet.tensors()).to_string() != file.weights {
            let other = "has other weights than those that this subnet was taken of: name the one it was";
            return Err(wrong(format!("bundle {} {other}", file.bundle)));
        }
        let subnet = folder.join(names::SUBNET);
        let arch = ArchFile::from_json(&read_text(&subnet)?)
            .and_then(|file| space.parse(&file))
            .map_err(|problem| Error::in_file(subnet, problem))?;
        let subnet = supernet.subnet(&space.resolve(&arch));
        let taken = StaticSubnet::extract(&subnet, &subnet.stored_statistics());
        let mut arrays: BTreeMap<String, HostArray> =
            taken.tensors().iter().map(|(name, tensor)| (name.clone(), from_tensor(tensor))).collect();
        let (statistics, metadata) = load_arrays(&folder.join(names::STATISTICS))?;
        // Those of the supernet are of another subnet, or of none.
        arrays.retain(|name, _| !is_statistic(name));
        arrays.extend(statistics.into_iter().filter(|(name, _)| is_statistic(name)));
        Ok((arrays, metadata))
    }
}
