//! The verbs about targets: what there is, what a network costs on one, adding and importing one's own.

use std::path::Path;

use anyhow::Result;
use hw_targets::cost::{CostSum, CostValue, NetworkCost};
use hw_targets::error::HwError;
use hw_targets::import::Format;
use hw_targets::library::{Kept, Origin, TargetLibrary};
use hw_targets::target::Target;
use hw_targets::units::Quantity;
use hw_targets::workload::Workload;
use search::space::SearchSpace;
use serde_json::{Map, Value, json};

use crate::error::AppError;
use crate::spaces;

/// One line of `ofa target list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetEntry {
    /// Its name.
    pub name: String,
    /// Whether it ships or is the user's own.
    pub origin: Origin,
    /// The device in words, and what it can answer; or why it cannot be read.
    pub state: Result<(String, Vec<Quantity>), String>,
}

/// Every target that can be named. One that cannot be read is listed with the reason.
pub fn list() -> Vec<TargetEntry> {
    let library = TargetLibrary::of_user();
    let entry = |(name, origin): (String, Origin)| {
        let state = match library.find(&name) {
            Ok(target) => Ok((target.manifest().device.clone().unwrap_or_default(), target.known())),
            Err(error) => Err(error.to_string()),
        };
        TargetEntry { name, origin, state }
    };
    library.names().into_iter().map(entry).collect()
}

/// The target of that name, or at that path.
///
/// # Errors
/// An unknown name, wrong content of its files.
pub fn find(name: &str) -> Result<Target> {
    Ok(TargetLibrary::of_user().find(name)?)
}

/// What each subnet of a file costs on `target`, at any resolution of at least 16.
///
/// # Errors
/// The file's content; an operator that the target does not cover.
pub fn cost(target: &Target, space: &SearchSpace, subnets: &Path) -> Result<Vec<NetworkCost>> {
    let workloads = spaces::read_workloads(subnets, space)?;
    Ok(workloads.iter().map(|workload| target.cost_of(workload)).collect::<Result<_, HwError>>()?)
}

/// Keeps a table as the user's own target.
///
/// # Errors
/// A reserved or impossible name, wrong content (nothing is written then), a folder that cannot be written.
pub fn add(table: &Path, name: &str, manifest: Option<&Path>) -> Result<Target> {
    for path in [Some(table), manifest].into_iter().flatten() {
        require_file(path)?;
    }
    Ok(TargetLibrary::of_user().add(table, name, manifest)?)
}

/// Keeps measurements of a foreign format as the user's own target, or whole networks as a file of networks; where a
/// format holds several devices, `device` chooses.
///
/// # Errors
/// As [`add`]; an unknown format or device.
pub fn import(format: &str, path: &Path, device: Option<&str>, name: &str) -> Result<Kept> {
    let format = Format::parse(format)?;
    require_file(path)?;
    Ok(TargetLibrary::of_user().import(format, path, device, name)?)
}

fn require_file(path: &Path) -> Result<(), AppError> {
    if path.exists() { Ok(()) } else { Err(AppError::NotFound { path: path.to_path_buf() }) }
}

/// What a network costs in one quantity (energy or latency) that the target knows.
///
/// # Errors
/// [`HwError::MissingOperator`].
pub fn value_in(target: &Target, quantity: Quantity, workload: &Workload) -> Result<CostValue, HwError> {
    let mut sum = CostSum::default();
    for op in &workload.ops {
        sum.add(&target.cost_in(quantity, op, workload.resolution)?);
    }
    Ok(target.value_of(quantity, &sum))
}

/// Costs as the commands print them: `energy_mj` and `latency_ms` as objects, left out where not known; `macs`, `params`,
/// `flash_bytes` and `peak_memory_bytes` as numbers.
pub fn cost_json(cost: &NetworkCost) -> Map<String, Value> {
    let mut costs = Map::new();
    for (quantity, value) in [(Quantity::Energy, &cost.energy), (Quantity::Latency, &cost.latency)] {
        if let Some(value) = value {
            costs.insert(quantity.json_key().into(), value_json(quantity, value));
        }
    }
    let counts = [
        (Quantity::Macs, cost.macs.0),
        (Quantity::Params, cost.params.0),
        (Quantity::Flash, cost.flash.0),
        (Quantity::PeakMemory, cost.peak_memory.0),
    ];
    costs.extend(counts.map(|(quantity, count)| (quantity.json_key().to_owned(), count.into())));
    costs
}

/// `std` is the standard deviation in all; `std_ranking` its part that differs from network to network.
fn value_json(quantity: Quantity, cost: &CostValue) -> Value {
    let scale = quantity.json_scale();
    let mut value = json!({
        "value": cost.value * scale,
        "std": cost.sigma() * scale,
        "std_ranking": cost.std * scale,
        "method": cost.method.name(),
        "basis": cost.basis.name(),
        "scope": cost.scope.name(),
        "grade": cost.grade.name(),
        "fitted": cost.fitted,
        "operators_outside_fit": cost.outside,
    });
    if let (Some(factor), Some(object)) = (cost.factor, value.as_object_mut()) {
        object.insert("factor".into(), factor.into());
    }
    value
}
