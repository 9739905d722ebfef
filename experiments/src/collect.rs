//! `ofa predictor collect`: measured accuracy of subnets of a trained supernet, as training pairs for a predictor.
//!
//! Which subnets is a function of the seed alone, so a collection that was killed goes on where it stopped. They are
//! drawn with a tilt of their own each, from towards the smallest to towards the largest choices: a uniform draw would
//! hardly visit the two ends of the space, where budgets lead a search. After them may come rounds near the front that a
//! predictor of the pairs so far sees ([`crate::near_front`]).

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use predictors::pairs::{self, AccuracyPair, Halves};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use search::arch::{ArchSpec, BlockSpec, StageSpec};
use search::space::SearchSpace;
use supernet::error::SupernetError;
use supernet::supernet::Supernet;

use crate::error::AppError;
use crate::measure::{CalibrationImages, Exam, Measured, measure_each};
use crate::near_front::NearFront;

/// What to measure.
pub struct CollectJob<'a> {
    /// The trained supernet.
    pub supernet: &'a Supernet,
    /// How subnets are calibrated.
    pub calibration: &'a CalibrationImages,
    /// Held-out images, never the test set.
    pub exam: &'a Exam,
    /// Number of pairs spread over the space.
    pub count: usize,
    /// Rounds of measuring near the front after that, and where it is.
    pub near_front: Option<(usize, NearFront)>,
    /// Seed of the choice of subnets.
    pub seed: u64,
    /// The Parquet file; what it holds already is kept.
    pub out: PathBuf,
}

/// Measures until all pairs asked for are in the file, saving every half minute and at the end. `progress` hears of
/// every pair with its number. Returns the pairs.
///
/// # Errors
/// A file of other subnets than this seed's, or [`SupernetError::Interrupted`] after `stop` was set (all is saved).
pub fn collect(
    job: &CollectJob<'_>,
    stop: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(usize, &AccuracyPair),
) -> Result<Vec<AccuracyPair>> {
    let space = job.supernet.space();
    let done = if job.out.exists() { pairs::read(&job.out)? } else { Vec::new() };
    let known = pairs::architectures(&done, space, &job.out)?;
    let mut collection = Collection { job, stop, done, known };
    let mut wanted = tilted_subnets(space, job.count, job.seed);
    collection.measure(&wanted, progress)?;
    if let Some((rounds, near_front)) = &job.near_front {
        for round in 0..*rounds {
            // What a round proposes follows from the pairs before it, so that a killed collection goes on alike.
            let near_front =
                NearFront { seed: job.seed.wrapping_add(1_000 * (round as u64 + 1)), ..near_front.clone() };
            let before = &collection.done[..wanted.len()];
            let more = near_front.propose(space, before, &wanted)?;
            wanted.extend(more);
            collection.measure(&wanted, progress)?;
        }
    }
    pairs::write(&job.out, &collection.done)?;
    Ok(collection.done)
}

/// The pairs of a file, on the way to those that are wanted.
struct Collection<'a> {
    job: &'a CollectJob<'a>,
    stop: &'a AtomicBool,
    done: Vec<AccuracyPair>,
    /// Architectures that the file began with.
    known: Vec<ArchSpec>,
}

impl Collection<'_> {
    /// Measures what is missing of `wanted`, which begins with all that was wanted before.
    fn measure(&mut self, wanted: &[ArchSpec], progress: &mut dyn FnMut(usize, &AccuracyPair)) -> Result<()> {
        let Collection { job, stop, done, known } = self;
        let space = job.supernet.space();
        if known.iter().zip(wanted).any(|(known, wanted)| known != wanted) {
            anyhow::bail!(AppError::OtherPairs { path: job.out.clone() });
        }
        let mut saved_at = Instant::now();
        let mut failure = None;
        let left = &wanted[done.len().min(wanted.len())..];
        measure_each(job.supernet, left, job.calibration, job.exam, &mut |index, Measured { accuracy, seconds }| {
            let arch = &left[index];
            let (a, b) = accuracy.top1_of_halves();
            let pair = AccuracyPair {
                subnet: AccuracyPair::subnet_json(space, arch),
                resolution: arch.resolution(),
                top1: accuracy.top1,
                top5: accuracy.top5,
                loss: accuracy.loss,
                images: accuracy.images,
                seed: job.seed,
                seconds,
                halves: Some(Halves { a, b }),
            };
            progress(done.len() + 1, &pair);
            done.push(pair);
            if saved_at.elapsed() > Duration::from_secs(30) {
                failure = pairs::write(&job.out, done).err();
                saved_at = Instant::now();
            }
            failure.is_none() && !stop.load(Ordering::Relaxed)
        });
        if let Some(error) = failure {
            return Err(error.into());
        }
        pairs::write(&job.out, done)?;
        if done.len() < wanted.len() {
            return Err(SupernetError::Interrupted).context(format!("{} pairs saved", done.len()));
        }
        Ok(())
    }
}

/// `count` distinct subnets, or all of a smaller space: the largest and the smallest at every resolution, then random
/// ones, each tilted by its own strength drawn evenly from −4 to 4.
pub fn tilted_subnets(space: &SearchSpace, count: usize, seed: u64) -> Vec<ArchSpec> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let resolutions = space.resolutions();
    let ends = resolutions.iter().flat_map(|&resolution| [space.largest(resolution), space.smallest(resolution)]);
    let mut chosen: Vec<ArchSpec> = Vec::new();
    let mut seen = HashSet::new();
    let mut misses = 0;
    let mut ends = ends.map(|arch| arch.expect("its own resolution"));
    // A space smaller than `count` ends by misses in a row.
    while chosen.len() < count && misses < 100_000 {
        let arch = ends.next().unwrap_or_else(|| tilted_subnet(space, &mut rng));
        if seen.insert(arch.clone()) {
            chosen.push(arch);
            misses = 0;
        } else {
            misses += 1;
        }
    }
    chosen
}

fn tilted_subnet(space: &SearchSpace, rng: &mut impl Rng) -> ArchSpec {
    let tilt: f64 = rng.random_range(-4.0..4.0);
    let resolution = space.resolutions()[rng.random_range(0..space.resolutions().len())];
    let mut pick = |choices: &[u32]| {
        let last = (choices.len() - 1).max(1) as f64;
        let weights: Vec<f64> = (0..choices.len()).map(|index| (tilt * (index as f64 / last - 0.5)).exp()).collect();
        let mut left = rng.random_range(0.0..weights.iter().sum());
        let index = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        choices[index.unwrap_or(choices.len() - 1)]
    };
    let stages = space.stages().iter().map(|stage| {
        let depth = pick(&stage.depths);
        let block = |_| BlockSpec { kernel: pick(&stage.kernels), expand: pick(&stage.expands) };
        StageSpec { blocks: (0..depth).map(block).collect() }
    });
    let stages = stages.collect();
    space.arch(resolution, stages).expect("choices of the space")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_distinct_reaches_both_ends_and_depends_on_the_seed_alone() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let chosen = tilted_subnets(&space, 300, 5);
        assert_eq!(chosen, tilted_subnets(&space, 300, 5));
        assert_eq!(chosen[..100], tilted_subnets(&space, 100, 5)[..], "a longer collection goes on with a shorter one");
        assert_eq!(chosen.iter().collect::<HashSet<_>>().len(), 300);
        let macs: Vec<u64> = chosen.iter().map(|arch| space.lower(arch).macs().0).collect();
        let (low, high) = (macs.iter().min().unwrap(), macs.iter().max().unwrap());
        let third = (high - low) / 3;
        for part in 0..3 {
            let range = low + part * third..=low + (part + 1) * third;
            assert!(macs.iter().filter(|macs| range.contains(macs)).count() >= 30, "part {part}");
        }
    }

    #[test]
    fn a_small_space_gives_all_its_subnets() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap().largest_choices(1, 1, 1);
        assert_eq!(tilted_subnets(&space, 50, 1).len(), space.resolutions().len());
    }
}
