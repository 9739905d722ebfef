//! What networks cost on a described accelerator, out of files.

use std::path::Path;

use hw_targets::accelerator::{Accelerator, Layer, NetworkEnergy, estimate_network, layers_of};
use search::space::SearchSpace;

use crate::error::{Result, Within};
use crate::folders::spaces;

/// Energy of the layers of a file (25 numbers per line), `batch` images computed together if given.
///
/// # Errors
/// A file that is not there, wrong content with its line, a layer that has no place on the accelerator.
pub fn energy_of_layers(accelerator: &Accelerator, path: &Path, batch: Option<u64>) -> Result<NetworkEnergy> {
    let mut layers = Layer::read_file(path)?;
    if let Some(batch) = batch {
        layers = layers.into_iter().map(|layer| layer.with_images(batch)).collect();
    }
    estimate_network(&layers, accelerator).within(|| path.display().to_string())
}

/// Energy of each subnet of a file, `batch` images computed together.
///
/// # Errors
/// As [`spaces::read_workloads`]; a layer that has no place on the accelerator.
pub fn energy_of_subnets(
    accelerator: &Accelerator,
    space: &SearchSpace,
    subnets: &Path,
    batch: u64,
) -> Result<Vec<NetworkEnergy>> {
    let workloads = spaces::read_workloads(subnets, space)?;
    let energy = |workload| Ok(estimate_network(&layers_of(workload, batch)?, accelerator)?);
    workloads.iter().map(energy).collect()
}
