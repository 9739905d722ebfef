//! `ofa train`: one recipe from fresh weights to a supernet, resumable at any moment.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use search::arch::ArchSpec;
use search::error::SearchError;
use search::space::SearchSpace;
use serde_json::json;
use storage::atomic::write_atomically;
use supernet::data::{
    DataSource, Divided, Division, ExifOrientation, ImageSet, LoadOptions, Loaded, Preprocessing, TrainedOn,
};
use supernet::error::SupernetError;
use supernet::ranks::Ranks;
use supernet::supernet::Supernet;
use supernet::train::{Epoch, Observer, Position, Precision, Rollback, Start, Step, TrainPlan, Trainer};
use tch::Device;

use crate::error::{Error, Result, Within};
use crate::folders::bundle::Bundle;
use crate::folders::digest::{Fnv1a, fnv1a};
use crate::folders::names;
use crate::folders::recipe_file::Recipe;
use crate::folders::run_dir::{Metrics, RunDir};
use crate::folders::run_file::{self, Made, RunFacts};
use crate::folders::supernet_file::{StoredAs, load_supernet, round_to, save_supernet};
use crate::torch::{MeasuredPart, Progress, StepReport, Trained};
use crate::training::energy::course::Course;
use crate::training::energy::ledger::{Meter, TrainingEnergy};
use crate::training::energy::settings::EnergySettings;
use crate::training::epochs::{EpochEnd, EpochTable};
use crate::training::images::{CalibrationImages, EvalImages};
use crate::training::measure_accuracy::measure;
use crate::training::pace::{Pace, Stretch};
use crate::training::plan;
use crate::training::sample::tilted_subnets;
use crate::training::test_part::{TestPart, test_part};

/// What to train and where to keep it.
#[derive(Clone, Debug)]
pub(crate) struct TrainJob {
    /// The checked recipe.
    pub recipe: Recipe,
    /// Its space.
    pub space: SearchSpace,
    /// Where the images are.
    pub data: DataSource,
    /// Run folder.
    pub out: PathBuf,
    /// Go on from the newest checkpoint there.
    pub resume: bool,
    /// Where to compute.
    pub device: Device,
    /// Longest time between two checkpoints.
    pub save_every: Duration,
    /// Epochs between two measurements on held-out images; the last epoch of a phase is measured in any case.
    pub measure_every: u64,
    /// What to take for granted about energy.
    pub energy: EnergySettings,
    /// Commit of the source that the program was built from.
    pub revision: &'static str,
}

/// The subnets that are measured after epochs, as keys of the metrics name them.
const REPRESENTATIVES: [&str; 3] = ["largest", "middle", "smallest"];

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
            seconds: self.started.elapsed().as_secs_f64(),
            energy: self.energy.end_evaluation(epoch)?,
            left: self.pace.left(),
        };
        let record = self.table.record(&end);
        self.metrics.add(&record)?;
        tracing::debug!(phase = phase.name, epoch = epoch.epoch, %record, "epoch measured");
        self.progress.epoch(&self.table.row(&end));
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

/// What a run is made of, read and checked.
pub(super) struct Prepared {
    pub(super) recipe: Recipe,
    pub(super) space: SearchSpace,
    pub(super) train: Arc<ImageSet>,
    pub(super) held_out: ImageSet,
    pub(super) test: ImageSet,
    test_part: MeasuredPart,
    trained_on: TrainedOn,
    pub(super) preprocessing: Preprocessing,
    pub(super) precision: Precision,
    pub(super) plan: TrainPlan,
    /// What a checkpoint belongs to.
    identity: String,
    /// Weights that it begins with.
    start: Option<Box<Supernet>>,
}

/// Reads and checks all that a run is made of, before there is a folder that a refused one would leave behind.
///
/// # Errors
/// Images, weights or recipe that cannot be read or do not fit.
pub(super) fn prepare(job: &TrainJob, progress: &mut dyn Progress) -> Result<Prepared> {
    let TrainJob { recipe, space, .. } = job;
    let options = LoadOptions {
        // Weights that exist have their outputs; otherwise the space's follow the images.
        classes: recipe.weights.as_ref().map(|_| space.classes() as usize),
        class_names: recipe.class_names.clone(),
        image_size: recipe.image_size,
        exif_orientation: ExifOrientation::Applied,
    };
    let Images { train: train_set, held_out, test, test_part, trained_on } = images(job, &options, progress)?;
    let space = &following(space, &train_set, progress);
    let recipe = &Recipe { held_out: Some(held_out.len()), ..recipe.clone() };
    let preprocessing = plan::preprocessing(recipe, &train_set)?;
    let train_set = Arc::new(train_set);
    let precision = recipe.precision.on(job.device);
    let mut identity = format!("{}---\ndata: {:016x}\n", plan::identity(recipe, space), fingerprint(&train_set)?);
    if precision != Precision::Fp32 {
        identity.push_str("precision: bf16\n");
    }
    let start = match (&recipe.weights, &recipe.init) {
        (Some(name), _) => {
            let bundle = Bundle::find(name)?;
            let weights = load_supernet(bundle.folder(), space, job.device)?;
            identity.push_str(&format!("weights: {:016x}\n", fingerprint_of_weights(&weights)));
            Some(Box::new(weights))
        }
        (None, Some(name)) => {
            let bundle = Bundle::find(name)?;
            let theirs = load_supernet(bundle.folder(), &bundle.space()?, job.device)?;
            identity.push_str(&format!("init: {:016x}\n", fingerprint_of_weights(&theirs)));
            progress.note(&format!("begins with the weights of bundle {}, but for a new classifier", bundle.name()));
            let weights = Supernet::transferred(space, theirs.tensors(), recipe.seed, job.device);
            Some(Box::new(weights.within(|| format!("weights of bundle {} in space {}", bundle.name(), space.id()))?))
        }
        (None, None) => None,
    };
    recipe.augmentation.check(train_set.size())?;
    let plan = plan::plan(recipe, precision)?;
    plan.check_space(space)?;
    let (recipe, space, train) = (recipe.clone(), space.clone(), train_set);
    Ok(Prepared {
        recipe,
        space,
        train,
        held_out,
        test,
        test_part,
        trained_on,
        preprocessing,
        precision,
        plan,
        identity,
        start,
    })
}

/// Trains until done, or until `stop` is set.
///
/// # Errors
/// Images or recipe that do not fit, a folder that holds another run, a stop on request
/// ([`SupernetError::Interrupted`], state saved).
pub(crate) fn train(job: &TrainJob, stop: Arc<AtomicBool>, progress: &mut dyn Progress) -> Result<Trained> {
    let meter = Meter::start(job.device, &job.energy);
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
    let (recipe, space) = (&recipe, &space);
    let run = RunDir::open(&job.out).within(|| format!("run folder {}", job.out.display()))?;
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
        Ranks::alone(),
    )?;
    trainer.notes().iter().for_each(|note| progress.note(note));
    let course = Course::new(&plan, trainer.steps_per_epoch(), trainer.position());
    let energy = TrainingEnergy::keep(meter, run.path(), was_begun, course)?;
    run.write(names::RECIPE, &serde_yaml::to_string(recipe).expect("plain data"))?;
    write_run_file(&run, job, precision)?;
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
    Ok(Trained { parameters: supernet.parameter_count() as u64, energy: energy.finish(&run.bundle())? })
}

/// The images of a run, all read before its first step.
struct Images {
    train: ImageSet,
    held_out: ImageSet,
    test: ImageSet,
    test_part: MeasuredPart,
    trained_on: TrainedOn,
}

/// Reads and divides the images; where the source has no test part, a tenth of them becomes one.
fn images(job: &TrainJob, options: &LoadOptions, progress: &mut dyn Progress) -> Result<Images> {
    let TrainJob { recipe, data, .. } = job;
    let Loaded { images: all, notes } = data.train(options)?;
    notes.iter().for_each(|note| progress.note(note));
    let (splits_test, count, seed) = (!data.has_test_part()?, all.len(), recipe.seed);
    let trained_on = TrainedOn::new(&all, splits_test, seed)?;
    let Divided { train, held_out, test } = Division { held_out: recipe.held_out, seed, splits_test }.divide(all)?;
    let counts = train.histogram();
    let mut seen = train.class_names().iter().zip(&counts).filter(|(_, count)| **count > 0);
    if let (Some((class, _)), None) = (seen.next(), seen.next()) {
        return Err(Error::OneClass { data: data.to_string(), class: class.clone() });
    }
    if let Some(note) = untrained(&train) {
        progress.note(&note);
    }
    let (test, test_part) = match test {
        Some(test) => {
            let part = format!("{} of its {count} images, chosen by seed {seed}", test.len());
            progress.note(&format!("{data} has no test part: {part}, become one"));
            (test, MeasuredPart::Test)
        }
        None => {
            let (size, names) = (train.size(), train.class_names().to_vec());
            let options = LoadOptions { image_size: Some(size), class_names: Some(names), ..options.clone() };
            let TestPart { images, part, notes } = test_part(data, &options, Some(&trained_on))?;
            notes.iter().for_each(|note| progress.note(note));
            (images, part)
        }
    };
    let trained_on = TrainedOn { held_out: Some(held_out.len()), ..trained_on };
    Ok(Images { train, held_out, test, test_part, trained_on })
}

/// `space` with as many classes as there are images of.
fn following(space: &SearchSpace, images: &ImageSet, progress: &mut dyn Progress) -> SearchSpace {
    let (own, classes) = (space.classes(), images.class_names().len() as u32);
    if own != classes {
        let name = space.id();
        progress.note(&format!("space {name} has {own} classes; here it has the {classes} of the images"));
    }
    space.with_classes(classes)
}

/// Which outputs no image trains, in words.
fn untrained(train: &ImageSet) -> Option<String> {
    let counts = train.histogram();
    let empty: Vec<&str> =
        train.class_names().iter().zip(&counts).filter(|(_, count)| **count == 0).map(|(name, _)| &**name).collect();
    (!empty.is_empty()).then(|| {
        let (outputs, names) = (counts.len(), empty.join(", "));
        format!("{} of the {outputs} outputs have no training image and stay untrained: {names}", empty.len())
    })
}

/// Which program makes the run, and on what.
fn write_run_file(run: &RunDir, job: &TrainJob, precision: Precision) -> Result<()> {
    let facts = Made::now(job.revision, job.device, precision);
    run_file::write(run, &RunFacts { made: &facts, seed: job.recipe.seed, data: &job.data.to_string() })
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

/// Over the bits of all weights in order.
fn fingerprint_of_weights(supernet: &Supernet) -> u64 {
    let words = supernet.tensors().into_values().flat_map(|tensor| {
        let values = Vec::<f32>::try_from(tensor.to_device(Device::Cpu).flatten(0, -1)).expect("float32 values");
        values.into_iter().map(|value| u64::from(value.to_bits()))
    });
    fnv1a(words)
}

/// Over labels and pixels: enough to notice that a run goes on with other images.
fn fingerprint(set: &ImageSet) -> Result<u64> {
    let mut hash = Fnv1a::default();
    set.labels().iter().for_each(|label| hash.add(*label as u64));
    // Words go across images.
    let (mut word, mut filled) = ([0; 8], 0);
    set.each_image(|image| {
        for byte in image {
            word[filled] = *byte;
            filled += 1;
            if filled == word.len() {
                hash.add(u64::from_le_bytes(word));
                (word, filled) = ([0; 8], 0);
            }
        }
    })?;
    if filled > 0 {
        hash.add(u64::from_le_bytes(word));
    }
    Ok(hash.finish())
}
