//! The verbs about targets: what there is, what a network costs on one, adding and importing one's own.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use hw_targets::budget::Budget;
use hw_targets::cost::{CostSum, CostValue, NetworkCost, OpCost};
use hw_targets::diff::{Difference, difference};
use hw_targets::error::HwError;
use hw_targets::import::Format;
use hw_targets::library::{Kept, Origin, TargetLibrary};
use hw_targets::manifest::Correction;
use hw_targets::networks::Networks;
use hw_targets::table::{OpKey, OpTable};
use hw_targets::table_op::TableOp;
use hw_targets::target::Target;
use hw_targets::work_list;
use network::op::Workload;
use network::units::{Bytes, Quantity};
use search::dense::{CostTables, DeviceCost};
use search::space::SearchSpace;
use serde_json::{Map, Value, json};

use crate::error::AppError;
use crate::spaces;

/// One line of `ofa target list`.
#[derive(Clone, Debug)]
pub struct TargetEntry {
    /// Its name.
    pub name: String,
    /// Whether it ships or is the user's own.
    pub origin: Origin,
    /// It, or why it cannot be read.
    pub state: Result<Target, String>,
}

/// Every target that can be named. One that cannot be read is listed with the reason.
pub fn list() -> Vec<TargetEntry> {
    let library = TargetLibrary::of_user();
    let entry = |(name, origin): (String, Origin)| {
        let state = library.find(&name).map_err(|error| error.to_string());
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

/// The same; with `extrapolate`, its fitted models answer however far outside of what they were fitted to.
///
/// # Errors
/// As [`find`].
pub fn find_reaching(name: &str, extrapolate: bool) -> Result<Target> {
    let target = find(name)?;
    Ok(if extrapolate { target.extrapolating() } else { target })
}

/// `given` with the memories of `target` as ceilings, too; of two ceilings on one quantity the smaller one counts. With
/// it comes a sentence for each memory that says what holds.
///
/// # Errors
/// None for a budget and a target that were made by their own constructors.
pub fn within_memory(given: Budget, target: &Target) -> Result<(Budget, Vec<String>), HwError> {
    let mut budget = given;
    let mut notes = Vec::new();
    for quantity in Quantity::ALL {
        let Some(Bytes(has)) = target.capacity(quantity) else { continue };
        let (name, has) = (target.name(), has as f64);
        let words = quantity.format(has);
        notes.push(match given.limit(quantity).map(|limit| (limit, quantity.format(limit))) {
            None => format!("{quantity} is kept within the {words} of {name}"),
            Some((limit, given)) if limit <= has => format!("{quantity} is kept within {given}; {name} has {words}"),
            Some((_, given)) => format!("{quantity} is kept within the {words} of {name}, below the {given} given"),
        });
        budget = budget.with(quantity, given.limit(quantity).map_or(has, |limit| limit.min(has)))?;
    }
    Ok((budget, notes))
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

/// Measured networks by the name they were imported under, or by the path of their file.
///
/// # Errors
/// A file that is not there, wrong content.
pub fn networks(name: &str) -> Result<Networks> {
    Ok(TargetLibrary::of_user().networks(name)?)
}

/// Keeps `target` with corrections as the user's own target `name`.
///
/// # Errors
/// An impossible name, a folder that cannot be written.
pub fn keep_corrected(target: &Target, name: &str, corrections: &[(Quantity, Correction)]) -> Result<Target> {
    Ok(TargetLibrary::of_user().keep_corrected(target, name, corrections)?)
}

/// Every operator that a subnet of `space` can have at its resolutions, as tables write it down, with that
/// resolution, each pair once.
///
/// # Errors
/// Those of the space's shapes.
pub fn operators(space: &SearchSpace) -> Result<Vec<(TableOp, u32)>> {
    operators_at(space, space.resolutions())
}

/// The same at some of its resolutions.
///
/// # Errors
/// One that the space does not offer.
pub fn operators_at(space: &SearchSpace, resolutions: &[u32]) -> Result<Vec<(TableOp, u32)>> {
    let mut operators = BTreeSet::new();
    CostTables::compile(space, resolutions, DeviceCost::default(), |op, resolution| {
        operators.extend(TableOp::of(op).map(|row| (row, resolution)));
        Ok(DeviceCost::default())
    })?;
    Ok(operators.into_iter().collect())
}

/// What there is to measure before a target answers for a space.
#[derive(Clone, Debug)]
pub struct WorkList {
    /// The operators as a table without values; `None` if the target covers all.
    pub table: Option<OpTable>,
    /// Distinct operators of the space.
    pub operators: usize,
    /// Those that are missing.
    pub missing: usize,
}

/// The work list of `space`: its operators, each once, or only those that `target` has no measured value of, in any
/// quantity it knows.
///
/// # Errors
/// Those of the space's shapes.
pub fn work_list(space: &SearchSpace, target: Option<&Target>) -> Result<WorkList> {
    let all = operators(space)?;
    let lacks = |(op, resolution): &(TableOp, u32)| {
        target.is_none_or(|target| !target.cost(&op.op(), *resolution).is_ok_and(|cost| is_measured(&cost)))
    };
    let missing: Vec<TableOp> = all.iter().filter(|pair| lacks(pair)).map(|(op, _)| *op).collect();
    let distinct = |ops: Vec<TableOp>| ops.iter().map(|op| OpKey::new(op, None)).collect::<BTreeSet<_>>().len();
    let (operators, count) = (distinct(all.into_iter().map(|(op, _)| op).collect()), distinct(missing.clone()));
    let table = (count > 0).then(|| work_list::work_list(&missing, Path::new("operators.csv"))).transpose()?;
    Ok(WorkList { table, operators, missing: count })
}

/// A board that knows only its memory has nothing measured.
fn is_measured(cost: &OpCost) -> bool {
    let mut estimates = [cost.latency, cost.energy].into_iter().flatten().peekable();
    estimates.peek().is_some() && estimates.all(|estimate| !estimate.fitted)
}

/// Two targets, operator by operator, in every quantity both know: over the operators of their tables, or of `space`.
///
/// # Errors
/// Neither has a table and there is no space; nothing in common.
pub fn diff(a: &Target, b: &Target, space: Option<&SearchSpace>) -> Result<Vec<Difference>> {
    let mut ops = match space {
        Some(space) => operators(space)?,
        None => [a.operators(), b.operators()].concat(),
    };
    let names = || (a.name().to_owned(), b.name().to_owned());
    if ops.is_empty() {
        let (a, b) = names();
        return Err(AppError::NoOperators { a, b }.into());
    }
    ops.sort_unstable();
    ops.dedup();
    let quantities = [Quantity::Latency, Quantity::Energy];
    let differences: Vec<Difference> =
        quantities.into_iter().filter_map(|quantity| difference(a, b, quantity, &ops)).collect();
    if differences.is_empty() {
        let (a, b) = names();
        return Err(AppError::NothingInCommon { a, b }.into());
    }
    Ok(differences)
}

fn require_file(path: &Path) -> Result<(), AppError> {
    if path.exists() { Ok(()) } else { Err(AppError::NotFound { path: path.to_path_buf() }) }
}

/// What a network costs in one quantity (energy or latency) that the target knows.
///
/// # Errors
/// [`HwError::MissingOperator`], [`HwError::NoCost`].
pub fn value_in(target: &Target, quantity: Quantity, workload: &Workload) -> Result<CostValue, HwError> {
    let mut sum = CostSum::default();
    for op in &workload.ops {
        sum.add(&target.cost_in(quantity, op, workload.resolution)?);
    }
    target.value_of(quantity, &sum)
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
