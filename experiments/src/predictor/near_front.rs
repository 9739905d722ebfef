//! Which subnets to measure next: those near the front that a predictor sees.
//!
//! A search goes where its predictor is highest, which is where it is most likely too high. Pairs measured there correct
//! it: some hundred spread over the space and then a few rounds near the front find better subnets, with less optimism,
//! than a thousand spread pairs (`scripts/simulate-near-front` shows it on a published predictor). The closed-form parts of
//! a predictor ([`predictors::fit`] without MLPs) are fitted to what is measured so far; at ceilings spread evenly over
//! a range of costs, the best subnet is sought that was not measured yet.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use hw_targets::budget::Budget;
use hw_targets::target::Target;
use network::units::Quantity;
use predictors::fit::fit;
use predictors::pairs::AccuracyPair;
use predictors::settings::FitSettings;
use search::arch::ArchSpec;
use search::dense::CostTables;
use search::error::SearchError;
use search::evolution::{EvolutionSettings, evolve};
use search::space::SearchSpace;

use crate::error::{Error, Result};
use crate::search::tables::{common_resolutions, compile};

/// Which front, and how much of it.
#[derive(Clone, Debug)]
pub struct NearFront {
    /// The device; without one, only what follows from the network alone is known.
    pub target: Option<Target>,
    /// The cost along which the front lies.
    pub quantity: Quantity,
    /// Least and largest ceiling, in SI units or as counts; without them, from the cheapest to the dearest subnet.
    pub range: Option<(f64, f64)>,
    /// How many subnets.
    pub count: usize,
    /// Everything random follows from it.
    pub seed: u64,
}

/// Evaluations of each search.
const EVALUATIONS: usize = 2_000;
/// Pairs that a fit sets aside, the fewest it takes: nobody asks how good it is.
const SET_ASIDE: usize = 3;

impl NearFront {
    /// Subnets near the front of a predictor fitted to `pairs`, whose architectures are `archs`; none of those again.
    ///
    /// # Errors
    /// Too few pairs to fit; a quantity or an operator that the target does not know; [`Error::Interrupted`] once `stop`
    /// is set.
    pub fn propose(
        &self,
        space: &SearchSpace,
        pairs: &[AccuracyPair],
        archs: &[ArchSpec],
        stop: &AtomicBool,
    ) -> Result<Vec<ArchSpec>> {
        let settings = FitSettings {
            members: 0,
            test_pairs: SET_ASIDE,
            seed: self.seed,
            learning_curve: false,
            ..FitSettings::default()
        };
        let predictor = fit(space, pairs, archs, &settings, &mut |_, _| ())?.predictor;
        let mut seen: HashSet<ArchSpec> = archs.iter().cloned().collect();
        let resolutions = common_resolutions(space, &predictor, self.target.as_ref(), &mut Vec::new())?;
        let tables = compile(space, self.target.as_ref(), &resolutions, |_| false, &mut Vec::new())?;
        let (low, high) = self.range.unwrap_or(Self::whole(&tables, self.quantity)?);
        let mut proposed = Vec::new();
        for place in 0..self.count {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            // The middle of each part, so that neither end is a ceiling that nothing or everything keeps.
            let ceiling = low + (high - low) * (place as f64 + 0.5) / self.count as f64;
            let budget = Budget::default().with(self.quantity, ceiling)?;
            let seed = self.seed.wrapping_add(place as u64);
            let settings = EvolutionSettings { evaluations: EVALUATIONS, anneals: true, start: Vec::new(), seed };
            let mut score = |archs: &[ArchSpec]| predictor.top1(archs).map_err(|error| Error::from(error).foreign());
            let outcome = evolve(&tables.within(&budget), &budget, &mut score, &settings)?;
            // As many as can have been measured or proposed already, and one.
            let found = outcome.history.best(EVALUATIONS);
            if let Some(arch) = found.into_iter().map(|scored| scored.arch).find(|arch| !seen.contains(arch)) {
                seen.insert(arch.clone());
                proposed.push(arch);
            }
        }
        Ok(proposed)
    }

    fn whole(tables: &CostTables, quantity: Quantity) -> Result<(f64, f64)> {
        let range = tables.range(quantity).ok_or(SearchError::UnknownQuantity(quantity))?;
        Ok((range.min, range.max))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn proposals_are_new_spread_over_the_costs_and_better_than_chance() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let archs: Vec<ArchSpec> = (0..150).map(|_| space.sample(&mut rng)).collect();
        // Kernels of 5 help, wherever they are; expand ratios cost and do nothing.
        let top1 = |arch: &ArchSpec| {
            let blocks = arch.stages().iter().flat_map(|stage| &stage.blocks);
            0.5 + 0.02 * blocks.filter(|block| block.kernel == 5).count() as f64
        };
        let pair = |arch: &ArchSpec| AccuracyPair {
            subnet: AccuracyPair::subnet_json(&space, arch),
            resolution: arch.resolution(),
            top1: top1(arch),
            top5: 0.9,
            loss: 1.0,
            images: 1_000,
            seed: 0,
            seconds: 1.0,
            halves: None,
        };
        let pairs: Vec<AccuracyPair> = archs.iter().map(pair).collect();
        let near = NearFront { target: None, quantity: Quantity::Macs, range: None, count: 12, seed: 1 };
        let proposed = near.propose(&space, &pairs, &archs, &AtomicBool::new(false)).unwrap();
        assert_eq!(proposed, near.propose(&space, &pairs, &archs, &AtomicBool::new(false)).unwrap());
        assert_eq!(proposed.len(), 12);
        assert!(proposed.iter().all(|arch| !archs.contains(arch)));
        let macs: Vec<u64> = proposed.iter().map(|arch| space.lower(arch).macs().0).collect();
        assert!(macs[11] > 2 * macs[0], "{macs:?}");
        for (arch, macs) in proposed.iter().zip(&macs).skip(2) {
            let rivals = archs.iter().filter(|other| space.lower(other).macs().0 <= *macs);
            assert!(rivals.map(top1).fold(0.0, f64::max) <= top1(arch) + 1e-12);
        }
    }
}
