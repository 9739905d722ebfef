//! The subnets that a linear guess calls best, found on a coarse grid: what a search proposes to its evaluator.

use network::units::Quantity;
use rand::Rng;
use rayon::prelude::*;

use crate::algorithms::additive::AdditiveScores;
use crate::algorithms::steps::knapsack::{Grid, Price};
use crate::cost::costs::CostRow;
use crate::cost::dense::CostTables;
use crate::space::genome::Genes;

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
    let most = if price.is_zero() { 0.0 } else { 1.0 };
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
