//! The best subnet for every budget at once, where accuracy and cost are sums: dynamic programming with a certificate.
//!
//! With an additive score ([`AdditiveScores`]) and a cost that is a sum over blocks ([`CostTables`]), choosing the
//! settings of all blocks is a multiple-choice knapsack. The grid it is solved on ([`crate::algorithms::steps::knapsack`]) rounds costs
//! **down**, so that it allows all that the budget allows and its optimum is an upper bound on any subnet that fits. The
//! subnets that attain it are then costed exactly. Bound and score meet up to what rounding hides: at most one step for
//! each block.

use hw_targets::budget::Budget;
use network::units::Quantity;
use rayon::prelude::*;

use crate::algorithms::additive::AdditiveScores;
use crate::algorithms::history::Explorer;
use crate::algorithms::objective::Evaluator;
use crate::algorithms::outcome::{SearchOutcome, slack};
use crate::algorithms::steps::knapsack::{Grid, Price, steps_within};
use crate::cost::costs::{Costs, column_of};
use crate::cost::dense::CostTables;
use crate::cost::feasible::Feasible;
use crate::error::SearchError;
use crate::space::arch::ArchSpec;
use crate::space::genome::Genes;

/// Steps of the grid between the cheapest subnet and the largest budget.
pub(crate) const STEPS: usize = 16_384;

/// A subnet that no cheaper one beats by more than the certificate says.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontPoint {
    /// The subnet.
    pub arch: ArchSpec,
    /// Its additive score.
    pub score: f64,
    /// What no subnet of at most its cost exceeds.
    pub bound: f64,
    /// What it costs.
    pub costs: Costs,
}

/// The best subnets for all budgets up to a largest one.
#[derive(Clone, Debug)]
pub struct ExactFront {
    quantity: Quantity,
    step: f64,
    /// For each resolution the cost that the grid starts from, and the optimum by number of steps above it.
    bounds: Vec<(f64, Vec<f64>)>,
    points: Vec<FrontPoint>,
}

impl ExactFront {
    /// Solves for budgets of `quantity` up to `most`, or for all if it is not limited.
    ///
    /// The front is empty if no subnet costs at most `most`.
    ///
    /// Choices that `tables` rule out ([`CostTables::within`]) are not made.
    ///
    /// # Errors
    /// [`SearchError::UnknownQuantity`], also for peak memory, which is not a sum.
    pub fn solve(
        tables: &CostTables,
        scores: &AdditiveScores,
        quantity: Quantity,
        most: Option<f64>,
    ) -> Result<ExactFront, SearchError> {
        if column_of(quantity).is_none() {
            return Err(SearchError::UnknownQuantity(quantity));
        }
        let range = tables.range(quantity).ok_or(SearchError::UnknownQuantity(quantity))?;
        let most = most.unwrap_or(range.max).min(range.max);
        let step = ((most - range.min) / STEPS as f64).max(range.max * 1e-15).max(f64::MIN_POSITIVE);
        let solved: Vec<Grid<'_>> = (0..tables.resolutions().len())
            .into_par_iter()
            .map(|resolution| Grid::solve(tables, scores, Price::of(quantity), resolution, step, most))
            .collect();
        let mut found: Vec<(f64, f64, Genes)> = solved.par_iter().flat_map_iter(|grid| grid.subnets(most)).collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)).then_with(|| a.2.cmp(&b.2)));
        let bounds = solved.into_iter().map(|grid| (grid.base, grid.optimum)).collect();
        let mut front = ExactFront { quantity, step, bounds, points: Vec::new() };
        for (cost, score, genes) in found {
            if front.points.last().is_none_or(|last| score > last.score) {
                let bound = front.bound(cost).unwrap_or(score).max(score);
                let costs = tables.costs(tables.row(&genes));
                front.points.push(FrontPoint { arch: tables.codec.decode(&genes), score, bound, costs });
            }
        }
        Ok(front)
    }

    /// The points as the result of a search, each scored by `evaluator`.
    ///
    /// # Errors
    /// What the evaluator says, and [`SearchError::Infeasible`] if the front is empty because nothing fits `budget`.
    pub fn outcome(
        &self,
        tables: &CostTables,
        budget: &Budget,
        evaluator: &mut impl Evaluator,
    ) -> Result<SearchOutcome, SearchError> {
        let tables = &*tables.within(budget);
        let mut explorer = Explorer::new(Feasible::new(tables, budget)?, evaluator, self.points.len().max(1));
        let mut batch = Vec::new();
        for point in &self.points {
            let genes = tables.codec.encode(&point.arch);
            if explorer.feasible.fits(&genes) {
                explorer.queue(&mut batch, genes);
            }
        }
        if batch.is_empty()
            && let Some(cheapest) = explorer.feasible.cheapest_fitting()
        {
            // A ceiling within the last bits of the least cost: rounding may have left none of the points.
            explorer.queue(&mut batch, cheapest);
        }
        explorer.evaluate(batch)?;
        Ok(SearchOutcome {
            history: explorer.into_history(),
            exhaustive: false,
            listed: true,
            slack: slack(tables, budget),
        })
    }

    /// What is limited.
    pub fn quantity(&self) -> Quantity {
        self.quantity
    }

    /// Width of the grid's steps, in the quantity's unit.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// Subnets by rising cost and score.
    pub fn points(&self) -> &[FrontPoint] {
        &self.points
    }

    /// The best of them for `budget`, or `None` if none fits.
    pub fn best(&self, budget: f64) -> Option<&FrontPoint> {
        let fitting = self.points.partition_point(|point| point.costs.get(self.quantity) <= Some(budget));
        self.points[..fitting].last()
    }

    /// What the score of no subnet within `budget` exceeds; `None` if there is no such subnet. Budgets above the largest
    /// one solved for are not covered.
    pub fn bound(&self, budget: f64) -> Option<f64> {
        let at = |(base, optimum): &(f64, Vec<f64>)| {
            let steps = steps_within(budget - base, self.step)?;
            optimum.get(steps.min(optimum.len().checked_sub(1)?)).copied()
        };
        self.bounds.iter().filter_map(at).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use network::units::Joules;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::cost::dense::DeviceCost;
    use crate::space::SearchSpace;

    fn tables(space: &SearchSpace, seed: u64) -> CostTables {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        CostTables::compile(space, space.resolutions(), DeviceCost::default(), |op, _| {
            let energy = 1e-9 * op.macs().0 as f64 * rng.random_range(0.5..1.5) + 1e-7;
            Ok(DeviceCost { energy: Some(energy), latency: None })
        })
        .unwrap()
    }

    fn scores(tables: &CostTables, seed: u64) -> AdditiveScores {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut more = ChaCha8Rng::seed_from_u64(seed + 1);
        AdditiveScores::new(
            tables,
            |resolution| 0.01 * f64::from(resolution) + rng.random_range(0.0..0.1),
            // Some blocks do harm.
            |_, _, block| 0.01 * f64::from(block.kernel * block.expand) + more.random_range(-0.1..0.2),
        )
        .unwrap()
    }

    fn small() -> SearchSpace {
        let mut space = SearchSpace::builtin("mcu-cifar").unwrap();
        space.stages.truncate(2);
        space.resolutions = vec![24, 32];
        space
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_bound_holds_and_the_front_attains_it(seed in 0..1_000_u64, parts in prop::collection::vec(0.0..1.1, 12)) {
            let tables = tables(&small(), seed);
            let scores = scores(&tables, seed + 7);
            let all = Feasible::new(&tables, &Budget::default()).unwrap().enumerate(1_000_000).unwrap();
            let all: Vec<(f64, f64)> =
                all.iter().map(|genes| (tables.row(genes)[0], scores.of_genes(&tables, genes))).collect();
            let range = tables.range(Quantity::Energy).unwrap();
            let front = ExactFront::solve(&tables, &scores, Quantity::Energy, None).unwrap();
            for part in parts {
                let budget = range.min + part * (range.max - range.min);
                let best = all.iter().filter(|(cost, _)| *cost <= budget).map(|(_, score)| *score).reduce(f64::max);
                let best = best.unwrap();
                prop_assert!(front.bound(budget).unwrap() >= best - 1e-12);
                let point = front.best(budget).unwrap();
                prop_assert!(point.score <= best + 1e-12);
                prop_assert!(point.costs.get(Quantity::Energy).unwrap() <= budget);
                // What rounding may hide: a step for each of at most five blocks.
                let less = budget - 5.0 * front.step();
                let sure = all.iter().filter(|(cost, _)| *cost <= less).map(|(_, score)| *score).reduce(f64::max);
                prop_assert!(sure.is_none_or(|sure| point.score >= sure - 1e-12));
            }
            prop_assert!(front.bound(range.min * 0.99).is_none() && front.best(range.min * 0.99).is_none());
        }
    }

    #[test]
    fn the_front_rises_and_certifies_itself() {
        let space = SearchSpace::builtin("mbv3-w1.2").unwrap();
        let tables = tables(&space, 3);
        let scores = scores(&tables, 4);
        let range = tables.range(Quantity::Energy).unwrap();
        let most = range.min + 0.6 * (range.max - range.min);
        let front = ExactFront::solve(&tables, &scores, Quantity::Energy, Some(most)).unwrap();
        assert!(front.points().len() > 100);
        let energy = |point: &FrontPoint| point.costs.get(Quantity::Energy).unwrap();
        for pair in front.points().windows(2) {
            assert!(energy(&pair[0]) < energy(&pair[1]) && pair[0].score < pair[1].score);
        }
        for point in front.points() {
            assert_eq!(scores.score(&tables, &point.arch), point.score);
            assert!(energy(point) <= most && point.bound >= point.score);
        }
        let last = front.points().last().unwrap();
        assert!(last.bound - last.score < 0.01, "{} and {}", last.bound, last.score);
    }

    #[test]
    fn nothing_fits_below_the_cheapest_and_everything_above_the_dearest() {
        let tables = tables(&small(), 1);
        let scores = scores(&tables, 2);
        let range = tables.range(Quantity::Energy).unwrap();
        let none = ExactFront::solve(&tables, &scores, Quantity::Energy, Some(range.min * 0.5)).unwrap();
        assert!(none.points().is_empty() && none.best(range.max).is_none());
        let all = ExactFront::solve(&tables, &scores, Quantity::Energy, Some(Joules(1e9).0)).unwrap();
        let best = all.points().last().unwrap();
        // Without a budget every block takes its best choice: nothing is hidden by rounding.
        assert!((best.bound - best.score).abs() < 1e-9, "{} and {}", best.bound, best.score);
        assert!(matches!(
            ExactFront::solve(&tables, &scores, Quantity::Latency, None),
            Err(SearchError::UnknownQuantity(Quantity::Latency))
        ));
    }
}
