//! `ofa train --dry-run`: what a run would do and take. Nothing is written but into a scratch folder, which goes at once.
//!
//! Recipe, images and weights are read and checked as the run itself does it. Then each phase does a few real steps on some
//! of the images, one subnet is measured, and all of it is multiplied: time by the steps and measurements that there are,
//! energy by what these moments drew. Phases that are out of reach of the seconds for it are taken to be as much slower or
//! faster as their steps compute more or less.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use network::op::Op;
use supernet::data::ImageSet;
use supernet::error::SupernetError;
use supernet::ranks::Ranks;
use supernet::supernet::Supernet;
use supernet::train::{Epoch, Observer, Position, Precision, Start, Step, Teacher, Trainer};
use tch::Device;

use crate::error::{Error, Result, Within};
use crate::folders::recipe_file::{Calibration, PhaseRecipe, Recipe};
use crate::folders::run_dir::RunDir;
use crate::folders::run_file::{device_word, precision_word};
use crate::torch::{DryRun, Memory, PlannedPhase, Progress};
use crate::training::energy::course::Course;
use crate::training::energy::ledger::Meter;
use crate::training::images::{CalibrationImages, EvalImages, bytes_kept};
use crate::training::measure_accuracy::measure;
use crate::training::pace::measurements;
use crate::training::plan;
use crate::training::prepare::{Prepared, TrainJob, prepare};
use crate::training::train::representatives;

/// Steps of a phase that are done. The first is not counted: it brings everything into memory.
const STEPS: usize = 4;
/// Seconds after which no further step is begun.
const MOST_SECONDS: f64 = 10.0;
/// Images that a measurement is timed with, and as many that it calibrates with.
const MEASURED: usize = 100;
/// Subnets between the ends that the final report measures, beside one at each end.
const REPORTED: f64 = 10.0;

/// What the run of `job` would do and take.
///
/// # Errors
/// As the run itself before its first step; a stop on request.
pub(crate) fn dry_run(job: &TrainJob, stop: &AtomicBool, progress: &mut dyn Progress) -> Result<DryRun> {
    let began = Instant::now();
    let prepared = prepare(job, progress)?;
    if RunDir::holds_run(&job.out) {
        return Err(Error::RunExists { path: job.out.clone() });
    }
    // Nothing is written, so nothing else would notice.
    if job.out.ancestors().find(|folder| folder.exists()).is_some_and(|nearest| !nearest.is_dir()) {
        let reason = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(reason).within(|| format!("run folder {}", job.out.display()));
    }
    let preparation = began.elapsed().as_secs_f64();
    let Prepared { recipe, space, train, held_out, test, plan, precision, .. } = &prepared;
    let meter = Meter::start(job.device, &job.energy);
    let Timed { steps, steps_per_epoch, supernet } = timed(&prepared, job.device, stop)?;
    let works: Vec<f64> = (0..recipe.phases.len()).map(|at| plan.macs_per_image(space, at)).collect();
    let speeds = step_seconds(&steps, &works);

    let (batches, size) = recipe.calibration_size();
    let calibrating = (batches * size).min(train.len());
    let macs = representatives(space)?.map(|arch| space.lower(&arch).macs().0 as f64);
    let per_mac = measuring(&prepared, &supernet, job.device)?;
    let evaluation = per_mac * macs.iter().sum::<f64>() * (held_out.len() + calibrating) as f64;
    let report = per_mac * (macs[0] + REPORTED * macs[1] + macs[2]) * (test.len() + calibrating) as f64;
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }

    let phases = recipe.phases.iter().enumerate().map(|(at, phase)| {
        let (steps, (step_seconds, is_timed)) = (phase.epochs * steps_per_epoch, speeds[at]);
        let measured = measurements(phase.epochs, job.measure_every.max(1));
        PlannedPhase {
            name: phase.name.clone(),
            epochs: phase.epochs,
            may_end_early: phase.early_bird.is_some(),
            steps,
            subnets: plan.phases()[at].subnets.count(),
            resolutions: match &phase.resolutions[..] {
                [] => space.resolutions().to_vec(),
                own => own.to_vec(),
            },
            macs_per_image: works[at],
            step_seconds,
            is_timed,
            seconds: steps as f64 * step_seconds + measured as f64 * evaluation,
        }
    });
    let phases: Vec<PlannedPhase> = phases.collect();
    let seconds = preparation + phases.iter().map(|phase| phase.seconds).sum::<f64>() + report;
    let course = Course::new(plan, steps_per_epoch, Position::default());
    Ok(DryRun {
        images: [train.len(), held_out.len(), test.len()],
        classes: train.classes(),
        batch: recipe.batch_size,
        parameters: supernet.parameter_count() as u64,
        precision: precision_word(*precision),
        device: device_word(job.device),
        preparation,
        report,
        seconds,
        memory: memory(&prepared, &supernet, job.device),
        energy: meter.stretched(seconds, &course),
        phases,
    })
}

/// Steps that were done.
struct Timed {
    /// Seconds of each, by phase.
    steps: Vec<Vec<f64>>,
    /// Those of the run itself.
    steps_per_epoch: u64,
    supernet: Supernet,
}

struct Watch<'s> {
    steps: Vec<Vec<f64>>,
    began: Instant,
    stop: &'s AtomicBool,
}

impl Observer for Watch<'_> {
    fn step(&mut self, step: &Step) -> bool {
        self.steps[step.position.phase].push(step.seconds);
        let is_known = self.steps.iter().any(|steps| steps.len() > 1);
        let is_enough = is_known && self.began.elapsed().as_secs_f64() > MOST_SECONDS;
        !is_enough && !self.stop.load(Ordering::Relaxed)
    }

    fn epoch(&mut self, _: &Epoch, _: &Supernet) -> Result<(), SupernetError> {
        Ok(())
    }

    fn saved(&mut self, _: Position) {}
}

/// Does some steps of each phase as the run would do them, with fresh weights of the same shapes.
fn timed(prepared: &Prepared, device: Device, stop: &AtomicBool) -> Result<Timed> {
    let Prepared { recipe, space, train, preprocessing, precision, .. } = prepared;
    let few: Vec<usize> = (0..train.len().min(STEPS * recipe.batch_size)).collect();
    let scratch = tempfile::tempdir().map_err(|source| Error::Write { source })?;
    let trainer = |plan, images| {
        let (start, preprocessing) = (Start::Fresh(device), preprocessing.clone());
        Trainer::new(space, plan, String::new(), images, preprocessing, start, scratch.path(), false, Ranks::alone())
    };
    let steps_per_epoch = trainer(prepared.plan.clone(), Arc::clone(train))?.steps_per_epoch();
    let mut trainer = trainer(plan::plan(&shortened(recipe), *precision)?, Arc::new(train.select(&few)))?;
    let mut watch = Watch { steps: vec![Vec::new(); recipe.phases.len()], began: Instant::now(), stop };
    match trainer.run(scratch.path(), Duration::MAX, &mut watch) {
        // Enough, or a stop, which the caller sees.
        Err(SupernetError::Interrupted) => {}
        ended => ended?,
    }
    Ok(Timed { steps: watch.steps, steps_per_epoch, supernet: trainer.supernet().duplicate() })
}

/// The recipe with one epoch for each phase that has some.
fn shortened(recipe: &Recipe) -> Recipe {
    let phase = |phase: &PhaseRecipe| PhaseRecipe {
        epochs: phase.epochs.min(1),
        warm_up_epochs: 0.0,
        ramp_epochs: 0.0,
        early_bird: None,
        ..phase.clone()
    };
    let calibration = Calibration { batches: 1, batch_size: MEASURED };
    Recipe { phases: recipe.phases.iter().map(phase).collect(), calibration, ..recipe.clone() }
}

/// Seconds of a step of each phase, and whether it was timed. Those that were not follow from what a step computes.
fn step_seconds(steps: &[Vec<f64>], works: &[f64]) -> Vec<(f64, bool)> {
    let typical = |steps: &Vec<f64>| {
        let mut steps = steps[usize::from(steps.len() > 1)..].to_vec();
        steps.sort_by(f64::total_cmp);
        steps.get(steps.len() / 2).copied()
    };
    let timed: Vec<Option<f64>> = steps.iter().map(typical).collect();
    let known = timed.iter().zip(works).filter_map(|(seconds, work)| Some(((*seconds)?, work)));
    let (seconds, work) = known.fold((0.0, 0.0), |(seconds, work), (more, its)| (seconds + more, work + its));
    let follows = |its: f64| if work > 0.0 { seconds * its / work } else { 0.0 };
    let each = timed.iter().zip(works);
    each.map(|(timed, its)| timed.map_or_else(|| (follows(*its), false), |timed| (timed, true))).collect()
}

/// Seconds of measuring a subnet, for each image that it calibrates with or is measured on and each of its MACs: by the
/// largest on few images, which come to its resolution the first time.
fn measuring(prepared: &Prepared, supernet: &Supernet, device: Device) -> Result<f64> {
    let Prepared { recipe, space, train, held_out, preprocessing, .. } = prepared;
    let [largest, ..] = representatives(space)?;
    let (count, resolutions) = (held_out.len().min(MEASURED), [largest.resolution()]);
    let some = held_out.select(&(0..count).collect::<Vec<_>>());
    let exam = EvalImages::new(&some, preprocessing, &resolutions, device)?;
    let drawn = (1, MEASURED.min(train.len()));
    let calibration = CalibrationImages::from_set(train, preprocessing, drawn, &resolutions, recipe.seed, device)?;
    let subnet = space.resolve(&largest);
    measure(supernet, &subnet, &calibration, &exam)?;
    let started = Instant::now();
    measure(supernet, &subnet, &calibration, &exam)?;
    Ok(started.elapsed().as_secs_f64() / space.lower(&largest).macs().0 as f64 / (count + drawn.1) as f64)
}

/// What the run needs: on the CPU as much as the steps did, on a GPU by what there is to keep.
fn memory(prepared: &Prepared, supernet: &Supernet, device: Device) -> Memory {
    let Prepared { recipe, space, precision, train, held_out, test, .. } = prepared;
    let resolutions = space.resolutions();
    if let (Device::Cpu, Some(bytes)) = (device, most_memory()) {
        // Normalised, at each resolution that they are wanted at.
        let (batches, size) = recipe.calibration_size();
        let calibrating = (batches * size).min(train.len());
        let of = |set: &ImageSet| if set.is_streamed() { 0 } else { bytes_kept(set.len(), resolutions) as u64 };
        let sets = [of(held_out), bytes_kept(calibrating, resolutions) as u64, of(test)];
        let bytes = bytes + sets.iter().sum::<u64>();
        let what = "the most that this process held meanwhile, and images to measure with".to_owned();
        return Memory { bytes, is_measured: true, what };
    }
    let largest = space.largest(resolutions[resolutions.len() - 1]).expect("a resolution of the space");
    let layers = space.lower(&largest).ops.iter().flat_map(Op::layers).collect::<Vec<_>>();
    let maps: u64 = layers.iter().map(|layer| layer.output.elements()).sum();
    let bytes_of_number = if *precision == Precision::Bf16 { 2 } else { 4 };
    // Weights, gradients and momentum; an average and a teacher are networks of their own.
    let is_taught = |phase: &PhaseRecipe| phase.distillation != 0.0 && phase.teacher == Teacher::FirstPhase;
    let copies = 3 + u64::from(recipe.average.is_some()) + u64::from(recipe.phases.iter().any(is_taught));
    let weights = 4 * copies * supernet.parameter_count() as u64;
    // A convolution's output and what normalisation and activation make of it.
    let bytes = weights + 2 * bytes_of_number * maps * recipe.batch_size as u64;
    let what = "counted: weights, gradients, momentum and the feature maps of the largest subnet".to_owned();
    Memory { bytes, is_measured: false, what }
}

/// The most memory that this process ever held.
#[cfg(unix)]
fn most_memory() -> Option<u64> {
    // SAFETY: an all-zero `rusage` is a valid one, and the call writes nothing else.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) == 0).then_some(usage)
    }?;
    // macOS counts bytes, all others kilobytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    u64::try_from(usage.ru_maxrss).ok().map(|most| most * unit)
}

#[cfg(not(unix))]
fn most_memory() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_timed_follows_from_what_its_steps_compute() {
        let steps = [vec![9.0, 2.0, 2.0, 3.0], vec![5.0], Vec::new()];
        assert_eq!(step_seconds(&steps, &[4.0, 10.0, 28.0]), [(2.0, true), (5.0, true), (14.0, false)]);
        assert_eq!(step_seconds(&[Vec::new()], &[4.0]), [(0.0, false)]);
    }

    #[cfg(unix)]
    #[test]
    fn memory_that_was_held_once_is_remembered() {
        let held = vec![1_u8; 64 << 20];
        assert_eq!(std::hint::black_box(&held).iter().map(|byte| u64::from(*byte)).sum::<u64>(), 64 << 20);
        drop(held);
        assert!(most_memory().unwrap() >= 64 << 20);
    }
}
