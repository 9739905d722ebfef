//! Dense cost tables of a target for a space, at the resolutions that space, predictor and target all know.

use std::collections::BTreeSet;
use std::time::Instant;

use hw_targets::error::HwError;
use hw_targets::target::Target;
use network::op::Op;
use network::units::{Measured, Quantity};
use predictors::ensemble::AccuracyPredictor;
use search::dense::{CostTables, DeviceCost};
use search::error::ForeignError;
use search::space::SearchSpace;

use crate::error::{Error, Result};

/// Resolutions that space, predictor and target all know; a note where that is not all of the space's.
///
/// # Errors
/// [`Error::NoCommonResolution`].
pub(crate) fn common_resolutions(
    space: &SearchSpace,
    predictor: &AccuracyPredictor,
    target: Option<&Target>,
    notes: &mut Vec<String>,
) -> Result<Vec<u32>> {
    let mut common = predictor.common_resolutions(space.resolutions());
    let of_target = target.and_then(Target::network_resolutions);
    if let Some(known) = &of_target {
        common.retain(|resolution| known.contains(resolution));
    }
    if common.is_empty() {
        return Err(Error::NoCommonResolution {
            space: space.id().to_string(),
            offered: space.resolutions().to_vec(),
            predicted: predictor.resolutions().to_vec(),
            target: of_target,
        });
    }
    if common.len() < space.resolutions().len() {
        let words: Vec<String> = common.iter().map(u32::to_string).collect();
        notes.push(format!(
            "only resolutions that the predictor and the target know too are searched: {}",
            words.join(", ")
        ));
    }
    Ok(common)
}

/// Dense tables of `target` for `space`; without one, of what follows from a network alone. A quantity that is not
/// `needed` may be covered in part: it is then left out, and a note says so.
///
/// # Errors
/// An operator without a cost in a quantity that is needed.
pub(crate) fn compile(
    space: &SearchSpace,
    target: Option<&Target>,
    resolutions: &[u32],
    needed: impl Fn(Quantity) -> bool,
    notes: &mut Vec<String>,
) -> Result<CostTables> {
    let started = Instant::now();
    let Some(target) = target else { return Ok(CostTables::counts_only(space, resolutions)?) };
    let _span = tracing::debug_span!("compile_tables", target = target.name(), space = %space.id()).entered();
    let knows = |quantity: Measured| target.knows(quantity.into());
    let constants = DeviceCost::from_fn(|quantity| knows(quantity).then(|| target.constant(quantity)));
    let mut left_out = BTreeSet::new();
    let mut ask = |quantity, op: &Op, resolution| -> Result<Option<f64>, ForeignError> {
        if !knows(quantity) {
            return Ok(None);
        }
        match target.cost_in(quantity, op, resolution) {
            Ok(estimate) => Ok(Some(estimate.value)),
            Err(HwError::MissingOperator { .. }) if !needed(quantity.into()) => {
                left_out.insert(quantity);
                Ok(None)
            }
            Err(error) => Err(Error::from(error).foreign()),
        }
    };
    let tables = CostTables::compile(space, resolutions, constants, |op, resolution| {
        DeviceCost::try_from_fn(|quantity| ask(quantity, op, resolution))
    })?;
    let (target, space) = (target.name(), space.id());
    tracing::info!(
        "compiled the costs of {target} for space `{space}` at {} resolutions in {:.2} s",
        resolutions.len(),
        started.elapsed().as_secs_f64()
    );
    notes.extend(left_out.iter().map(|quantity| {
        format!("{target} does not cover every operator of space `{space}` in {quantity}, which is left out")
    }));
    Ok(tables)
}
