//! What a refinement is to keep: budgets, and who says what networks cost.

use hw_targets::budget::Budget;
use hw_targets::cost::NetworkCost;
use hw_targets::target::Target;
use network::op::{Op, Workload};
use network::shape::NetworkShape;
use network::units::{Measured, Quantity};

use crate::error::{Error, Result};
use crate::networks;
use crate::target::cost::within_memory;
use crate::target::list;
use crate::torch::Progress;

/// Budgets, with the target that knows what they limit.
pub(crate) struct Limits {
    /// The device, answering for widths between those of its tables, too; without one, only what follows from the network
    /// alone is known.
    pub target: Option<Target>,
    /// The device with its tables alone.
    tabled: Option<Target>,
    /// What is limited.
    pub quantities: Vec<Quantity>,
    /// To what, in the same order.
    pub budgets: Vec<f64>,
}

impl Limits {
    /// `budget` on the target of that name, whose memories are ceilings, too; `progress` hears of those.
    ///
    /// # Errors
    /// An unknown or damaged target, a cost that it does not know, a budget of nothing.
    pub(crate) fn new(
        target: Option<&str>,
        extrapolate: bool,
        budget: Budget,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let target = target.map(|name| list::find_reaching(name, extrapolate)).transpose()?;
        // Whatever is refined gets widths that no table of a grid has.
        let (tabled, target) = (target.clone(), target.map(Target::between_widths));
        let budget = within(budget, target.as_ref(), progress)?;
        let (quantities, budgets): (Vec<Quantity>, Vec<f64>) = budget.limits().unzip();
        if quantities.is_empty() {
            return Err(Error::NothingToSearchFor);
        }
        Ok(Self { target, tabled, quantities, budgets })
    }

    /// What a network costs, one number for each budget.
    ///
    /// # Errors
    /// An operator that the target does not cover.
    pub(crate) fn costs(&self, shape: &NetworkShape) -> Result<Vec<f64>> {
        let cost = match &self.target {
            Some(target) => networks::cost(target, shape)?,
            None => {
                NetworkCost { peak_memory: networks::arena(shape).total(), ..NetworkCost::exact(&shape.workload()) }
            }
        };
        let value = |quantity: &Quantity| cost.value(*quantity).ok_or(Error::NeedsTarget { quantity: *quantity });
        self.quantities.iter().map(value).collect()
    }

    /// Operators of `workload` whose limited costs lie between those of widths that a table has.
    pub(crate) fn interpolated(&self, workload: &Workload) -> usize {
        let Some(target) = &self.tabled else { return 0 };
        let limited = |one: &Measured| self.quantities.contains(&one.quantity());
        let limited: Vec<Measured> = Measured::ALL.into_iter().filter(limited).collect();
        let is_missing = |op: &&Op| limited.iter().any(|one| target.cost_in(*one, op, workload.resolution).is_err());
        workload.ops.iter().filter(is_missing).count()
    }

    /// Costs in words.
    pub(crate) fn words(&self, costs: &[f64]) -> String {
        let words = self.quantities.iter().zip(costs).map(|(quantity, cost)| quantity.format(*cost));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// The budget with the target's memories.
fn within(budget: Budget, target: Option<&Target>, progress: &mut dyn Progress) -> Result<Budget> {
    let Some(target) = target else {
        return match budget.limits().find(|(quantity, _)| !quantity.is_exact()) {
            Some((quantity, _)) => Err(Error::NeedsTarget { quantity }),
            None => Ok(budget),
        };
    };
    budget.check_known(target)?;
    if budget.is_empty() {
        return Ok(budget);
    }
    let (budget, notes) = within_memory(budget, target)?;
    notes.iter().for_each(|note| progress.note(note));
    Ok(budget)
}
