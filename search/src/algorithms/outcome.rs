//! What a search found, and the frame that all searches share: feasibility first, and few enough subnets in full.

use hw_targets::budget::Budget;
use network::units::Quantity;

use crate::algorithms::history::{Explorer, History, Scored};
use crate::algorithms::objective::Evaluator;
use crate::cost::dense::CostTables;
use crate::cost::feasible::Feasible;
use crate::error::SearchError;

/// Most subnets that are evaluated in full where no more than these fit.
const EXHAUSTIVE: usize = 100_000;

/// What a search found.
#[derive(Clone, Debug)]
pub struct SearchOutcome {
    /// Every evaluation in order.
    pub history: History,
    /// Whether every subnet that fits was evaluated, so that the best is the best there is.
    pub exhaustive: bool,
    /// Whether what fits was listed and evaluated in order, not searched; not to the end, if the evaluator was over
    /// before.
    pub listed: bool,
    /// Ceilings that every subnet of the space meets, so that they bind nothing.
    pub slack: Vec<Quantity>,
}

impl SearchOutcome {
    /// The best subnet.
    pub fn best(&self) -> Scored {
        self.history.best(1).remove(0)
    }

    /// Lets `explore` look among what fits `budget`, unless that is so little that all of it is evaluated.
    pub(crate) fn of<E: Evaluator>(
        tables: &CostTables,
        budget: &Budget,
        evaluator: &mut E,
        evaluations: usize,
        batch: usize,
        explore: impl FnOnce(&mut Explorer<'_, E>) -> Result<(), SearchError>,
    ) -> Result<SearchOutcome, SearchError> {
        let tables = &*tables.within(budget);
        let feasible = Feasible::new(tables, budget)?;
        let most = evaluations.max(1);
        let everything = feasible.enumerate(most.min(EXHAUSTIVE));
        let count = everything.as_ref().map(Vec::len);
        let listed = everything.is_some();
        let mut explorer = Explorer::new(feasible, evaluator, most);
        match everything {
            Some(all) => {
                for chunk in all.chunks(batch.max(1)) {
                    let mut new = Vec::new();
                    for genes in chunk {
                        explorer.queue(&mut new, genes.clone());
                    }
                    explorer.evaluate(new)?;
                }
            }
            None => explore(&mut explorer)?,
        }
        let history = explorer.into_history();
        let exhaustive = count == Some(history.len());
        Ok(SearchOutcome { history, exhaustive, listed, slack: slack(tables, budget) })
    }
}

/// Ceilings that every subnet meets.
pub(crate) fn slack(tables: &CostTables, budget: &Budget) -> Vec<Quantity> {
    let meets = |(quantity, ceiling): (Quantity, f64)| {
        tables.range(quantity).is_some_and(|range| range.max <= ceiling).then_some(quantity)
    };
    budget.limits().filter_map(meets).collect()
}
