//! Two targets side by side, operator by operator.

use hw_targets::diff::{Difference, difference};
use hw_targets::target::Target;
use network::units::Measured;
use search::space::SearchSpace;

use crate::error::{Error, Result};
use crate::target::work_list::operators;

/// Two targets, operator by operator, in every quantity both know: over the operators of their tables, or of `space`.
///
/// # Errors
/// Costs of different batches; neither has a table and there is no space; nothing in common.
pub fn diff(a: &Target, b: &Target, space: Option<&SearchSpace>) -> Result<Vec<Difference>> {
    if a.batch() != b.batch() {
        let of = |target: &Target| (target.name().to_owned(), target.batch());
        return Err(Error::DifferentBatches { a: of(a), b: of(b) });
    }
    let mut ops = match space {
        Some(space) => operators(space)?,
        None => [a.operators(), b.operators()].concat(),
    };
    let names = || (a.name().to_owned(), b.name().to_owned());
    if ops.is_empty() {
        let (a, b) = names();
        return Err(Error::NoOperators { a, b });
    }
    ops.sort_unstable();
    ops.dedup();
    let quantities = [Measured::Latency, Measured::Energy];
    let differences: Vec<Difference> =
        quantities.into_iter().filter_map(|quantity| difference(a, b, quantity, &ops)).collect();
    if differences.is_empty() {
        let (a, b) = names();
        return Err(Error::NothingInCommon { a, b });
    }
    Ok(differences)
}
