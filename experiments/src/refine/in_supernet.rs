//! `ofa refine --supernet --subnet`: a subnet moved to a budget between the points of its space's grid, without training.
//!
//! Every step proposes changes of widths, kernel sizes, depths and the resolution that just keep the step's budget
//! ([`search::refine::moves`]). The predictor shortlists; where there are images, each of the short list is calibrated
//! and measured on held-out ones, and counts as much beyond its prediction as other images would show again
//! ([`predictors::diagnostics::repeatable`]).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use network::weights::{Array, Weights};
use predictors::saved;
use search::refine::adapt::{AdaptSettings, Adapter, Ceiling, End, Iteration, Proposal, Winner, adapt, spend};
use search::refine::moves::{Appraiser, Change, Moved, moves, score};
use search::refine::refined::{Place, RefinedSubnet};
use search::space::SearchSpace;
use search::subnet::SubnetConfig;
use serde_json::{Value, json};
use storage::digest::Digester;
use supernet::error::SupernetError;
use supernet::evaluate::Accuracy;
use supernet::extract::StaticSubnet;
use supernet::tensors::from_tensor;
use tch::Device;

use crate::error::{Error, Result};
use crate::folders::names;
use crate::folders::network_folder::NetworkFolder;
use crate::folders::spaces;
use crate::folders::supernet_file::write_text;
use crate::refine::limits::Limits;
use crate::refine::prices::Prices;
use crate::refine::steps_folder::{StepForm, StepsFolder};
use crate::search::tables::common_resolutions;
use crate::torch::{Progress, RefineSubnetRequest, StepReport, SubnetRefined, Tested};
use crate::training::identity;
use crate::training::images::{CalibrationImages, EvalImages};
use crate::training::measure_accuracy::measure_each;
use crate::training::open_bundle::OpenBundle;
use crate::training::test_part::TestPart;

/// A subnet, and what made it of the one before.
#[derive(Clone)]
struct Step {
    subnet: RefinedSubnet,
    change: String,
}

/// Steps kept as what they choose; their weights are the supernet's.
struct InSpace<'s>(&'s SearchSpace);

impl StepForm for InSpace<'_> {
    type Network = Step;

    fn write(&self, step: &Step, folder: &Path) -> Result<()> {
        let file = json!({"change": step.change, "refined": step.subnet.to_json(self.0)});
        write_text(&folder.join(names::SUBNET), &format!("{file:#}\n"))
    }

    fn read(&self, folder: &Path) -> Result<Step> {
        let path = folder.join(names::SUBNET);
        let wrong = |reason: String| Error::FileInFolder { path: path.clone(), reason };
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let file: Value = serde_json::from_str(&text).map_err(|error| wrong(format!("is damaged: {error}")))?;
        let subnet = RefinedSubnet::from_json(self.0, &file["refined"]).map_err(|error| wrong(error.to_string()))?;
        Ok(Step { subnet, change: file["change"].as_str().unwrap_or_default().to_owned() })
    }

    fn counts(&self, step: &Step) -> (u64, u64) {
        let workload = step.subnet.resolve(self.0).lower();
        (workload.macs().0, workload.params().0)
    }
}

/// Images to judge with.
struct Exam {
    calibration: CalibrationImages,
    held_out: EvalImages,
    /// The part of the difference between measured and predicted accuracy that counts.
    repeatable: f64,
}

struct Judge<'j> {
    bundle: &'j OpenBundle,
    /// Those that predictor and target know.
    resolutions: Vec<u32>,
    prices: Prices<'j>,
    step: u32,
    shortlist: usize,
    exam: Option<Exam>,
    /// Whether steps lead up to budgets.
    upwards: bool,
    stop: Arc<AtomicBool>,
    progress: &'j mut dyn Progress,
}

impl Judge<'_> {
    fn predicted(&mut self, subnet: &RefinedSubnet) -> Result<f64> {
        score(self.bundle.space(), subnet, &mut self.prices)
    }

    /// How good each is: as predicted, and as measured where there are images.
    fn estimates(&mut self, number: usize, subnets: &[&RefinedSubnet]) -> Result<Vec<f64>> {
        let predicted = subnets.iter().map(|subnet| self.predicted(subnet)).collect::<Result<Vec<f64>>>()?;
        let Some(exam) = &self.exam else { return Ok(predicted) };
        let configs: Vec<SubnetConfig> = subnets.iter().map(|subnet| subnet.resolve(self.bundle.space())).collect();
        let mut estimates = Vec::with_capacity(subnets.len());
        let (stop, progress, mut started) = (&self.stop, &mut self.progress, Instant::now());
        measure_each(self.bundle.supernet()?, &configs, &exam.calibration, &exam.held_out, &mut |at, measured| {
            let Accuracy { top1, images, .. } = measured.accuracy;
            estimates.push(predicted[at] + exam.repeatable * (top1 - predicted[at]));
            progress.step(&StepReport {
                phase: 0,
                step: at as u64,
                phase_steps: subnets.len() as u64,
                global_step: number.saturating_sub(1) as u64,
                images: images as usize,
                seconds: started.elapsed().as_secs_f64(),
                loss: f64::NAN,
                left: None,
            });
            started = Instant::now();
            !stop.load(Ordering::Relaxed)
        })?;
        if self.stop.load(Ordering::Relaxed) {
            return Err(SupernetError::Interrupted.into());
        }
        Ok(estimates)
    }
}

impl Adapter for Judge<'_> {
    type Network = Step;
    type Error = Error;

    fn propose(&mut self, current: &Step, targets: &[f64]) -> Result<Vec<Proposal<Step>>> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(SupernetError::Interrupted.into());
        }
        let space = self.bundle.space();
        let mut found = moves(space, &self.resolutions, &current.subnet, targets, self.step, &mut self.prices)?;
        if let Some(error) = self.prices.unpriced().filter(|_| found.is_empty()) {
            return Err(error);
        }
        if self.upwards {
            // Whatever is spent has to be expected to be worth it.
            let now = self.predicted(&current.subnet)?;
            found.retain(|moved| moved.score > now);
        }
        let proposal = |(block, moved): (usize, Moved)| {
            let change = words(&moved.change, &moved.subnet, &current.subnet, space);
            Proposal { block, network: Step { subnet: moved.subnet, change }, costs: moved.costs }
        };
        Ok(found.into_iter().take(self.shortlist).enumerate().map(proposal).collect())
    }

    fn judge(&mut self, number: usize, proposals: &mut [Proposal<Step>]) -> Result<Vec<f64>> {
        let subnets: Vec<&RefinedSubnet> = proposals.iter().map(|proposal| &proposal.network.subnet).collect();
        self.estimates(number, &subnets)
    }
}

/// What a step changed, and how many widths with it.
fn words(change: &Change, to: &RefinedSubnet, from: &RefinedSubnet, space: &SearchSpace) -> String {
    let width_of = |subnet: &RefinedSubnet, place: Place| {
        let number = subnet.places().iter().position(|other| *other == place)?;
        Some(subnet.width(space, number))
    };
    let places = to.places();
    let changed = places.iter().filter(|place| {
        let before = width_of(from, **place);
        before.is_some() && before != width_of(to, **place)
    });
    let own = match change {
        Change::Width(place) => {
            let widths = (width_of(from, *place), width_of(to, *place));
            let (Some(before), Some(after)) = widths else { return change.to_string() };
            let others = changed.filter(|other| *other != place).count();
            let more = if others > 0 { format!(" and {others} other widths") } else { String::new() };
            return format!("{change} {before} to {after}{more}");
        }
        Change::Widths => return format!("{} widths", changed.count()),
        other => other.to_string(),
    };
    match changed.count() {
        0 => own,
        widths => format!("{own} and {widths} widths"),
    }
}

/// Moves the subnet of `request` to its budget, from above or from below.
///
/// # Errors
/// A damaged bundle, a subnet or predictor of another space or of other weights, images that cannot be read, an operator
/// that the target does not cover, a folder that holds another run, a stop on request (all steps are saved);
/// [`Error::NotReached`].
pub(crate) fn refine(
    request: &RefineSubnetRequest,
    device: Device,
    stop: Arc<AtomicBool>,
    progress: &mut dyn Progress,
) -> Result<SubnetRefined> {
    let bundle = OpenBundle::find(&request.supernet, request.data.clone(), device)?;
    let space = bundle.space();
    let start = spaces::read_refined(&request.subnet, space)?;
    let limits = Limits::new(request.target.as_deref(), request.extrapolate, request.budget, progress)?;
    let predictor = bundle.bundle().predictor(space)?;
    let weights = crate::torch::weights_digest(&bundle)?;
    bundle.bundle().check_predictor(&predictor, Some(weights))?;
    let mut notes = Vec::new();
    let resolutions = common_resolutions(space, &predictor, limits.target.as_ref(), &mut notes)?;
    if !resolutions.contains(&start.floor().resolution()) {
        let (got, known) = (start.floor().resolution(), resolutions.iter().map(u32::to_string).collect::<Vec<_>>());
        let reason = format!("its resolution, {got}, is none that predictor and target know: {}", known.join(", "));
        return Err(Error::FileInFolder { path: request.subnet.clone(), reason });
    }
    notes.iter().for_each(|note| progress.note(note));
    let exam = match bundle.data().filter(|_| request.judged_by_images) {
        Some(_) => Some(Exam {
            calibration: bundle.real_calibration(&resolutions)?,
            held_out: bundle.held_out_images(&resolutions)?,
            repeatable: predictor.repeatable().unwrap_or(1.0),
        }),
        None => None,
    };
    bundle.notes().iter().for_each(|note| progress.note(note));
    let mut prices = Prices::new(&predictor, &limits);
    let Some(at_first) = prices.costs(&start.resolve(space)) else {
        return Err(prices.unpriced().unwrap_or(Error::NothingToSearchFor));
    };
    let upwards = at_first.iter().zip(&limits.budgets).all(|(cost, budget)| cost <= budget);
    let of_images = match &exam {
        Some(_) => {
            let origin = identity::of_held_out(&bundle)?;
            format!("{} {}", origin.images, origin.calibration)
        }
        None => String::new(),
    };
    let identity = Digester::new("refinement")
        .digest(&weights)
        .digest(&saved::digest(&predictor))
        .text(&space.to_yaml())
        .text(&start.to_json(space).to_string())
        .text(&of_images)
        .numbers(limits.budgets.iter().chain(&at_first).copied().collect::<Vec<f64>>().into_iter())
        .text(&format!("{:?} {} {}", limits.quantities, request.step, request.shortlist))
        .numbers([request.initial_reduction, request.decay].into_iter())
        .finish();
    let folder = StepsFolder::open(&request.out, identity, request.resume, limits.quantities.clone(), InSpace(space))?;
    let mut judge = Judge {
        bundle: &bundle,
        resolutions,
        prices,
        step: request.step,
        shortlist: request.shortlist,
        exam,
        upwards,
        stop,
        progress,
    };
    let mut history = folder.history()?;
    if history.is_empty() {
        let accuracy = judge.estimates(0, &[&start])?[0];
        let network = Step { subnet: start, change: String::new() };
        let first = Iteration { block: None, network, costs: at_first.clone(), accuracy, met: true };
        folder.keep(0, &first, "")?;
        history.push(first);
    }
    judge.progress.begin(&[("steps".to_owned(), request.iterations as u64)], history.len() as u64 - 1);
    let ceilings = at_first.iter().zip(&limits.budgets);
    let settings = AdaptSettings {
        ceilings: ceilings
            .map(|(cost, budget)| Ceiling { budget: *budget, reduction: request.initial_reduction * cost })
            .collect(),
        decay: request.decay,
        iterations: request.iterations,
        winner: Winner::Accuracy,
    };
    let mut end = End::Stopped;
    // One at a time, so that each is kept before the next begins.
    while end == End::Stopped {
        let before = history.len();
        end = if upwards {
            spend(&mut judge, &mut history, &settings, &mut |_| false)?
        } else {
            adapt(&mut judge, &mut history, &settings, &mut |_| false)?
        };
        if let Some(step) = history.get(before) {
            folder.keep(before, step, &step.network.change)?;
            let words = limits.words(&step.costs);
            let top1 = 100.0 * step.accuracy;
            judge.progress.epoch(&format!("step {before}: {}, {words}, top-1 {top1:.2} %", step.network.change));
        }
    }
    folder.write_history(&history, |step| step.network.change.clone())?;
    let last = history.last().expect("the start at least");
    if end != End::BudgetsKept && !upwards {
        return Err(Error::NotReached {
            steps: history.len() - 1,
            reached: limits.words(&last.costs),
            spent: end == End::IterationsSpent,
        });
    }
    let predicted = (judge.predicted(&history[0].network.subnet)?, judge.predicted(&last.network.subnet)?);
    let config = last.network.subnet.resolve(space);
    let interpolated = limits.interpolated(&config.lower());
    let deployed = deploy(&bundle, &last.network.subnet, judge.exam.as_ref(), &request.out)?;
    let refined = SubnetRefined {
        folder: request.out.join(names::NETWORK_FOLDER),
        subnet: last.network.subnet.to_json(space),
        steps: history.len() - 1,
        upwards,
        costs: limits.quantities.iter().zip(at_first.iter().zip(&last.costs)).map(|(q, (a, b))| (*q, *a, *b)).collect(),
        interpolated,
        predicted,
        tested: deployed,
    };
    write_text(&request.out.join(names::TEST_REPORT), &format!("{:#}\n", refined.to_json()))?;
    Ok(refined)
}

/// Takes `subnet` out of the supernet into the run's folder `network`, calibrated; says how good it is where there are
/// images.
fn deploy(bundle: &OpenBundle, subnet: &RefinedSubnet, exam: Option<&Exam>, out: &Path) -> Result<Option<Tested>> {
    let space = bundle.space();
    let config = subnet.resolve(space);
    let resolutions = [config.resolution];
    let runnable = bundle.supernet()?.subnet(&config);
    let calibration = match (exam, bundle.data()) {
        (Some(exam), _) => exam.calibration.share(),
        (None, Some(_)) => bundle.real_calibration(&resolutions)?,
        (None, None) => {
            bundle.bundle().calibration()?;
            bundle.own_calibration(&resolutions)?
        }
    };
    let statistics = calibration.calibrate(&runnable)?;
    let tested = match exam {
        Some(exam) => {
            let TestPart { images, part, .. } = bundle.test_part()?;
            let test = bundle.eval_images(&images, &resolutions)?;
            Some(Tested {
                held_out: exam.held_out.evaluate(&runnable, &statistics)?,
                tested: test.evaluate(&runnable, &statistics)?,
                part,
            })
        }
        None => None,
    };
    let network = StaticSubnet::extract(&runnable, &statistics).to_device(Device::Cpu);
    let array = |(name, tensor): (String, tch::Tensor)| {
        let host = from_tensor(&tensor);
        (name, Array { shape: host.shape().to_vec(), values: host.to_f32().expect("float32 weights") })
    };
    let shape = space.network_of(&config);
    let folder = out.join(names::NETWORK_FOLDER);
    let damaged = |error: network::weights::WeightError| Error::FileInFolder {
        path: bundle.bundle().folder().to_path_buf(),
        reason: error.to_string(),
    };
    let weights = Weights::new(&shape, network.tensors().into_iter().map(array).collect()).map_err(damaged)?;
    std::fs::create_dir_all(&folder)?;
    let settings = bundle.settings()?;
    let described = settings.preprocessing.describe(
        Some(config.resolution as usize),
        &settings.class_names,
        settings.trained_on.as_ref(),
    );
    described.write(&folder.join(names::PREPROCESSING))?;
    let origin = json!({"space": space.id().to_string(), "refined": subnet.to_json(space)});
    NetworkFolder { shape, weights, mixed: Vec::new() }.write(&folder, &origin)?;
    Ok(tested)
}
