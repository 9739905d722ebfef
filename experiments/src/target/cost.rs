//! What networks cost on a target: of a file, in one quantity, and as the commands print it.

use std::path::Path;

use hw_targets::budget::Budget;
use hw_targets::cost::{CostSum, CostValue, NetworkCost};
use hw_targets::error::HwError;
use hw_targets::target::Target;
use network::op::Workload;
use network::units::{Bytes, Measured, Quantity};
use search::space::SearchSpace;
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::folders::spaces;

/// `given` with the memories of `target` as ceilings, too; of two ceilings on one quantity the smaller one counts. With
/// it comes a sentence for each memory that says what holds.
///
/// # Errors
/// None for a budget and a target that were made by their own constructors.
pub(crate) fn within_memory(given: Budget, target: &Target) -> Result<(Budget, Vec<String>), HwError> {
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

/// What a network costs in one quantity that the target knows.
///
/// # Errors
/// [`HwError::MissingOperator`], [`HwError::NoCost`], [`HwError::UnknownQuantity`].
pub(crate) fn value_in(target: &Target, quantity: Measured, workload: &Workload) -> Result<CostValue, HwError> {
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
    for quantity in Measured::ALL {
        if let Some(value) = cost.measured(quantity) {
            let quantity = quantity.quantity();
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

/// `std` is the standard deviation in all; `std_ranking` its part that differs from network to network. `batch` stands
/// there where it is not 1.
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
    if cost.batch != 1 {
        value["batch"] = cost.batch.into();
    }
    if let (Some(factor), Some(object)) = (cost.factor, value.as_object_mut()) {
        object.insert("factor".into(), factor.into());
    }
    value
}
