//! `ofa finetune`: a network of any shape, with the weights that it has, trained on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use network::integer::Scale;
use network::shape::NetworkShape;
use network::shape_file;
use network::weights::Weights;
use serde_json::json;
use storage::digest::Digester;
use supernet::data::{self, ImageSet, Preprocessing};
use supernet::error::SupernetError;
use supernet::extract::StaticSubnet;
use supernet::network::Network;
use supernet::train::{FineTuneObserver, FineTuner, Position, Precision, Rollback, Step, TeacherLogits};
use tch::{Device, Tensor};

use crate::error::{Error, Result};
use crate::export::{self, samples};
use crate::folders::finetune_recipe::FineTuneRecipe;
use crate::folders::network_folder::NetworkFolder;
use crate::folders::run_dir::{Metrics, RunDir};
use crate::folders::run_file::{self, Made, RunFacts};
use crate::folders::supernet_file::digest_of;
use crate::folders::{names, output};
use crate::torch::{FineTuneRequest, FineTuned, Progress, StepReport};
use crate::training::energy::course::Course;
use crate::training::energy::ledger::{Meter, TrainingEnergy};
use crate::training::epochs::{EpochEnd, EpochSpan, EpochTable};
use crate::training::identity::of_images;
use crate::training::images::{CalibrationImages, EvalImages};
use crate::training::network_data::{NetworkData, origin_of, tensors_of, weights_of};
use crate::training::open_bundle::OpenBundle;
use crate::training::pace::{Pace, Stretch};
use crate::training::test_part::TestPart;
use crate::training::train::words_of;

/// What its only phase is called.
pub(crate) const FINE_TUNING: &str = "fine-tuning";

struct Log<'p> {
    progress: &'p mut dyn Progress,
    run: RunDir,
    metrics: Metrics,
    exam: EvalImages,
    stop: Arc<AtomicBool>,
    started: Instant,
    epochs: u64,
    measure_every: u64,
    energy: TrainingEnergy,
    pace: Pace,
    table: EpochTable,
    span: EpochSpan,
}

/// Shows steps and counts them as this phase's, and nothing else.
pub(crate) struct Quiet<'p> {
    pub(crate) progress: &'p mut dyn Progress,
    pub(crate) energy: (&'p TrainingEnergy, usize),
    pub(crate) stop: Arc<AtomicBool>,
}

impl FineTuneObserver for Quiet<'_> {
    fn step(&mut self, step: &Step) -> bool {
        let (energy, phase) = self.energy;
        energy.step(Position { phase, ..step.position });
        self.progress.step(&step.into());
        !self.stop.load(Ordering::Relaxed)
    }

    fn epoch(&mut self, _: u64, _: Position, _: f64, _: &Network) -> Result<(), SupernetError> {
        Ok(())
    }

    fn rolled_back(&mut self, rollback: &Rollback) -> Result<(), SupernetError> {
        self.progress.note(&words_of(rollback));
        Ok(())
    }
}

impl FineTuneObserver for Log<'_> {
    fn step(&mut self, step: &Step) -> bool {
        self.energy.step(step.position);
        self.pace.step(step);
        let report = StepReport { left: Some(self.pace.left()), ..StepReport::from(step) };
        tracing::trace!(step = report.global_step, loss = report.loss, seconds = report.seconds, "step");
        self.progress.step(&report);
        !self.stop.load(Ordering::Relaxed)
    }

    fn epoch(&mut self, epoch: u64, position: Position, loss: f64, network: &Network) -> Result<(), SupernetError> {
        self.energy.begin_evaluation();
        let mut top1 = None;
        if epoch.is_multiple_of(self.measure_every) || epoch == self.epochs {
            let started = Instant::now();
            let measured = self.exam.evaluate_network(network)?;
            top1 = Some((vec![measured.top1], measured.images));
            self.pace.measured(started.elapsed().as_secs_f64());
        }
        let end = EpochEnd {
            global_step: position.global_step,
            phase: None,
            epoch,
            epochs: self.epochs,
            loss,
            pace: self.pace.end_epoch(),
            top1,
            mask_distance: None,
            seconds: self.started.elapsed().as_secs_f64(),
            energy: self.energy.begin_phase(0)?,
            left: self.pace.left(),
        };
        let record = self.table.record(&end);
        self.metrics.add(&record)?;
        tracing::debug!(epoch, %record, "epoch measured");
        self.progress.epoch(&self.table.row(&end));
        self.span.end(None, epoch);
        Ok(())
    }

    fn rolled_back(&mut self, rollback: &Rollback) -> Result<(), SupernetError> {
        self.metrics = self.run.metrics_up_to(rollback.to.global_step)?;
        self.pace.rolled_back();
        self.progress.note(&words_of(rollback));
        Ok(())
    }
}

/// Trains the network of `request` on until done, or until `stop` is set.
///
/// # Errors
/// A damaged folder, images or settings that do not fit, a folder that holds another run, a stop on request (state saved).
pub(crate) fn finetune(
    request: &FineTuneRequest,
    device: Device,
    stop: Arc<AtomicBool>,
    progress: &mut dyn Progress,
) -> Result<FineTuned> {
    let meter = Meter::start(device, &request.energy);
    let recipe = FineTuneRecipe::load(request.recipe.as_deref(), &request.overrides)?;
    let NetworkData { shape, weights, preprocessing, class_names, train, held_out, test, trained_on } =
        NetworkData::load(&request.network, &request.data, recipe.held_out, recipe.seed, progress)?;
    let outputs = shape.output().channels as usize;

    let tensors = tensors_of(&weights);
    let teacher = request.teacher.as_deref().map(|name| Teaching::load(name, &train, outputs, device));
    let teacher = teacher.transpose()?;
    let identity = Digester::new("finetune")
        .text(&recipe.identity(device))
        .text(&shape_file::to_json(&shape, None).to_string())
        .digest(&digest_of(&tensors))
        .digest(&of_images(&train, &preprocessing)?)
        .text(&teacher.as_ref().map_or(String::new(), |teacher| teacher.digest.clone()))
        .finish();

    // Before there is a folder that a refused run would leave behind.
    let (mut settings, train) = (recipe.settings(device), Arc::new(train));
    if recipe.int8 {
        settings.rounding = Some(rounding(&shape, &weights, &train, &preprocessing)?);
        progress.note("accuracies are those with weights and feature maps rounded to int8");
    }
    let rounding = settings.rounding.clone();
    let as_used = |network: Network| match &rounding {
        Some(scales) => network.rounded(scales),
        None => network,
    };
    settings.check(&shape, &train, &preprocessing)?;
    output::check_run(&request.out)?;
    let run = RunDir::open(&request.out)?;
    let was_begun = run.is_begun();
    if was_begun && !request.resume {
        return Err(Error::RunExists { path: request.out.clone() });
    }
    let logits = teacher.map(|teacher| teacher.into_logits(recipe.precision(device)));
    let checkpoints = run.checkpoints();
    let mut tuner = FineTuner::new(
        &shape,
        tensors,
        settings,
        identity.to_string(),
        train,
        &preprocessing,
        logits,
        device,
        &checkpoints,
        request.resume,
    )?;
    tuner.notes().iter().for_each(|note| progress.note(note));
    let course = Course::named(&[(FINE_TUNING, recipe.epochs)], tuner.steps_per_epoch(), tuner.position());
    let energy = TrainingEnergy::keep(meter, run.path(), was_begun, course)?;
    run.write(names::RECIPE, &serde_yaml::to_string(&recipe).expect("plain data"))?;
    let made = Made::now(request.revision, device, recipe.precision(device));
    let data = request.data.to_string();
    run_file::write(&run, &RunFacts { made: &made, seed: recipe.seed, data: &data, processes: 1 })?;
    let size = shape.input().size;
    let exam = EvalImages::new(&held_out, &preprocessing, &[size], device)?;
    let untouched = as_used(Network::from_weights(&shape, &weights, device)?);
    let at_first = exam.evaluate_network(&untouched)?;
    progress.begin(&[(FINE_TUNING.to_owned(), tuner.steps())], tuner.position().global_step);
    if tuner.position().global_step == 0 {
        let (top1, images) = (100.0 * at_first.top1, held_out.len());
        progress.epoch(&format!("before the first epoch: top-1 {top1:.2} % on {images} held-out images"));
    }
    let table = EpochTable::without_phases(&["held_out"]);
    progress.epoch(&table.header());
    let (stretch, measure_every) = (Stretch { epochs: recipe.epochs, work: 1.0 }, request.measure_every.max(1));
    let mut log = Log {
        progress,
        run: run.clone(),
        metrics: run.metrics_up_to(tuner.position().global_step)?,
        exam: exam.share(),
        stop,
        started: Instant::now(),
        epochs: recipe.epochs,
        measure_every,
        energy,
        pace: Pace::new(vec![stretch], tuner.steps_per_epoch(), measure_every),
        table,
        span: EpochSpan::begin(),
    };
    tuner.run(&checkpoints, request.save_every, &mut log)?;
    let Log { energy, .. } = log;
    energy.begin_report();

    let tuned = weights_of(&shape, &tuner)?;
    // What is reported on is what was written.
    let network = as_used(Network::from_weights(&shape, &tuned, device)?);
    let decided = exam.evaluate_network(&network)?;
    let TestPart { images, part, .. } = test;
    let tested = EvalImages::new(&images, &preprocessing, &[size], device)?.evaluate_network(&network)?;
    let folder = request.out.join(names::NETWORK_FOLDER);
    std::fs::create_dir_all(&folder)?;
    let files = preprocessing.describe(Some(size as usize), &class_names, Some(&trained_on));
    files.write(&folder.join(names::PREPROCESSING))?;
    let origin =
        json!({"fine_tuned": {"from": origin_of(&request.network), "epochs": recipe.epochs, "int8": recipe.int8}});
    NetworkFolder { shape, weights: tuned, mixed: Vec::new() }.write(&folder, &origin)?;
    let report = json!({
        "held_out_top1_before": at_first.top1,
        "held_out_top1": decided.top1,
        "held_out_images": decided.images,
        "part": part.name(),
        "top1": tested.top1,
        "images": tested.images,
    });
    run.write(names::TEST_REPORT, &format!("{report:#}\n"))?;
    let energy = energy.finish(&folder)?;
    Ok(FineTuned { folder, before: at_first, held_out: decided, tested, part, energy })
}

/// What its layers are rounded to in int8, by what they hold on some of the training images.
fn rounding(
    shape: &NetworkShape,
    weights: &Weights,
    train: &ImageSet,
    preprocessing: &Preprocessing,
) -> Result<Vec<Option<Scale>>> {
    let images = samples::calibration_images(train, preprocessing, shape)?;
    export::int8::rounding(shape, weights, &images)
        .map_err(|error| Error::FileInFolder { path: names::NETWORK.into(), reason: error.to_string() })
}

/// The largest network of a bundle, which knows better.
struct Teaching {
    network: StaticSubnet,
    resolution: i64,
    digest: String,
}

impl Teaching {
    /// That of the bundle `name`, calibrated with training images.
    fn load(name: &str, images: &ImageSet, outputs: usize, device: Device) -> Result<Self> {
        let bundle = OpenBundle::find(name, None, device)?;
        let space = bundle.space();
        if space.classes() as usize != outputs {
            let reason = format!("its networks have {} outputs, and this one has {outputs}", space.classes());
            return Err(Error::FileInFolder { path: bundle.bundle().folder().to_path_buf(), reason });
        }
        let resolution = space.resolutions()[space.resolutions().len() - 1];
        let calibration = CalibrationImages::of_training(images, bundle.settings()?, &[resolution], device)?;
        let supernet = bundle.supernet()?;
        let subnet = supernet.subnet(&space.resolve(&space.largest(resolution)?));
        let network = StaticSubnet::extract(&subnet, &calibration.calibrate(&subnet)?);
        let digest = digest_of(&supernet.tensors()).to_string();
        Ok(Self { network, resolution: i64::from(resolution), digest })
    }

    fn into_logits<'t>(self, precision: Precision) -> TeacherLogits<'t> {
        let fed = move |images: &Tensor| data::resize(images, self.resolution).to_kind(precision.kind());
        Box::new(move |images| self.network.forward(&fed(images)))
    }
}
