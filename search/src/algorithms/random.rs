//! Random search: distinct subnets that fit, drawn at even resolutions; what every other search must beat.

use hw_targets::budget::Budget;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::algorithms::objective::Evaluator;
use crate::algorithms::outcome::SearchOutcome;
use crate::cost::dense::CostTables;
use crate::error::SearchError;

/// Subnets evaluated together.
const BATCH: usize = 500;
/// Draws of known subnets in a row after which there seem to be no others.
const MISSES: usize = 20_000;

/// Evaluates `evaluations` random subnets within `budget`: drawn so that at its resolution every subnet is equally
/// likely, then repaired where they do not fit.
///
/// # Errors
/// As [`crate::algorithms::evolution::evolve`].
pub fn random(
    tables: &CostTables,
    budget: &Budget,
    evaluator: &mut impl Evaluator,
    evaluations: usize,
    seed: u64,
) -> Result<SearchOutcome, SearchError> {
    SearchOutcome::of(tables, budget, evaluator, evaluations, BATCH, |explorer| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut misses = 0;
        while explorer.left() > 0 && misses < MISSES {
            let mut batch = Vec::new();
            while batch.len() < BATCH.min(explorer.left()) && misses < MISSES {
                let feasible = &explorer.feasible;
                let resolution = feasible.resolutions[rng.random_range(0..feasible.resolutions.len())];
                let candidate = feasible.tables.codec.sample_at(resolution, &mut rng);
                let genes = feasible.fitted(candidate, &mut rng);
                misses = if explorer.queue(&mut batch, genes) { 0 } else { misses + 1 };
            }
            explorer.evaluate(batch)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use network::units::Macs;

    use super::*;
    use crate::error::ForeignError;
    use crate::space::SearchSpace;
    use crate::space::arch::ArchSpec;

    #[test]
    fn draws_are_distinct_fit_and_follow_from_the_seed() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tables = CostTables::counts_only(&space, space.resolutions()).unwrap();
        let budget = Budget::new(None, None, Some(Macs(4_000_000)), None).unwrap();
        let run = |seed| {
            let mut evaluator = |archs: &[ArchSpec]| -> Result<Vec<f64>, ForeignError> {
                Ok(archs.iter().map(|arch| f64::from(arch.resolution())).collect())
            };
            random(&tables, &budget, &mut evaluator, 1_200, seed).unwrap()
        };
        let (one, again, other) = (run(1), run(1), run(2));
        assert!(one.history.iter().eq(again.history.iter()) && !one.history.iter().eq(other.history.iter()));
        let archs: HashSet<ArchSpec> = one.history.iter().map(|scored| scored.arch).collect();
        assert_eq!(archs.len(), 1_200);
        assert!(archs.iter().all(|arch| space.lower(arch).macs().0 <= 4_000_000));
        assert!(space.resolutions().iter().all(|at| archs.iter().any(|arch| arch.resolution() == *at)));
    }
}
