//! `ofa predictor collect`: measured accuracy of subnets of a trained supernet, as training pairs for a predictor.
//!
//! Which subnets is a function of the seed alone, so a collection that was killed goes on where it stopped. They are
//! drawn with a tilt of their own each, from towards the smallest to towards the largest choices: a uniform draw would
//! hardly visit the two ends of the space, where budgets lead a search. After them may come rounds near the front that a
//! predictor of the pairs so far sees ([`crate::predictor::near_front`]).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use predictors::pairs::{self, AccuracyPair, Halves, Origin};
use search::arch::ArchSpec;
use search::space::SearchSpace;
use supernet::supernet::Supernet;

use crate::error::{Error, Result};
use crate::predictor::near_front::NearFront;
use crate::shard::ShardError;
use crate::torch::{CollectRequest, Collected};
use crate::training::identity;
use crate::training::images::{CalibrationImages, EvalImages};
use crate::training::measure_accuracy::{Measured, measure_each};
use crate::training::open_bundle::OpenBundle;
use crate::training::sample::tilted_subnets;

/// What is measured with.
struct Instruments<'a> {
    supernet: &'a Supernet,
    calibration: CalibrationImages,
    /// Held-out images, never the test set.
    images: EvalImages,
}

/// Measures until all pairs asked for are in the file, saving every half minute and at the end. `progress` hears of
/// every pair with its number. Returns the pairs.
///
/// # Errors
/// A file of other subnets than this seed's, one measured with other weights or images, outputs that are not
/// finite, or [`Error::Interrupted`] after `stop` was set (all is saved).
pub(crate) fn collect(
    bundle: &OpenBundle,
    job: &CollectRequest<'_>,
    stop: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(usize, &AccuracyPair),
) -> Result<Collected> {
    let (space, supernet) = (bundle.space(), bundle.supernet()?);
    let resolutions = space.resolutions();
    let calibration = bundle.real_calibration(resolutions)?;
    let with = Instruments { supernet, calibration, images: bundle.held_out_images(resolutions)? };
    let origin = identity::of_held_out(bundle)?;
    if job.shard.is_part() && job.near_front.is_some() {
        return Err(ShardError::Rounds.into());
    }
    let out = job.shard.path(&job.out);
    let done = if out.exists() { begun(&out, &origin, &with)? } else { Vec::new() };
    let known = pairs::architectures(&done, space, &out)?;
    let elsewhere = elsewhere(&job.measured, space, &origin)?;
    let mut collection = Collection { job, out, with, origin, stop, done, known, elsewhere };
    let all = tilted_subnets(space, job.count, job.seed);
    let mut wanted: Vec<ArchSpec> = job.shard.places(all.len()).map(|place| all[place].clone()).collect();
    collection.measure(&wanted, progress)?;
    if let Some((rounds, near_front)) = &job.near_front {
        for round in 0..*rounds {
            // What a round proposes follows from the pairs before it, so that a killed collection goes on alike.
            let near_front =
                NearFront { seed: job.seed.wrapping_add(1_000 * (round as u64 + 1)), ..near_front.clone() };
            let before = &collection.done[..wanted.len()];
            let more = near_front.propose(space, before, &wanted, stop)?;
            if more.is_empty() {
                // All that the front has was measured, and another round would find it again.
                break;
            }
            wanted.extend(more);
            collection.measure(&wanted, progress)?;
        }
    }
    pairs::write(&collection.out, &collection.done, Some(&collection.origin))?;
    Ok(Collected { pairs: collection.done, out: collection.out, notes: bundle.notes() })
}

/// The pairs that the file holds already. A file from before origins were kept is believed if its first subnet measures
/// the same today.
///
/// # Errors
/// [`Error::OtherOrigin`]: going on with other weights or images would mix two sets of accuracies.
fn begun(out: &Path, origin: &Origin, with: &Instruments<'_>) -> Result<Vec<AccuracyPair>> {
    let (done, measured_with) = pairs::read_with_origin(out)?;
    let other = |what| Error::OtherOrigin { path: out.to_path_buf(), what };
    if let Some(before) = measured_with {
        return before.difference(origin).map_or(Ok(done), |what| Err(other(what)));
    }
    let Some(first) = done.first() else { return Ok(done) };
    let archs = pairs::architectures(&done[..1], with.supernet.space(), out)?;
    let mut is_same = false;
    let shapes = [with.supernet.space().resolve(&archs[0])];
    measure_each(with.supernet, &shapes, &with.calibration, &with.images, &mut |_, Measured { accuracy, .. }| {
        // Another number of threads moves the last digits.
        is_same = accuracy.images == first.images && (accuracy.loss - first.loss).abs() <= 1e-4 * first.loss.max(1e-3);
        true
    })?;
    if is_same { Ok(done) } else { Err(other("other weights or images")) }
}

/// What other files hold, as those of shards.
///
/// # Errors
/// A file that is missing or wrong; [`Error::OtherOrigin`].
fn elsewhere(files: &[PathBuf], space: &SearchSpace, origin: &Origin) -> Result<HashMap<ArchSpec, AccuracyPair>> {
    let mut all = HashMap::new();
    for path in files {
        if !path.exists() {
            return Err(Error::NotFound { path: path.clone() });
        }
        let (measured, with) = pairs::read_with_origin(path)?;
        let difference = with.map_or(Some("weights and images that it does not name"), |with| with.difference(origin));
        if let Some(what) = difference {
            return Err(Error::OtherOrigin { path: path.clone(), what });
        }
        all.extend(pairs::architectures(&measured, space, path)?.into_iter().zip(measured));
    }
    Ok(all)
}

/// The pairs of a file, on the way to those that are wanted.
struct Collection<'a> {
    job: &'a CollectRequest<'a>,
    out: PathBuf,
    with: Instruments<'a>,
    origin: Origin,
    stop: &'a AtomicBool,
    done: Vec<AccuracyPair>,
    /// Architectures that the file began with.
    known: Vec<ArchSpec>,
    /// What need not be measured.
    elsewhere: HashMap<ArchSpec, AccuracyPair>,
}

impl Collection<'_> {
    /// Measures what is missing of `wanted`, which begins with all that was wanted before.
    fn measure(&mut self, wanted: &[ArchSpec], progress: &mut dyn FnMut(usize, &AccuracyPair)) -> Result<()> {
        let Collection { job, out, with, origin, stop, done, known, elsewhere } = self;
        let space = with.supernet.space();
        if known.iter().zip(wanted).any(|(known, wanted)| known != wanted) {
            return Err(Error::OtherPairs { path: out.clone() });
        }
        let mut saved_at = Instant::now();
        let mut failure = None;
        take_over(done, wanted, elsewhere, progress);
        let left = wanted.iter().skip(done.len()).filter(|arch| !elsewhere.contains_key(arch));
        let left: Vec<&ArchSpec> = left.collect();
        let shapes: Vec<_> = left.iter().map(|arch| space.resolve(arch)).collect();
        let measured = measure_each(
            with.supernet,
            &shapes,
            &with.calibration,
            &with.images,
            &mut |index, Measured { accuracy, seconds }| {
                let arch = left[index];
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
                take_over(done, wanted, elsewhere, progress);
                if saved_at.elapsed() > Duration::from_secs(30) {
                    failure = pairs::write(out, done, Some(origin)).err();
                    saved_at = Instant::now();
                }
                failure.is_none() && !stop.load(Ordering::Relaxed)
            },
        );
        if let Some(error) = failure {
            return Err(error.into());
        }
        pairs::write(out, done, Some(origin))?;
        measured?;
        if done.len() < wanted.len() {
            return Err(Error::Interrupted.within(format!("{} pairs saved", done.len())));
        }
        Ok(())
    }
}

/// Goes on with pairs that were measured elsewhere, up to the first that was not.
fn take_over(
    done: &mut Vec<AccuracyPair>,
    wanted: &[ArchSpec],
    elsewhere: &HashMap<ArchSpec, AccuracyPair>,
    progress: &mut dyn FnMut(usize, &AccuracyPair),
) {
    while let Some(pair) = wanted.get(done.len()).and_then(|arch| elsewhere.get(arch)) {
        progress(done.len() + 1, pair);
        done.push(pair.clone());
    }
}
