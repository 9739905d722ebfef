//! The operators of a space, and which of them a target has yet to measure.

use std::collections::BTreeSet;
use std::path::Path;

use hw_targets::cost::OpCost;
use hw_targets::table::{OpKey, OpTable};
use hw_targets::table_op::TableOp;
use hw_targets::target::Target;
use search::dense::{CostTables, DeviceCost};
use search::space::SearchSpace;

use crate::error::{Error, Result};
use crate::folders::names;

/// Every operator that a subnet of `space` can have at its resolutions, as tables write it down, with that resolution, each
/// pair once.
///
/// # Errors
/// Those of the space's shapes.
pub fn operators(space: &SearchSpace) -> Result<Vec<(TableOp, u32)>> {
    operators_at(space, space.resolutions())
}

/// Every operator that a subnet of `space` can have at some of its resolutions, with that resolution, each pair once.
///
/// # Errors
/// One that the space does not offer.
pub(crate) fn operators_at(space: &SearchSpace, resolutions: &[u32]) -> Result<Vec<(TableOp, u32)>> {
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
    let table =
        (count > 0).then(|| hw_targets::work_list::work_list(&missing, Path::new(names::OPERATORS))).transpose()?;
    Ok(WorkList { table, operators, missing: count })
}

/// Refuses a file with something else in it than `list`: it may be the list with measurements filled in. Devices, pipes and
/// empty files can be written to.
///
/// # Errors
/// [`Error::OtherList`].
pub fn check_place(list: &OpTable, file: &Path) -> Result<()> {
    let mut text = Vec::new();
    list.write_rows(&mut text).expect("memory can be written to");
    let may_be_filled = std::fs::metadata(file).is_ok_and(|there| there.is_file() && there.len() > 0);
    // One that cannot be read is not known to be the list.
    match may_be_filled && std::fs::read(file).ok() != Some(text) {
        true => Err(Error::OtherList { path: file.to_path_buf() }),
        false => Ok(()),
    }
}

/// A board that knows only its memory has nothing measured.
fn is_measured(cost: &OpCost) -> bool {
    let mut estimates = [cost.latency, cost.energy].into_iter().flatten().peekable();
    estimates.peek().is_some() && estimates.all(|estimate| !estimate.fitted)
}
