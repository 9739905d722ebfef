//! `ofa train`: one recipe from fresh weights to a supernet, resumable at any moment.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use search::arch::ArchSpec;
use search::error::SearchError;
use search::space::SearchSpace;
use serde_json::json;
use storage::atomic::write_atomically;
use supernet::data;
use supernet::error::SupernetError;
use supernet::ranks::Ranks;
use supernet::supernet::Supernet;
use supernet::train::{Epoch, Observer, Position, Precision, Rollback, Start, Step, Trainer};

use crate::error::{Error, Result};
use crate::folders::names;
use crate::folders::recipe_file::Recipe;
use crate::folders::run_dir::{Metrics, RunDir};
use crate::folders::run_file::{self, Made, RunFacts};
use crate::folders::supernet_file::{StoredAs, round_to, save_supernet};
use crate::torch::{MeasuredPart, Progress, StepReport, Trained};
use crate::training::energy::course::Course;
use crate::training::energy::ledger::{Meter, TrainingEnergy};
use crate::training::epochs::{EpochEnd, EpochSpan, EpochTable};
use crate::training::images::{CalibrationImages, EvalImages};
use crate::training::measure_accuracy::measure;
use crate::training::pace::{Pace, Stretch};
use crate::training::prepare::{Prepared, TrainJob, prepare};
use crate::training::ranks;
use crate::training::sample::tilted_subnets;

/// The subnets that are measured after epochs, as keys of the metrics name them.
pub(crate) const REPRESENTATIVES: [&str; 3] = ["largest", "middle", "smallest"];

struct Log<'p> {
    progress: &'p mut dyn Progress,
    run: RunDir,
    metrics: Metrics,
    calibration: CalibrationImages,
    exam: EvalImages,
    recipe: Recipe,
    stop: Arc<AtomicBool>,
    started: Instant,
    measure_every: u64,
    energy: TrainingEnergy,
    pace: Pace,
    table: EpochTable,
    span: EpochSpan,
}

impl Observer for Log<'_> {
    fn step(&mut self, step: &Step) -> bool {
        self.energy.step(step.position);
        self.pace.step(step);
        let report = StepReport { left: Some(self.pace.left()), ..StepReport::from(step) };
        tracing::trace!(step = report.global_step, loss = report.loss, seconds = report.seconds, "step");
        self.progress.step(&report);
        !self.stop.load(Ordering::Relaxed)
    }

    fn epoch(&mut self, epoch: &Epoch, supernet: &Supernet) -> Result<(), SupernetError> {
        self.energy.begin_evaluation();
        let phase = &self.recipe.phases[epoch.phase];
        let mut top1 = None;
        if epoch.epoch.is_multiple_of(self.measure_every) || epoch.is_last {
            let started = Instant::now();
            let subnets = representatives(supernet.space()).expect("resolutions of its own");
            let accuracies = subnets
                .iter()
                .map(|arch| measure(supernet, &supernet.space().resolve(arch), &self.calibration, &self.exam));
            let accuracies = accuracies.collect::<Result<Vec<_>, _>>()?;
            top1 = Some((accuracies.iter().map(|accuracy| accuracy.top1).collect(), accuracies[0].images));
            self.pace.measured(started.elapsed().as_secs_f64());
        }
        let end = EpochEnd {
            global_step: epoch.position.global_step,
            phase: Some(&phase.name),
            epoch: epoch.epoch,
            epochs: phase.epochs,
            loss: epoch.mean_loss,
            pace: self.pace.end_epoch(),
            top1,
            mask_distance: epoch.mask_distance,
            seconds: self.started.elapsed().as_secs_f64(),
            energy: self.energy.end_evaluation(epoch)?,
            left: self.pace.left(),
        };
        let record = self.table.record(&end);
        self.metrics.add(&record)?;
        tracing::debug!(phase = phase.name, epoch = epoch.epoch, %record, "epoch measured");
        self.progress.epoch(&self.table.row(&end));
        if let Some(distance) = epoch.mask_distance.filter(|_| epoch.is_last && epoch.epoch < phase.epochs) {
            self.progress.note(&format!(
                "the channels have settled (mask distance {distance:.3}): {} ends after epoch {} of {}",
                phase.name, epoch.epoch, phase.epochs
            ));
        }
        self.span.end(Some(&phase.name), epoch.epoch);
        Ok(())
    }

    fn saved(&mut self, position: Position) {
        if let Err(error) = self.energy.save(position) {
            tracing::warn!(%error, "the energy spent so far was not written");
        }
        tracing::debug!(global_step = position.global_step, "checkpoint written");
    }

    fn rolled_back(&mut self, rollback: &Rollback) -> Result<(), SupernetError> {
        self.metrics = self.run.metrics_up_to(rollback.to.global_step)?;
        self.pace.rolled_back();
        self.progress.note(&words_of(rollback));
        Ok(())
    }
}

/// The subnets of [`REPRESENTATIVES`]: at the largest resolution, the one in the middle, and the smallest.
pub(super) fn representatives(space: &SearchSpace) -> Result<[ArchSpec; 3], SearchError> {
    let resolutions = space.resolutions();
    let [first, middle, last] = [0, resolutions.len() / 2, resolutions.len() - 1].map(|at| resolutions[at]);
    Ok([space.largest(last)?, space.middle(middle)?, space.smallest(first)?])
}

/// What the columns of the table say.
fn about_representatives(space: &SearchSpace, images: usize) -> Result<String> {
    let subnets = representatives(space)?
        .map(|arch| format!("{} px, {:.1} M MACs", arch.resolution(), space.lower(&arch).macs().0 as f64 / 1e6));
    let subnets: Vec<String> =
        REPRESENTATIVES.iter().zip(subnets).map(|(name, what)| format!("{name} ({what})")).collect();
    Ok(format!("top-1 on {images} held-out images of the subnets {}", subnets.join(", ")))
}

/// What a reader should know about a run that rolled back.
pub(crate) fn words_of(Rollback { met, to, factor }: &Rollback) -> String {
    format!(
        "{met}: the run goes on from step {}, from now on at {factor} of the recipe's learning rate",
        to.global_step
    )
}

/// Trains until done, or until `stop` is set, among `ranks`; what comes out is known to the first of them.
///
/// # Errors
/// Images or recipe that do not fit, a folder that holds another run, a stop on request
/// ([`SupernetError::Interrupted`], state saved).
pub(crate) fn train(
    job: &TrainJob,
    ranks: &Ranks,
    stop: Arc<AtomicBool>,
    progress: &mut dyn Progress,
) -> Result<Option<Trained>> {
    data::check_shares(job.recipe.batch_size, ranks.count())?;
    if !ranks.is_first() {
        ranks::follow(job, ranks, stop)?;
        return Ok(None);
    }
    let meter = Meter::of_processes(job.device, &job.energy, ranks.count());
    let Prepared {
        recipe,
        space,
        train: train_set,
        held_out,
        test,
        test_part,
        trained_on,
        preprocessing,
        precision,
        plan,
        identity,
        start,
    } = prepare(job, progress)?;
    let identity = ranks::agreed(identity, recipe.sync_batch_norm, ranks)?;
    let (recipe, space) = (&recipe, &space);
    let run = RunDir::open(&job.out)?;
    let was_begun = run.is_begun();
    if was_begun && !job.resume {
        return Err(Error::RunExists { path: job.out.clone() });
    }
    let (calibration, seed) = (recipe.calibration_size(), recipe.seed);
    let to_train_on = Arc::clone(&train_set);
    let checkpoints = run.checkpoints();
    let mut trainer = Trainer::new(
        space,
        plan.clone(),
        identity,
        to_train_on,
        preprocessing.clone(),
        start.map_or(Start::Fresh(job.device), Start::From),
        &checkpoints,
        job.resume,
        ranks.clone(),
    )?;
    trainer.notes().iter().for_each(|note| progress.note(note));
    let course = Course::new(&plan, trainer.steps_per_epoch(), trainer.position());
    let energy = TrainingEnergy::keep(meter, run.path(), was_begun, course)?;
    run.write(names::RECIPE, &serde_yaml::to_string(recipe).expect("plain data"))?;
    write_run_file(&run, job, precision, ranks.count())?;
    run.write(names::SPACE, &space.to_yaml())?;
    let described = preprocessing.describe(None, train_set.class_names(), Some(&trained_on));
    described.write(&run.path().join(names::PREPROCESSING))?;
    let names = recipe.phases.iter().map(|phase| phase.name.clone());
    let phases: Vec<(String, u64)> = names.zip(trainer.phase_steps()).collect();
    progress.begin(&phases, trainer.position().global_step);
    let table = EpochTable::new(phases.iter().map(|(name, _)| name.as_str()), &REPRESENTATIVES);
    progress.epoch(&about_representatives(space, held_out.len())?);
    progress.epoch(&table.header());
    let stretches = recipe.phases.iter().enumerate();
    let stretches = stretches.map(|(at, phase)| Stretch { epochs: phase.epochs, work: plan.macs_per_image(space, at) });
    let (stretches, measure_every) = (stretches.collect(), job.measure_every.max(1));
    let resolutions = space.resolutions();
    let exam = EvalImages::new(&held_out, &preprocessing, resolutions, job.device)?;
    let calibration =
        CalibrationImages::from_set(&train_set, &preprocessing, calibration, resolutions, seed, job.device)?;
    let mut log = Log {
        progress,
        run: run.clone(),
        metrics: run.metrics_up_to(trainer.position().global_step)?,
        calibration,
        exam,
        recipe: recipe.clone(),
        stop,
        started: Instant::now(),
        measure_every,
        energy,
        pace: Pace::new(stretches, trainer.steps_per_epoch(), measure_every),
        table,
        span: EpochSpan::begin(),
    };
    trainer.run(&checkpoints, job.save_every, &mut log)?;
    let Log { calibration, progress, energy, stop, .. } = log;
    energy.begin_report();
    // What is reported on is what the bundle holds.
    let supernet = trainer.supernet().duplicate();
    round_to(&supernet, recipe.stored);
    write_bundle(&run, &supernet, recipe.stored, &calibration)?;
    for name in [names::RECIPE, names::PREPROCESSING] {
        let text = std::fs::read(run.path().join(name))?;
        write_atomically(&run.bundle().join(name), |file| file.write_all(&text))?;
    }
    let exam = EvalImages::new(&test, &preprocessing, space.resolutions(), job.device)?;
    final_report(&run, &supernet, &calibration, (&exam, test_part), recipe.seed, (progress, &stop))?;
    Ok(Some(Trained { parameters: supernet.parameter_count() as u64, energy: energy.finish(&run.bundle())? }))
}

/// Which program makes the run, and on what.
fn write_run_file(run: &RunDir, job: &TrainJob, precision: Precision, processes: usize) -> Result<()> {
    let facts = Made::now(job.revision, job.device, precision);
    let data = job.data.to_string();
    run_file::write(run, &RunFacts { made: &facts, seed: job.recipe.seed, data: &data, processes })
}

/// The weights, with the statistics of the largest subnet stored in them.
fn write_bundle(run: &RunDir, supernet: &Supernet, stored: StoredAs, calibration: &CalibrationImages) -> Result<()> {
    let space = supernet.space();
    let largest = space.resolve(&space.largest(space.resolutions()[space.resolutions().len() - 1])?);
    supernet.store_statistics(&largest, &calibration.calibrate(&supernet.subnet(&largest))?);
    save_supernet(&run.bundle(), supernet, stored)
}

/// Top-1 on the test set of the largest, the smallest and ten random subnets: `report.json`.
fn final_report(
    run: &RunDir,
    supernet: &Supernet,
    calibration: &CalibrationImages,
    (exam, part): (&EvalImages, MeasuredPart),
    seed: u64,
    (progress, stop): (&mut dyn Progress, &AtomicBool),
) -> Result<()> {
    let space = supernet.space();
    let resolutions = space.resolutions();
    let ends = [space.largest(resolutions[resolutions.len() - 1])?, space.smallest(resolutions[0])?];
    // The first draws are the ends at every resolution; a space may hold nothing else.
    let random = tilted_subnets(space, 2 * resolutions.len() + 10, seed).into_iter().skip(2 * resolutions.len());
    let random: Vec<_> = random.collect();
    let mut rows = Vec::new();
    for (index, arch) in ends.iter().chain(&random).enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Err(SupernetError::Interrupted.into());
        }
        let kind = ["largest", "smallest"].get(index).copied().unwrap_or("random");
        let accuracy = measure(supernet, &space.resolve(arch), calibration, exam)?;
        let macs = space.lower(arch).macs().0;
        progress.epoch(&format!(
            "{} set, {kind}: top-1 {:.2} % at {:.2} M MACs",
            part.name(),
            100.0 * accuracy.top1,
            macs as f64 / 1e6
        ));
        rows.push(json!({
            "kind": kind,
            "subnet": space.to_subnet_json(arch),
            "macs": macs,
            "part": part.name(),
            "test_top1": accuracy.top1,
            "test_images": accuracy.images,
        }));
    }
    Ok(run.write(names::TEST_REPORT, &format!("{:#}\n", serde_json::Value::Array(rows)))?)
}
