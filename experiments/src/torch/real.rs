//! The verbs that need LibTorch, as they are with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use predictors::pairs::AccuracyPair;
use search::arch::ArchSpec;
use storage::digest::Digest;
use supernet::data::DataError;
pub use supernet::data::{DataSource, SkipBroken};
pub use supernet::device::DeviceChoice;
use supernet::error::SupernetError;
pub use supernet::evaluate::Accuracy;
use supernet::ranks::{Launch, Ranks};
use supernet::train::Step;
use tch::Device;

use super::adapted::{FineTuned, Refined, SubnetRefined};
use super::exported::{ExportedFile, NestedFile, VerifiedFile};
use super::outcome::{
    CalibrationMade, Collected, Comparison, DataChecked, DryRun, Evaluation, Imported, MeasuredTarget, Progress,
    StepReport, Trained, TrainingInputs,
};
use super::request::{
    BatchNormSource, BundleUse, CalibrationSource, CollectRequest, FileRequest, FineTuneRequest, ImportRequest,
    MeasureRequest, NestedRequest, Part, RefineRequest, RefineSubnetRequest, SubnetChoice, TrainRequest, VerifyRequest,
    WeightsForm,
};
use crate::error::{Error, Result, Within};
pub(crate) use crate::export::deploy::{deploy, extract};
use crate::export::file;
use crate::export::samples::own_images;
use crate::folders::supernet_file::digest_of;
use crate::folders::{output, spaces};
use crate::init::{self, InitRequest, Initialised};
pub(crate) use crate::search::verify::verify;
use crate::shard::Shard;
pub use crate::training::energy::EnergyReport;
pub(crate) use crate::training::open_bundle::OpenBundle;
use crate::{target, training};

/// Whether there is a LibTorch.
pub const IS_THERE: bool = true;

/// Whether the next command may have LibTorch.
pub fn is_within_reach() -> bool {
    IS_THERE
}

/// The device that is meant. The images matter only without LibTorch.
///
/// # Errors
/// A device that does not exist.
pub(crate) fn place(device: DeviceChoice, _data: Option<&DataSource>) -> Result<Option<Device>> {
    Ok(Some(device.resolve()?))
}

/// Trains until done, or until the flag is set that `stop` gives once the other processes are there, if there are any: before
/// that nothing could be saved.
///
/// # Errors
/// Images or recipe that do not fit, a folder that holds another run, a stop on request (state saved).
pub fn train(
    request: &TrainRequest,
    stop: &dyn Fn() -> Arc<AtomicBool>,
    progress: &mut dyn Progress,
) -> Result<Option<Trained>> {
    let launch = if request.in_group { Launch::from_environment().map_err(SupernetError::from)? } else { None };
    let mut job = train_job(request)?;
    let ranks = launch.as_ref().map_or(Ok(Ranks::alone()), Ranks::meet).map_err(SupernetError::from)?;
    if let (Some(launch), DeviceChoice::Auto, Device::Cuda(_)) = (&launch, request.device, job.device) {
        job.device = DeviceChoice::Cuda(launch.local_rank).resolve()?;
    }
    training::train::train(&job, &ranks, stop(), progress).map_err(|error| in_recipe(error, request))
}

/// Says what a training would do and take, and does none of it but a few steps.
///
/// # Errors
/// As [`train`] before its first step; a stop on request.
pub fn dry_run(request: &TrainRequest, stop: &AtomicBool, progress: &mut dyn Progress) -> Result<DryRun> {
    let job = train_job(request)?;
    training::dry_run::dry_run(&job, stop, progress).map_err(|error| in_recipe(error, request))
}

fn train_job(request: &TrainRequest) -> Result<training::prepare::TrainJob> {
    let recipe = training::plan::load(&request.recipe, &request.overrides)?;
    let space = spaces::find_beside(&request.recipe, &recipe.space)?;
    training::plan::check_space(&recipe, &space).within(|| format!("recipe {}", request.recipe.display()))?;
    let data = match (&request.data, &recipe.data) {
        (Some(data), _) => data.clone(),
        (None, Some(words)) => words.parse()?,
        (None, None) => return Err(Error::NoData { recipe: request.recipe.clone() }),
    };
    Ok(training::prepare::TrainJob {
        recipe,
        space,
        data,
        out: request.out.clone(),
        resume: request.resume,
        device: request.device.resolve()?,
        save_every: request.save_every,
        measure_every: request.measure_every,
        energy: request.energy.clone(),
        revision: request.revision,
    })
}

/// What the images do not allow is in the recipe.
fn in_recipe(error: Error, request: &TrainRequest) -> Error {
    match error {
        Error::Data(DataError::Setting { .. }) | Error::Supernet(SupernetError::Data(DataError::Setting { .. })) => {
            error.within(format!("recipe {}", request.recipe.display()))
        }
        other => other,
    }
}

/// What training by the recipe at `recipe` depends on, its images read; `overrides` replace values of it.
///
/// # Errors
/// A recipe or images that cannot be read.
pub fn training_inputs(recipe: &Path, overrides: &[String], data: Option<&DataSource>) -> Result<TrainingInputs> {
    training::inputs::training_inputs(recipe, overrides, data)
}

/// Whether fine-tuning knows the values that `overrides` replace: `key=value`.
///
/// # Errors
/// The first that it does not know, or that cannot be.
pub fn check_finetune(overrides: &[String]) -> Result<()> {
    crate::folders::finetune_recipe::FineTuneRecipe::load(None, overrides)?;
    Ok(())
}

/// The source of images that `words` name.
///
/// # Errors
/// They name none.
pub fn data_source(words: &str) -> Result<DataSource> {
    Ok(words.parse()?)
}

/// The space of the recipe at `recipe`, which is checked; `overrides` replace values of it.
///
/// # Errors
/// A recipe or a space that cannot be read, or says what cannot be.
pub fn recipe_space(recipe: &Path, overrides: &[String]) -> Result<search::space::SearchSpace> {
    training::inputs::recipe_space(recipe, overrides)
}

/// Looks at every image of `data`; a sheet of some of them, chosen by `seed`, is written to `sheet`.
///
/// # Errors
/// A source that cannot be read, a sheet that cannot be written; broken images are in what is given back.
pub fn check_data(data: &DataSource, sheet: Option<&Path>, seed: u64) -> Result<DataChecked> {
    training::check_data::check_data(data, sheet, seed)
}

/// Looks at images, measures what a training of them takes here, and writes the files of a build.
///
/// # Errors
/// A folder that holds something, images that cannot be used, an unknown bundle or target, a target that does not price
/// the space, a file that cannot be written, a stop on request (nothing is written).
pub fn init(request: &InitRequest, stop: &AtomicBool) -> Result<Initialised> {
    init::write::init(request, request.device.resolve()?, stop)
}

/// Trains a network on until done, or until `stop` is set.
///
/// # Errors
/// A damaged folder, images or settings that do not fit, a folder that holds another run, a stop on request (state saved).
pub fn finetune(request: &FineTuneRequest, stop: Arc<AtomicBool>, progress: &mut dyn Progress) -> Result<FineTuned> {
    training::finetune::finetune(request, request.device.resolve()?, stop, progress)
}

/// Makes a network fit a budget, step by step.
///
/// # Errors
/// A damaged folder, images or settings that do not fit, an operator that the target does not cover, a folder that holds
/// another run, a stop on request (all steps are saved); [`Error::NotReached`].
pub fn refine(request: &RefineRequest, stop: Arc<AtomicBool>, progress: &mut dyn Progress) -> Result<Refined> {
    crate::refine::adapt::refine(request, request.device.resolve()?, stop, progress)
}

/// Moves a subnet to a budget within its supernet, between the points of its space's grid.
///
/// # Errors
/// A damaged bundle, a subnet or predictor of another space or of other weights, images that cannot be read, an operator
/// that the target does not cover, a folder that holds another run, a stop on request (all steps are saved);
/// [`Error::NotReached`].
pub fn refine_subnet(
    request: &RefineSubnetRequest,
    stop: Arc<AtomicBool>,
    progress: &mut dyn Progress,
) -> Result<SubnetRefined> {
    crate::refine::in_supernet::refine(request, request.device.resolve()?, stop, progress)
}

/// Measures subnets of a bundle, each calibrated first.
///
/// # Errors
/// A damaged bundle, subnets of another space, images that cannot be read.
pub fn evaluate(
    on: &BundleUse<'_>,
    subnets: SubnetChoice<'_>,
    shard: Shard,
    part: Part,
    calibration: CalibrationSource,
) -> Result<Evaluation> {
    let bundle = open(on)?;
    let all = subnets.of(bundle.space())?;
    let own: Vec<ArchSpec> = shard.places(all.len()).map(|place| all[place].clone()).collect();
    training::evaluate::evaluate(&bundle, &own, part, calibration)
}

/// Which shard this process is, as whoever launched it with others says: the one of its rank, or everything.
///
/// # Errors
/// An environment that cannot be.
pub fn own_shard() -> Result<Shard> {
    let place = Launch::place_in_environment().map_err(SupernetError::from)?;
    Ok(place.map_or(Shard::WHOLE, |(rank, count)| Shard::new(rank, count)))
}

/// Measures the network in `folder` with the statistics that it carries.
///
/// # Errors
/// A damaged folder or images that cannot be read.
pub fn evaluate_network(folder: &Path, data: &DataSource, device: DeviceChoice) -> Result<Evaluation> {
    training::evaluate::evaluate_network(folder, data, device.resolve()?)
}

/// Runs subnets of a bundle on the arrays of `inputs` and writes their logits to `out`. Gives how many subnets.
///
/// # Errors
/// A damaged bundle, a missing or misshapen array, a file that cannot be read or written.
pub fn write_logits(
    on: &BundleUse<'_>,
    subnets: SubnetChoice<'_>,
    inputs: &Path,
    batch_norm: &BatchNormSource,
    out: &Path,
) -> Result<usize> {
    let bundle = open(on)?;
    let archs = subnets.of(bundle.space())?;
    training::logits::write_logits(bundle.supernet()?, &archs, inputs, batch_norm, out)?;
    Ok(archs.len())
}

/// Takes the one subnet of the file `subnet` out of a bundle into `folder`. Gives the files written.
///
/// # Errors
/// Several subnets, a bundle without weights or calibration images, images that cannot be read, a file that cannot be
/// written.
pub fn export(on: &BundleUse<'_>, subnet: &Path, form: WeightsForm, folder: &Path) -> Result<Vec<PathBuf>> {
    let bundle = open(on)?;
    let subnets = spaces::read_subnets(subnet, bundle.space())?;
    let [arch] = subnets.as_slice() else {
        return Err(Error::NotOneSubnet { path: subnet.to_path_buf(), got: subnets.len() });
    };
    output::check(folder)?;
    deploy(&bundle, arch, form, folder)
}

/// Writes the network in `folder` as one file, checked with images of the request's data, or with noise.
///
/// # Errors
/// A damaged folder, images that do not fit it, a layer that the format does not know; [`Error::NotExported`] where a
/// runtime of others does not compute from the file what the network computes; a file that cannot be written.
pub fn export_file(folder: &Path, request: &FileRequest<'_>, device: DeviceChoice) -> Result<ExportedFile> {
    file::export_file(folder, request, None, None, device.resolve()?)
}

/// The same of the one subnet of the file `subnet`, taken out of a bundle, whose images calibrate where the request names
/// no data.
///
/// # Errors
/// As [`export`] and [`export_file`].
pub fn export_subnet_file(on: &BundleUse<'_>, subnet: &Path, request: &FileRequest<'_>) -> Result<ExportedFile> {
    let folder = tempfile::tempdir().map_err(|source| Error::Write { source })?;
    export(on, subnet, WeightsForm::Tensors, folder.path())?;
    let bundle = open(on)?;
    let own = match on.data {
        Some(_) => None,
        None => {
            let resolution = spaces::read_subnets(subnet, bundle.space())?[0].resolution();
            Some(own_images(&bundle, resolution)?)
        }
    };
    file::export_file(folder.path(), request, own, subnet.parent(), on.device.resolve()?)
}

/// Writes several subnets of a bundle as ONNX graphs over one file of weights.
///
/// # Errors
/// Not as many names as subnets, or names that are no file names; as [`export_subnet_file`].
pub fn export_nested(on: &BundleUse<'_>, request: &NestedRequest<'_>) -> Result<NestedFile> {
    let NestedRequest { subnets, names, int8, images, out } = *request;
    let bundle = open(on)?;
    let archs = spaces::read_subnets(subnets, bundle.space())?;
    let names: Vec<String> = match names {
        [] => (1..=archs.len()).map(|number| format!("slice-{number}")).collect(),
        names => names.to_vec(),
    };
    let is_name = |name: &String| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            && name != "weights"
    };
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    if names.len() != archs.len() || distinct.len() != names.len() || !names.iter().all(is_name) {
        let problem = "every subnet takes one name, of letters, digits, '-' and '_'";
        let hint = format!("there are {} subnets in {}", archs.len(), subnets.display());
        return Err(Error::ExportForm { problem, hint });
    }
    let subnets: Vec<(String, search::arch::ArchSpec)> = names.into_iter().zip(archs).collect();
    crate::export::nested::export_nested(&bundle, &subnets, int8, images, out)
}

/// Runs a file by a runtime of others on images and compares it with a network.
///
/// # Errors
/// A damaged folder, images that do not fit, no runtime that runs the file.
pub fn verify_file(request: &VerifyRequest<'_>, device: DeviceChoice) -> Result<VerifiedFile> {
    crate::export::verify::verify(request, device.resolve()?)
}

/// Makes a published checkpoint a bundle.
///
/// # Errors
/// An unknown space, a damaged checkpoint, weights of another space, names of another number of classes, constants out
/// of range, a folder that cannot be written.
pub fn import(request: &ImportRequest) -> Result<Imported> {
    let space = spaces::find(&request.space)?;
    if !request.checkpoint.exists() {
        return Err(Error::NotFound { path: request.checkpoint.clone() });
    }
    training::import::import(request, &space)
}

/// Distils calibration images and puts them into the bundle; `progress` hears of each update and its mismatch. One that is
/// stopped, by `stop` or by a kill, goes on where it was, to the same images.
///
/// # Errors
/// A damaged bundle, images that cannot be read, a file that cannot be written; [`Error::Interrupted`] (all is saved).
pub fn make_calibration(
    on: &BundleUse<'_>,
    steps: usize,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(usize, f64),
) -> Result<CalibrationMade> {
    let bundle = open(on)?;
    let plan = training::make_calibration::DistillPlan::for_bundle(&bundle)?;
    let plan = training::make_calibration::DistillPlan { steps, ..plan };
    training::make_calibration::make_for_bundle(&bundle, &plan, stop, &mut |step| {
        progress(step.step + 1, step.mismatch)
    })?;
    Ok(CalibrationMade { images: plan.images, folder: bundle.bundle().calibration()? })
}

/// Measures `count` random subnets of a bundle, calibrated on real images and on those that come with it.
///
/// # Errors
/// A damaged bundle or images that cannot be read.
pub fn compare_calibrations(on: &BundleUse<'_>, count: usize, seed: u64) -> Result<Comparison> {
    training::compare_calibrations::compare_calibrations(&open(on)?, count, seed)
}

/// Measures subnets until all pairs asked for are in the file. `progress` hears of every pair with its number.
///
/// # Errors
/// A file of other subnets than this seed's, or a stop on request (all is saved).
pub fn collect(
    request: &CollectRequest<'_>,
    stop: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(usize, &AccuracyPair),
) -> Result<Collected> {
    training::collect::collect(&open(&request.on)?, request, stop, progress)
}

/// Measures a table of the machine at hand and keeps it as the user's own target; a measurement that was killed is gone
/// on with. `progress` is told the visits so far, the works settled, and all works.
///
/// # Errors
/// A reserved or impossible name; [`Error::NotOffered`], [`Error::Interrupted`], [`Error::OtherMeasurements`]; files
/// that cannot be written.
pub fn measure_target(
    request: &MeasureRequest<'_>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(usize, usize, usize),
) -> Result<MeasuredTarget> {
    target::measure::measure_target(request, request.device.resolve()?, stop, progress)
}

impl From<&Step> for StepReport {
    fn from(step: &Step) -> Self {
        Self {
            phase: step.position.phase,
            step: step.position.step,
            phase_steps: step.phase_steps,
            global_step: step.position.global_step,
            images: step.images,
            seconds: step.seconds,
            loss: step.loss,
            left: None,
        }
    }
}

/// Digest of all weights of `bundle`.
///
/// # Errors
/// A damaged file, or weights of another space.
pub(crate) fn weights_digest(bundle: &OpenBundle) -> Result<Digest> {
    Ok(digest_of(&bundle.supernet()?.tensors()))
}

fn open(on: &BundleUse<'_>) -> Result<OpenBundle> {
    OpenBundle::find(on.bundle, on.data.cloned(), on.device.resolve()?)
}
