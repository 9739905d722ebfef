//! The best subnet for every budget at once, where accuracy and cost are sums: dynamic programming with a certificate.
//!
//! With an additive score ([`AdditiveScores`]) and a cost that is a sum over blocks ([`CostTables`]), choosing the
//! settings of all blocks is a multiple-choice knapsack. It is solved over a grid of costs: every block's cost above its
//! cheapest choice is rounded **down** to whole steps, so that what the grid allows includes all that the budget allows
//! and its optimum is an upper bound on any subnet that fits. The subnets that attain it are then costed exactly. Bound
//! and score meet up to what rounding hides: at most one step for each block.

use hw_targets::budget::Budget;
use hw_targets::units::Quantity;
use rand::{Rng, RngExt};
use rayon::prelude::*;

use crate::arch::{ArchSpec, BlockSpec};
use crate::dense::{CostRow, CostTables, Costs, QUANTITIES, index_of};
use crate::error::SearchError;
use crate::feasible::Feasible;
use crate::genome::Genes;
use crate::history::Explorer;
use crate::objective::Evaluator;
use crate::outcome::{SearchOutcome, slack};

/// Steps of the grid between the cheapest subnet and the largest budget.
pub const STEPS: usize = 16_384;

/// A score that is a sum: a number for the resolution, and one for every block by its place, kernel size and expand ratio.
#[derive(Clone, Debug)]
pub struct AdditiveScores {
    pub(crate) resolutions: Vec<f64>,
    /// By gene of the block (from the first block's), then choice.
    pub(crate) blocks: Vec<Vec<f64>>,
    pub(crate) first_gene: usize,
}

impl AdditiveScores {
    /// Asks for every number once; blocks are counted from 0 within their stage.
    ///
    /// # Errors
    /// [`SearchError::BadScore`] for a number that is not finite.
    pub fn new(
        tables: &CostTables,
        mut of_resolution: impl FnMut(u32) -> f64,
        mut of_block: impl FnMut(usize, usize, BlockSpec) -> f64,
    ) -> Result<AdditiveScores, SearchError> {
        let finite = |score: f64, what: String| {
            if score.is_finite() { Ok(score) } else { Err(SearchError::BadScore { score, subnet: what }) }
        };
        let resolutions = tables.resolutions().iter();
        let resolutions = resolutions.map(|&at| finite(of_resolution(at), format!("resolution {at}")));
        let resolutions = resolutions.collect::<Result<_, _>>()?;
        let mut blocks = Vec::new();
        for (stage, of) in tables.space().stages().iter().enumerate() {
            for index in 0..of.max_depth() {
                let choices = of
                    .kernels
                    .iter()
                    .flat_map(|&kernel| of.expands.iter().map(move |&expand| BlockSpec { kernel, expand }));
                let scores = choices.map(|block| {
                    finite(of_block(stage, index, block), format!("block {index} of stage {stage} as {block:?}"))
                });
                blocks.push(scores.collect::<Result<_, _>>()?);
            }
        }
        Ok(AdditiveScores { resolutions, blocks, first_gene: 1 + tables.codec.stages.len() })
    }

    fn of(&self, gene: usize) -> &[f64] {
        &self.blocks[gene - self.first_gene]
    }

    /// The score of a subnet of `tables`' space.
    ///
    /// # Panics
    /// If `arch` is of another space or of a resolution that was not compiled.
    pub fn score(&self, tables: &CostTables, arch: &ArchSpec) -> f64 {
        self.of_genes(tables, &tables.codec.encode(arch))
    }

    pub(crate) fn of_genes(&self, tables: &CostTables, genes: &[u8]) -> f64 {
        let mut total = self.resolutions[usize::from(genes[0])];
        for (stage, code) in tables.codec.stages.iter().enumerate() {
            let blocks = code.first_block..code.first_block + tables.codec.depth(genes, stage);
            for (gene, &choice) in blocks.clone().zip(&genes[blocks]) {
                total += self.of(gene)[usize::from(choice)];
            }
        }
        total
    }
}

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
    /// # Errors
    /// [`SearchError::UnknownQuantity`].
    pub fn solve(
        tables: &CostTables,
        scores: &AdditiveScores,
        quantity: Quantity,
        most: Option<f64>,
    ) -> Result<ExactFront, SearchError> {
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

/// Whole steps in `excess`, a little generous because sums of costs differ in their last bits; `None` if negative.
fn steps_within(excess: f64, step: f64) -> Option<usize> {
    let steps = (excess / step + 1e-6).floor();
    (steps >= 0.0).then_some(steps as usize)
}

/// What the grid counts: a weighted sum of quantities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Price(CostRow);

impl Price {
    fn of(quantity: Quantity) -> Price {
        let mut weights = [0.0; QUANTITIES];
        weights[index_of(quantity)] = 1.0;
        Price(weights)
    }

    /// Random weights for the quantities that `limits` limit, such that a subnet within them has at most price 1.
    fn random(limits: &CostRow, rng: &mut impl Rng) -> Price {
        let limited = limits.map(|limit| limit < f64::INFINITY);
        let alone = limited.iter().filter(|is| **is).count() < 2;
        let mut weights: CostRow =
            std::array::from_fn(
                |of| if limited[of] { if alone { 1.0 } else { rng.random_range(0.0..1.0) } } else { 0.0 },
            );
        let total: f64 = weights.iter().sum();
        weights.iter_mut().zip(limits).for_each(|(weight, limit)| {
            if *weight > 0.0 {
                *weight /= total * limit.max(1e-300);
            }
        });
        Price(weights)
    }

    fn sum(self, row: &CostRow) -> f64 {
        let mut total = 0.0;
        for (value, weight) in row.iter().zip(self.0) {
            if weight != 0.0 {
                total += value * weight;
            }
        }
        total
    }
}

/// Steps of the grid for a guess.
const ROUGH_STEPS: usize = 512;

/// A subnet that maximises `scores` among those within `limits`, up to the roughness of the grid; where several
/// quantities are limited, within a random weighted sum of them, so that the result may still miss one.
pub(crate) fn roughly_best(
    tables: &CostTables,
    scores: &AdditiveScores,
    limits: &CostRow,
    rng: &mut impl Rng,
) -> Option<Genes> {
    let price = Price::random(limits, rng);
    let unlimited = price.0.iter().all(|weight| *weight == 0.0);
    let most = if unlimited { 0.0 } else { 1.0 };
    let step = 1.0 / ROUGH_STEPS as f64;
    let solved = (0..tables.resolutions().len())
        .into_par_iter()
        .map(|resolution| Grid::solve(tables, scores, price, resolution, step, most))
        .collect::<Vec<_>>();
    let mut best: Option<(f64, Genes)> = None;
    for grid in &solved {
        // The rounding may have let in what does not fit: the first that does, from the top.
        let fits = |genes: &Genes| price.sum(&tables.row(genes)) <= most;
        let tried = (0..grid.optimum.len()).rev().take(2 * tables.codec.len);
        let tried = tried.filter(|&steps| grid.optimum[steps] > f64::NEG_INFINITY).map(|steps| grid.trace(steps));
        let Some(genes) = tried.into_iter().find(fits) else { continue };
        let score = scores.of_genes(tables, &genes);
        if best.as_ref().is_none_or(|(least, _)| score > *least) {
            best = Some((score, genes));
        }
    }
    best.map(|(_, genes)| genes)
}

/// Subnets that maximise `scores` for every cost in `quantity` up to `most`, up to the roughness of the grid.
pub(crate) fn rough_front(tables: &CostTables, scores: &AdditiveScores, quantity: Quantity, most: f64) -> Vec<Genes> {
    let Some(range) = tables.range(quantity) else { return Vec::new() };
    let most = most.min(range.max);
    let step = ((most - range.min) / ROUGH_STEPS as f64).max(range.max * 1e-15).max(f64::MIN_POSITIVE);
    let found = (0..tables.resolutions().len())
        .into_par_iter()
        .map(|resolution| Grid::solve(tables, scores, Price::of(quantity), resolution, step, most).subnets(most));
    let mut found: Vec<(f64, f64, Genes)> = found.collect::<Vec<_>>().concat();
    found.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)).then_with(|| a.2.cmp(&b.2)));
    let mut best = f64::NEG_INFINITY;
    found.retain(|(_, score, _)| {
        let is_better = *score > best;
        best = best.max(*score);
        is_better
    });
    found.into_iter().map(|(_, _, genes)| genes).collect()
}

/// The solved grid of one resolution.
struct Grid<'a> {
    tables: &'a CostTables,
    scores: &'a AdditiveScores,
    price: Price,
    resolution: usize,
    /// Cost of the cheapest subnet without its optional blocks.
    base: f64,
    /// Best score by number of steps above `base`.
    optimum: Vec<f64>,
    stages: Vec<StageGrid>,
}

/// The best scores after each number of blocks of one stage, and after the stage.
struct StageGrid {
    /// `after[d]`: after `d` blocks; `after[0]` is what the stage starts from.
    after: Vec<Vec<f64>>,
    /// Steps of each choice: of the first, of the other mandatory, and of the optional blocks.
    steps: [Vec<usize>; 3],
    /// Blocks that every subnet has.
    least: usize,
}

impl StageGrid {
    fn steps_of(&self, block: usize) -> &[usize] {
        &self.steps[if block == 0 {
            0
        } else if block < self.least {
            1
        } else {
            2
        }]
    }
}

impl<'a> Grid<'a> {
    fn solve(
        tables: &'a CostTables,
        scores: &'a AdditiveScores,
        price: Price,
        resolution: usize,
        step: f64,
        most: f64,
    ) -> Grid<'a> {
        let codec = &tables.codec;
        let least = |rows: &[CostRow]| rows.iter().map(|row| price.sum(row)).reduce(f64::min).unwrap_or(0.0);
        let mut base = price.sum(tables.fixed(resolution));
        for (stage, code) in codec.stages.iter().enumerate() {
            base += least(tables.block(resolution, stage, true));
            base += least(tables.block(resolution, stage, false)) * (code.depths[0] - 1) as f64;
        }
        let mut grid = Grid { tables, scores, price, resolution, base, optimum: Vec::new(), stages: Vec::new() };
        let Some(size) = steps_within(most - base, step) else { return grid };
        let mut current = vec![scores.resolutions[resolution]; size + 1];
        for (stage, code) in codec.stages.iter().enumerate() {
            let rows = [true, false].map(|is_first| tables.block(resolution, stage, is_first));
            let above = |rows: &[CostRow], floor: f64| {
                rows.iter().map(|row| ((price.sum(row) - floor).max(0.0) / step) as usize).collect::<Vec<_>>()
            };
            let mut this = StageGrid {
                after: vec![current],
                steps: [above(rows[0], least(rows[0])), above(rows[1], least(rows[1])), above(rows[1], 0.0)],
                least: code.depths[0],
            };
            let deepest = code.depths[code.depths.len() - 1];
            for block in 0..deepest {
                let next = extend(&this.after[block], this.steps_of(block), scores.of(code.first_block + block));
                this.after.push(next);
            }
            current = this.after[code.depths[0]].clone();
            for &depth in &code.depths[1..] {
                for (best, &value) in current.iter_mut().zip(&this.after[depth]) {
                    *best = if value > *best { value } else { *best };
                }
            }
            grid.stages.push(this);
        }
        grid.optimum = current;
        grid
    }

    /// The subnets behind every rise of the optimum, with their exact cost and score, those within `most`.
    fn subnets(&self, most: f64) -> Vec<(f64, f64, Genes)> {
        let mut found = Vec::new();
        let mut last = f64::NEG_INFINITY;
        for (steps, &score) in self.optimum.iter().enumerate() {
            if score > last {
                last = score;
                let genes = self.trace(steps);
                let cost = self.price.sum(&self.tables.row(&genes));
                if cost <= most {
                    found.push((cost, self.scores.of_genes(self.tables, &genes), genes));
                }
            }
        }
        found
    }

    /// A subnet that attains the optimum within `steps`: every number is found again by the addition that made it.
    fn trace(&self, mut steps: usize) -> Genes {
        let codec = &self.tables.codec;
        let mut genes: Genes = vec![0; codec.len].into();
        genes[0] = self.resolution as u8;
        let mut wanted = self.optimum[steps];
        for (stage, code) in self.stages.iter().zip(&codec.stages).rev() {
            let depths = code.depths.iter().enumerate();
            let (index, depth) = depths
                .map(|(index, &depth)| (index, depth))
                .find(|(_, depth)| stage.after[*depth][steps] == wanted)
                .expect("the best of the depths is one of them");
            genes[code.depth_gene] = index as u8;
            for block in (0..depth).rev() {
                let scores = self.scores.of(code.first_block + block);
                let choices = stage.steps_of(block).iter().zip(scores).enumerate();
                let (choice, before) = choices
                    .filter_map(|(choice, (cost, score))| Some((choice, steps.checked_sub(*cost)?, score)))
                    .find(|(_, before, score)| stage.after[block][*before] + **score == wanted)
                    .map(|(choice, before, _)| (choice, before))
                    .expect("the best of the choices is one of them");
                genes[code.first_block + block] = choice as u8;
                steps = before;
                wanted = stage.after[block][steps];
            }
        }
        genes
    }
}

/// One more block: for every number of steps the best choice that leaves enough for what came before.
fn extend(before: &[f64], steps: &[usize], scores: &[f64]) -> Vec<f64> {
    let mut after = vec![f64::NEG_INFINITY; before.len()];
    for (&cost, &score) in steps.iter().zip(scores) {
        let Some(room) = after.get_mut(cost..) else { continue };
        for (best, value) in room.iter_mut().zip(before) {
            let value = value + score;
            *best = if value > *best { value } else { *best };
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use hw_targets::units::Joules;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::dense::DeviceCost;
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
