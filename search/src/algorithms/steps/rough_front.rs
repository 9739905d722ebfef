//! The subnets that a linear guess calls best for any cost, found on a coarse grid: what a search for a front proposes to
//! its evaluator.

use network::units::Quantity;
use rayon::prelude::*;

use crate::algorithms::additive::AdditiveScores;
use crate::algorithms::steps::knapsack::{Grid, Price};
use crate::cost::dense::CostTables;
use crate::space::genome::Genes;

/// Steps of the grid for a guess.
const ROUGH_STEPS: usize = 512;

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
