//! `ofa refine --network`: NetAdapt on a network of any shape (Yang et al., ECCV 2018, arXiv:1804.03230). Every width
//! proposes what alone pays for a step, keeping the filters with the largest norms; each proposal is trained on for a few
//! steps and judged on held-out images; at the end the network is trained on for longer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use network::shape::NetworkShape;
use network::shape_file;
use network::weights::Weights;
use network::widths::{Kept, Widths};
use search::refine::adapt::{AdaptSettings, Adapter, Ceiling, End, Iteration, Proposal, adapt};
use search::refine::propose::{narrower, scaled};
use serde_json::{Value, json};
use storage::digest::Digester;
use supernet::data::{ImageSet, Preprocessing};
use supernet::error::SupernetError;
use supernet::network::Network;
use supernet::train::{FineTuneSettings, FineTuner, Position};
use tch::Device;

use crate::error::{Error, Result};
use crate::folders::finetune_recipe::FineTuneRecipe;
use crate::folders::names;
use crate::folders::network_folder::NetworkFolder;
use crate::folders::recipe_error::RecipeError;
use crate::folders::supernet_file::digest_of;
use crate::refine::limits::Limits;
use crate::refine::steps_folder::{StepForm, StepsFolder};
use crate::torch::{Progress, RefineRequest, Refined, StepReport};
use crate::training::energy::course::Course;
use crate::training::energy::ledger::{Meter, TrainingEnergy};
use crate::training::finetune::{FINE_TUNING, Quiet};
use crate::training::identity::of_images;
use crate::training::images::EvalImages;
use crate::training::network_data::{NetworkData, origin_of, tensors_of, weights_of};
use crate::training::side_by_side::side_by_side;
use crate::training::test_part::TestPart;

/// A network with its weights.
type Adapted = Arc<(NetworkShape, Weights)>;

/// Networks kept with their weights, as folders of their own.
struct Weighted<'w> {
    /// What the folder of the first network says that it is.
    from: &'w Value,
}

impl StepForm for Weighted<'_> {
    type Network = Adapted;

    fn write(&self, network: &Adapted, folder: &Path) -> Result<()> {
        let (shape, weights) = network.as_ref().clone();
        let origin = json!({"adapted": {"from": self.from}});
        NetworkFolder { shape, weights, mixed: Vec::new() }.write(folder, &origin)?;
        Ok(())
    }

    fn read(&self, folder: &Path) -> Result<Adapted> {
        let NetworkFolder { shape, weights, .. } = NetworkFolder::read(folder)?;
        Ok(Arc::new((shape, weights)))
    }

    fn counts(&self, network: &Adapted) -> (u64, u64) {
        (network.0.macs().0, network.0.params().0)
    }
}

/// Who proposes and judges networks.
struct Judge<'j> {
    limits: &'j Limits,
    step: u32,
    uniform: bool,
    /// Whether no step was taken yet.
    is_first: bool,
    tuning: ShortTuning<'j>,
    exam: EvalImages,
    progress: &'j mut dyn Progress,
}

/// What networks are trained on for a few steps with.
struct ShortTuning<'j> {
    settings: FineTuneSettings,
    images: Arc<ImageSet>,
    preprocessing: &'j Preprocessing,
    device: Device,
    stop: Arc<AtomicBool>,
}

impl ShortTuning<'_> {
    /// `network` trained on for a few steps, and its accuracy on the images of `exam`.
    fn tuned(
        &self,
        (shape, weights): &(NetworkShape, Weights),
        seed: u64,
        exam: &EvalImages,
    ) -> Result<(Weights, f64)> {
        let settings = FineTuneSettings { seed, ..self.settings.clone() };
        let weights = match settings.steps {
            Some(0) => weights.clone(),
            _ => {
                let mut tuner = FineTuner::new(
                    shape,
                    tensors_of(weights),
                    settings,
                    String::new(),
                    Arc::clone(&self.images),
                    self.preprocessing,
                    None,
                    self.device,
                    Path::new(""),
                    false,
                )?;
                tuner.run_unsaved(&self.stop)?;
                weights_of(shape, &tuner)?
            }
        };
        let network = Network::from_weights(shape, &weights, self.device)?;
        Ok((weights, exam.evaluate_network(&network)?.top1))
    }
}

impl Adapter for Judge<'_> {
    type Network = Adapted;
    type Error = Error;

    fn propose(&mut self, network: &Adapted, targets: &[f64]) -> Result<Vec<Proposal<Adapted>>> {
        let (shape, weights) = network.as_ref();
        let widths = Widths::of(shape);
        let (mut proposals, mut unpriced) = (Vec::new(), None);
        // What a table lacks is no proposal; the next smaller one may be.
        let mut costs = |shape: &NetworkShape| self.limits.costs(shape).map_err(|error| unpriced = Some(error)).ok();
        if self.uniform
            && let Some(found) = scaled(&widths, self.step, targets, &mut costs)
        {
            let largest =
                |(width, channels): (&usize, &u32)| (*width, widths.largest(weights, *width, *channels as usize));
            let kept = found.channels.iter().map(largest).collect();
            let narrowed = widths.narrowed(weights, &kept).expect("widths that were priced");
            proposals.push(Proposal { block: widths.all().len(), network: Arc::new(narrowed), costs: found.costs });
        }
        for width in widths.free().filter(|_| !self.uniform) {
            let Some(found) = narrower(&widths, width, self.step, targets, &mut costs) else { continue };
            let kept = Kept::from([(width, widths.largest(weights, width, found.channels as usize))]);
            let narrowed = widths.narrowed(weights, &kept).expect("a width that was priced");
            proposals.push(Proposal { block: width, network: Arc::new(narrowed), costs: found.costs });
        }
        match unpriced {
            // Nothing left to give, and nothing that the target knows, are two things.
            Some(error) if proposals.is_empty() && self.is_first => Err(error),
            Some(error) if proposals.is_empty() => {
                self.progress.note(&format!("no width can get smaller: {error}"));
                Ok(proposals)
            }
            _ => Ok(proposals),
        }
    }

    fn judge(&mut self, number: usize, proposals: &mut [Proposal<Adapted>]) -> Result<Vec<f64>> {
        let all = proposals.len();
        let (tuning, progress) = (&self.tuning, &mut *self.progress);
        // Every proposal sees the same images in the same order.
        let seed = tuning.settings.seed ^ (number as u64) << 32;
        let networks: Vec<Adapted> = proposals.iter().map(|proposal| Arc::clone(&proposal.network)).collect();
        let work = |exam: &EvalImages, at: usize| tuning.tuned(&networks[at], seed, exam);
        let (mut judged, mut started) = (Vec::with_capacity(all), Instant::now());
        side_by_side(tuning.device, all, || self.exam.share(), work, &mut |at, one| {
            judged.push(one);
            progress.step(&StepReport {
                phase: 0,
                step: at as u64,
                phase_steps: all as u64,
                global_step: number as u64 - 1,
                images: tuning.settings.steps.unwrap_or(0) as usize * tuning.settings.batch_size,
                seconds: started.elapsed().as_secs_f64(),
                loss: f64::NAN,
                left: None,
            });
            started = Instant::now();
            !tuning.stop.load(Ordering::Relaxed)
        })?;
        if tuning.stop.load(Ordering::Relaxed) {
            return Err(SupernetError::Interrupted.into());
        }
        let keep = |(proposal, (weights, accuracy)): (&mut Proposal<Adapted>, (Weights, f64))| {
            proposal.network = Arc::new((proposal.network.0.clone(), weights));
            accuracy
        };
        Ok(proposals.iter_mut().zip(judged).map(keep).collect())
    }
}

/// Makes the network of `request` fit its budget.
///
/// # Errors
/// A damaged folder, images or settings that do not fit, an operator that the target does not cover, a folder that holds
/// another run, a stop on request (all steps are saved); [`Error::NotReached`].
pub(crate) fn refine(
    request: &RefineRequest,
    device: Device,
    stop: Arc<AtomicBool>,
    progress: &mut dyn Progress,
) -> Result<Refined> {
    let meter = Meter::start(device, &request.energy);
    let recipe = FineTuneRecipe::load(request.recipe.as_deref(), &request.overrides)?;
    if recipe.int8 {
        let reason = "but the steps of a refinement are trained in float32; train for int8 what they lead to";
        return Err(RecipeError::Value { field: "int8".into(), value: "true".into(), reason }.into());
    }
    let limits = Limits::new(request.target.as_deref(), request.extrapolate, request.budget, progress)?;
    let NetworkData { shape, weights, preprocessing, class_names, train, held_out, test, trained_on } =
        NetworkData::load(&request.network, &request.data, recipe.held_out, recipe.seed, progress)?;
    let train = Arc::new(train);
    recipe.settings(device).check(&shape, &train, &preprocessing)?;
    let mut widths: Vec<String> = Widths::of(&shape).all().iter().map(|width| width.name().to_owned()).collect();
    widths.push("all widths".to_owned());
    let size = shape.input().size;
    let exam = EvalImages::new(&held_out, &preprocessing, &[size], device)?;
    let mut judge = Judge {
        limits: &limits,
        step: request.step,
        uniform: request.uniform,
        is_first: true,
        tuning: ShortTuning {
            settings: FineTuneSettings { steps: Some(request.short_steps), ..recipe.settings(device) },
            images: Arc::clone(&train),
            preprocessing: &preprocessing,
            device,
            stop: Arc::clone(&stop),
        },
        exam: exam.share(),
        progress,
    };
    let at_first = limits.costs(&shape)?;
    let identity = Digester::new("adaptation")
        .text(&recipe.identity(device))
        .text(&shape_file::to_json(&shape, None).to_string())
        .digest(&digest_of(&tensors_of(&weights)))
        .digest(&of_images(&train, &preprocessing)?)
        .numbers(limits.budgets.iter().chain(&at_first).copied().collect::<Vec<f64>>().into_iter())
        .text(&format!("{:?} {:?} {} {}", limits.quantities, request.winner, request.step, request.short_steps))
        .text(if request.uniform { "uniform" } else { "" })
        .numbers([request.initial_reduction, request.decay].into_iter())
        .finish();
    let from = origin_of(&request.network);
    let form = Weighted { from: &from };
    let folder = StepsFolder::open(&request.out, identity, request.resume, limits.quantities.clone(), form)?;
    let mut history = folder.history()?;
    let course = Course::named(&[("steps", 0), (FINE_TUNING, request.epochs)], 1, Position::default());
    // A start that was killed before its first step was kept has spent something too.
    let was_begun = !history.is_empty() || request.out.join(names::ENERGY).exists();
    let energy = TrainingEnergy::keep(meter, &request.out, was_begun, course)?;
    energy.begin_phase(0)?;
    if history.is_empty() {
        let network = Network::from_weights(&shape, &weights, device)?;
        let accuracy = exam.evaluate_network(&network)?.top1;
        let start = Iteration {
            block: None,
            network: Arc::new((shape, weights)),
            costs: at_first.clone(),
            accuracy,
            met: true,
        };
        folder.keep(0, &start, "")?;
        history.push(start);
    }
    judge.progress.begin(&[("steps".to_owned(), request.iterations as u64)], history.len() as u64 - 1);
    let settings = AdaptSettings {
        ceilings: at_first
            .iter()
            .zip(&limits.budgets)
            .map(|(cost, budget)| Ceiling {
                budget: *budget,
                reduction: if request.uniform { *cost } else { request.initial_reduction * cost },
            })
            .collect(),
        decay: request.decay,
        iterations: request.iterations,
        winner: request.winner,
    };
    let change =
        |step: &Iteration<Adapted>| step.block.map_or_else(String::new, |width| format!("{} narrower", widths[width]));
    // One at a time, so that each is kept before the next begins.
    let mut end = End::Stopped;
    while end == End::Stopped {
        let before = history.len();
        judge.is_first = before == 1;
        end = adapt(&mut judge, &mut history, &settings, &mut |_| false)?;
        if let Some(step) = history.get(before) {
            folder.keep(before, step, &change(step))?;
            judge.progress.epoch(&line(before, step, &change(step), &limits));
        }
    }
    folder.write_history(&history, change)?;
    let last = history.last().expect("the start at least");
    if end != End::BudgetsKept {
        return Err(Error::NotReached {
            steps: history.len() - 1,
            reached: limits.words(&last.costs),
            spent: end == End::IterationsSpent,
        });
    }
    let (shape, weights) = last.network.as_ref();
    let mut tuner = FineTuner::new(
        shape,
        tensors_of(weights),
        FineTuneSettings { epochs: request.epochs, ..recipe.settings(device) },
        identity.to_string(),
        train,
        &preprocessing,
        None,
        device,
        &request.out.join(names::CHECKPOINTS),
        true,
    )?;
    tuner.notes().iter().for_each(|note| judge.progress.note(note));
    if request.epochs > 0 {
        energy.begin_phase(1)?;
        judge.progress.begin(&[(FINE_TUNING.to_owned(), tuner.steps())], tuner.position().global_step);
        let mut log = Quiet { progress: &mut *judge.progress, energy: (&energy, 1), stop };
        tuner.run(&request.out.join(names::CHECKPOINTS), request.save_every, &mut log)?;
    }
    energy.begin_report();
    let tuned = weights_of(shape, &tuner)?;
    let network = Network::from_weights(shape, &tuned, device)?;
    let decided = exam.evaluate_network(&network)?;
    let TestPart { images, part, .. } = test;
    let tested = EvalImages::new(&images, &preprocessing, &[size], device)?.evaluate_network(&network)?;
    let out = request.out.join(names::NETWORK_FOLDER);
    std::fs::create_dir_all(&out)?;
    preprocessing
        .describe(Some(size as usize), &class_names, Some(&trained_on))
        .write(&out.join(names::PREPROCESSING))?;
    let origin = json!({"adapted": {"steps": history.len() - 1, "epochs": request.epochs, "from": from}});
    NetworkFolder { shape: shape.clone(), weights: tuned, mixed: Vec::new() }.write(&out, &origin)?;
    let refined = Refined {
        folder: out.clone(),
        steps: history.len() - 1,
        costs: limits.quantities.iter().zip(at_first.iter().zip(&last.costs)).map(|(q, (a, b))| (*q, *a, *b)).collect(),
        interpolated: limits.interpolated(&shape.workload()),
        before: history[0].accuracy,
        held_out: decided,
        tested,
        part,
        energy: energy.finish(&out)?,
    };
    let report = format!("{:#}\n", refined.to_json());
    storage::atomic::write_atomically(&request.out.join(names::TEST_REPORT), |file| {
        std::io::Write::write_all(file, report.as_bytes())
    })
    .map_err(|source| Error::Write { source })?;
    Ok(refined)
}

fn line(number: usize, step: &Iteration<Adapted>, change: &str, limits: &Limits) -> String {
    let top1 = 100.0 * step.accuracy;
    let short = if step.met { "" } else { ", less than the step asked for" };
    format!("step {number}: {change}, {}, held-out top-1 {top1:.2} %{short}", limits.words(&step.costs))
}
