//! The training loop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use search::arch::ArchSpec;
use search::space::SearchSpace;
use tch::{Device, Kind, Tensor};

use super::average::WeightAverage;
use super::early_bird::{EarlyBird, MaskQueue, mask};
use super::exchange::Exchange;
use super::guard::{self, Anchor, Guarded, Rollback, factor};
use super::loss::StepLoss;
use super::observer::{Epoch, Observer, Step};
use super::passes::Passes;
use super::phase::{Attentive, Keep, Preparation, Teacher};
use super::plan::{TrainPlan, TrainSettings};
use super::state::{EpochLoss, KEPT, Position, State};
use super::together;
use crate::data::{self, DataError, EvalBatches, ImageSet, Preprocessing, TrainBatches, TrainLoader};
use crate::error::SupernetError;
use crate::forward::extract::StaticSubnet;
use crate::forward::subnet::Mode;
use crate::optim::{GradientNotFinite, Sgd};
use crate::random::{Purpose, generator};
use crate::ranks::Ranks;
use crate::supernet::Supernet;
use crate::tensors::is_finite;
use crate::train::grow::NOISE;

/// What a run begins with, where there is no checkpoint to go on from.
pub enum Start {
    /// Fresh weights on this device.
    Fresh(Device),
    /// These, on the device where they are.
    From(Box<Supernet>),
}

/// A run in progress.
pub struct Trainer {
    plan: TrainPlan,
    plan_text: String,
    supernet: Supernet,
    sgd: Sgd,
    average: Option<WeightAverage>,
    masks: MaskQueue,
    epoch_loss: EpochLoss,
    /// How often the run rolled back.
    rollbacks: u32,
    anchor: Anchor,
    ranks: Ranks,
    exchange: Option<Exchange>,
    /// What there is to say about the checkpoint that it goes on from.
    notes: Vec<String>,
    teacher: Option<Supernet>,
    /// The teacher, calibrated, for each resolution of the space.
    teachers: Vec<StaticSubnet>,
    position: Position,
    images: Arc<ImageSet>,
    /// Of each class `[C]`, where they are not all 1.
    class_weights: Option<Tensor>,
    preprocessing: Preprocessing,
    loader: TrainLoader,
    batches: TrainBatches,
    steps_per_epoch: u64,
}

impl Trainer {
    /// A run of `plan`: from the newest checkpoint in `checkpoints` if there is one and `resume` is set, else from
    /// `start`. `plan_text` identifies the plan and the data; a checkpoint of another one is refused.
    ///
    /// # Errors
    /// A plan that cannot be run in this space, a damaged or foreign checkpoint.
    #[allow(clippy::too_many_arguments, reason = "one call site; each is a different kind of thing")]
    pub fn new(
        space: &SearchSpace,
        plan: TrainPlan,
        plan_text: String,
        images: Arc<ImageSet>,
        preprocessing: Preprocessing,
        start: Start,
        checkpoints: &Path,
        resume: bool,
        ranks: Ranks,
    ) -> Result<Self, SupernetError> {
        plan.check_space(space)?;
        let settings = plan.settings();
        let (saved, notes) = match resume {
            // One after the other: what is damaged is put aside.
            true if ranks.is_first() => {
                let found = State::load_newest(checkpoints, &plan_text)?;
                ranks.wait();
                found
            }
            true => {
                ranks.wait();
                ranks.check()?;
                State::load_newest(checkpoints, &plan_text)?
            }
            false => (None, Vec::new()),
        };
        let augmentation = settings.augmentation.clone();
        let loader =
            TrainLoader::new(images.clone(), &preprocessing, augmentation, settings.batch_size, settings.seed)?
                .sampled(settings.sampling)
                .shared(ranks.rank(), ranks.count())?;
        let class_weights = settings.class_weights.of(&images.histogram());
        let supernet = match start {
            Start::From(weights) => *weights,
            Start::Fresh(device) => {
                let fresh = Supernet::new(space, settings.seed, device);
                if settings.zero_init_residual {
                    fresh.zero_residual_branches();
                }
                fresh
            }
        };
        let supernet = frozen(supernet, settings);
        if settings.sync_batch_norm && ranks.count() > 1 {
            together::check_synchronised(&supernet)?;
        }
        let device = supernet.device();
        let mut trainer = Self {
            class_weights: class_weights.map(|weights| Tensor::from_slice(&weights).to_device(device)),
            anchor: Anchor::of(checkpoints, &plan_text, saved.is_some(), ranks.clone()),
            exchange: Exchange::new(&ranks, &supernet),
            ranks,
            sgd: Sgd::new(supernet.weights(), settings.sgd),
            average: settings.average.map(|kept| WeightAverage::new(kept, &supernet)),
            masks: MaskQueue::default(),
            epoch_loss: EpochLoss::default(),
            rollbacks: 0,
            notes,
            teacher: None,
            teachers: Vec::new(),
            position: Position::default(),
            images,
            preprocessing,
            batches: loader.batches_from(data::Position::default()),
            steps_per_epoch: loader.steps_per_epoch() as u64,
            loader,
            plan,
            plan_text,
            supernet,
        };
        if let Some(state) = saved {
            trainer.go_on_from(state)?;
        }
        together::agree(&trainer.ranks, trainer.position, &trainer.supernet)?;
        Ok(trainer)
    }

    /// What there is to say about the checkpoint that it goes on from.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where the run stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The weights that the run is about: their average, where the plan has one.
    pub fn supernet(&self) -> &Supernet {
        self.average.as_ref().map_or(&self.supernet, WeightAverage::supernet)
    }

    /// Steps in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// Steps of each phase, the most where a phase ends on a signal.
    pub fn phase_steps(&self) -> Vec<u64> {
        self.plan.phases().iter().map(|phase| phase.epochs * self.steps_per_epoch).collect()
    }

    /// Runs all that is left, saving into `checkpoints` at least every `save_every` and at the end. Where a loss, a gradient
    /// or a weight leaves the finite numbers, it rolls back and goes on at a lower learning rate ([`super::guard`]).
    ///
    /// # Errors
    /// [`SupernetError::Interrupted`] when the observer asks to stop (the state is saved); [`SupernetError::Unstable`] where
    /// rolling back did not help; a file that cannot be written.
    pub fn run(
        &mut self,
        checkpoints: &Path,
        save_every: Duration,
        observer: &mut dyn Observer,
    ) -> Result<(), SupernetError> {
        guard::run(self, checkpoints, save_every, observer)
    }

    fn begin_phase(&mut self) -> Result<(), SupernetError> {
        let phase = &self.plan.phases()[self.position.phase];
        if !phase.continues() || phase.grows() {
            self.sgd.reset();
        }
        match phase.preparation {
            Some(Preparation::Grow) => {
                self.grow();
                Ok(())
            }
            Some(Preparation::SortChannels { trained_expands }) => self.sort_channels(trained_expands),
            None => Ok(()),
        }
    }

    fn grow(&mut self) {
        let settings = self.plan.settings();
        let mut rng = generator(settings.seed, Purpose::Grow, self.position.phase as u64, 0);
        self.supernet.grow_from_smallest(NOISE, &mut rng);
        self.average = settings.average.map(|kept| WeightAverage::new(kept, &self.supernet));
    }

    fn sort_channels(&mut self, trained_expands: usize) -> Result<(), SupernetError> {
        let order = self.supernet.channel_order(trained_expands);
        self.supernet.reorder(&order);
        if let Some(average) = &self.average {
            average.supernet().reorder(&order);
        }
        // Momentum has a value for each weight, under its name: sorted like them.
        let mut tensors = self.supernet.tensors();
        let mut state = self.sgd.state();
        tensors.extend(state.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())));
        let momentum = Supernet::from_tensors(self.supernet.space(), tensors, self.supernet.device())?;
        momentum.reorder(&order);
        state.extend(momentum.tensors().into_iter().filter(|(name, _)| self.sgd.trains(name)));
        self.sgd.restore(state)
    }

    fn end_phase(&mut self) -> Result<(), SupernetError> {
        if self.position.phase == 0 && self.plan.needs_first_phase() {
            let teacher = self.supernet().duplicate();
            self.set_teacher(Some(teacher))?;
        }
        self.masks.clear();
        self.position = Position { phase: self.position.phase + 1, step: 0, ..self.position };
        Ok(())
    }

    /// At the end of an epoch, where the phase waits for the channels: how far their newest mask is from the others, once
    /// the queue is full.
    fn mask_distance(&mut self, signal: EarlyBird) -> Option<f64> {
        self.masks.push(mask(&self.supernet, signal.pruned), signal.masks)
    }

    /// Calibrates the teacher at every resolution. The images are chosen by the seed, so a resumed run finds the same
    /// statistics.
    fn set_teacher(&mut self, teacher: Option<Supernet>) -> Result<(), SupernetError> {
        self.teachers.clear();
        if let Some(teacher) = &teacher {
            let space = teacher.space();
            for &resolution in space.resolutions() {
                let subnet = teacher.subnet(&space.resolve(&space.largest(resolution).expect("its own resolution")));
                let statistics = together::calibrate(&self.ranks, &subnet, self.calibration_batches(resolution)?)?;
                self.teachers.push(StaticSubnet::extract(&subnet, &statistics));
            }
        }
        self.teacher = teacher;
        Ok(())
    }

    fn calibration_batches(&self, resolution: u32) -> Result<EvalBatches<'_>, DataError> {
        let settings = self.plan.settings();
        let ((count, size), seed) = (settings.calibration, settings.seed);
        let device = self.supernet.device();
        data::calibration_batches(&self.images, &self.preprocessing, count, size, i64::from(resolution), seed, device)
    }

    fn step(&mut self, phase_steps: u64) -> Result<Step, SupernetError> {
        let started = Instant::now();
        let position = self.position;
        let settings = self.plan.settings();
        let phase = &self.plan.phases()[position.phase];
        let per_epoch = self.steps_per_epoch;
        let (_, batch) = self.batches.next().expect("batches without end")?;
        let space = self.supernet.space();
        let subnets = self.plan.subnets(space, position.phase, position.step);
        let device = self.supernet.device();
        let batch = batch.to_device(device);
        // Resized and converted once for all subnets of the step.
        let images = data::resize(&batch.images, i64::from(subnets.resolution));
        let images = images.to_kind(settings.precision.kind());
        // Dropout draws from LibTorch's own generator; its seed is the place in the run.
        tch::manual_seed((settings.seed ^ (position.global_step << 20) ^ ((self.ranks.rank() as u64) << 56)) as i64);

        let from_first = phase.teacher() == Some(Teacher::FirstPhase);
        let log_teacher = from_first.then(|| self.log_teacher(&images, subnets.resolution));
        // All of the step's forward and backward passes; nothing that only the first rank does.
        let synchronised = if settings.sync_batch_norm { self.ranks.synchronised() } else { None };
        let mut loss = StepLoss::new(phase, &batch, settings.label_smoothing, self.class_weights.as_ref(), log_teacher);
        let logits = |arch: &ArchSpec| self.supernet.forward(&images, &space.resolve(arch), Mode::Train);
        let share = if phase.sum_losses { 1.0 } else { 1.0 / phase.subnets.count() as f64 };
        let others = share * self.plan.weight_of_others(position.phase, position.step, per_epoch);
        let passes = subnets.largest.iter().chain(&subnets.smallest).count() + subnets.random.len();
        let mut passes = Passes::new(passes, device, self.exchange.as_ref().map(|exchange| (exchange, &self.supernet)));
        if let Some(arch) = &subnets.largest {
            passes.learn(|| loss.of_largest(&logits(arch)) * share);
        }
        let loss_of = |arch: &ArchSpec| loss.of(&logits(arch));
        if let Some(arch) = &subnets.smallest {
            passes.learn(|| loss_of(arch) * others);
        }
        let attentive = phase.subnets.random.and_then(|random| random.attentive);
        for candidates in &subnets.random {
            let arch = attentive.map_or(&candidates[0], |attentive| {
                chosen(candidates, attentive, |arch| self.ranks.mean(loss_of(arch).double_value(&[])))
            });
            passes.learn(|| loss_of(arch) * others);
        }
        drop(synchronised);
        let loss_sum = passes.finish();
        let loss_sum = self.ranks.mean(loss_sum);
        self.ranks.check()?;
        if !loss_sum.is_finite() {
            let (phase, step) = (phase.name.clone(), position.step);
            return Err(SupernetError::Diverged { phase, step, loss: loss_sum });
        }
        let rate = factor(self.rollbacks) * self.plan.rate(position.phase, position.step, per_epoch);
        self.sgd.step(rate).map_err(|GradientNotFinite { norm }| {
            let (phase, step) = (phase.name.clone(), position.step);
            SupernetError::GradientDiverged { phase, step, norm }
        })?;
        if let Some(average) = &self.average {
            average.update(&self.supernet, self.sgd.joined(), position.global_step);
        }
        self.position = Position { step: position.step + 1, global_step: position.global_step + 1, ..position };
        Ok(Step {
            position,
            phase_steps,
            loss: loss_sum,
            rate,
            resolution: subnets.resolution,
            images: images.size()[0] as usize * self.ranks.count(),
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// What the teacher from the first phase says of `images`, which have this resolution.
    fn log_teacher(&self, images: &Tensor, resolution: u32) -> Tensor {
        let index = self.supernet.space().resolutions().iter().position(|one| *one == resolution);
        let teacher = &self.teachers[index.expect("a resolution of the space")];
        tch::no_grad(|| teacher.forward(images).log_softmax(1, Kind::Float))
    }

    /// A weight may leave the finite numbers without a sign in the loss of its step.
    fn check_weights(&self) -> Result<(), SupernetError> {
        let Position { phase, step, global_step } = self.position;
        let Some(weight) = self.supernet.weights().iter().find(|weight| !is_finite(&weight.tensor)) else {
            return Ok(());
        };
        // At the beginning of a phase it happened in the one before.
        let phase = phase - usize::from(step == 0 && phase > 0);
        let (name, phase) = (weight.name.clone(), self.plan.phases()[phase].name.clone());
        Err(SupernetError::WeightDiverged { name, phase, steps: global_step })
    }

    fn state(&self) -> State {
        State {
            folder: PathBuf::new(),
            position: self.position,
            epoch_loss: self.epoch_loss,
            rollbacks: self.rollbacks,
            weights: self.supernet.tensors(),
            momentum: self.sgd.state(),
            teacher: self.teacher.as_ref().map(Supernet::tensors),
            average: self.average.as_ref().map(|average| average.supernet().tensors()),
            masks: self.masks.to_tensor().map(|masks| BTreeMap::from([("masks".to_owned(), masks)])),
        }
    }
}

impl Guarded for Trainer {
    type Observer<'o> = dyn Observer + 'o;

    fn is_over(&self) -> bool {
        self.position.phase == self.plan.phases().len()
    }

    fn advance(&mut self, observer: &mut (dyn Observer + '_)) -> Result<bool, SupernetError> {
        let per_epoch = self.steps_per_epoch;
        let phase_steps = self.plan.phases()[self.position.phase].epochs * per_epoch;
        if self.position.step.is_multiple_of(per_epoch) && self.anchor.is_due(self.position) {
            self.check_weights()?;
            together::agree(&self.ranks, self.position, &self.supernet)?;
            self.anchor.put(&self.state())?;
        }
        if self.position.step == 0 {
            self.begin_phase()?;
        }
        if self.position.step >= phase_steps {
            self.end_phase()?;
            return Ok(true);
        }
        let span = tracing::trace_span!("step", global_step = self.position.global_step);
        let step = span.in_scope(|| self.step(phase_steps))?;
        self.epoch_loss.add(step.loss);
        let goes_on = observer.step(&step);
        let mut ends = self.position.step >= phase_steps;
        if self.position.step.is_multiple_of(per_epoch) {
            let signal = self.plan.phases()[self.position.phase].early_bird;
            let mask_distance = signal.and_then(|signal| self.mask_distance(signal));
            ends |= mask_distance.zip(signal).is_some_and(|(distance, signal)| distance <= signal.distance);
            let epoch = Epoch {
                position: self.position,
                phase: self.position.phase,
                epoch: self.position.step / per_epoch,
                is_last: ends,
                mean_loss: self.epoch_loss.mean(),
                mask_distance,
            };
            observer.epoch(&epoch, self.supernet())?;
            self.epoch_loss = EpochLoss::default();
        }
        if ends {
            self.end_phase()?;
        }
        Ok(goes_on)
    }

    fn save(&self, checkpoints: &Path, observer: &mut (dyn Observer + '_)) -> Result<(), SupernetError> {
        self.check_weights()?;
        if self.ranks.is_first() {
            self.state().save(checkpoints, &self.plan_text, KEPT)?;
            observer.saved(self.position);
        }
        Ok(())
    }

    fn go_on_from(&mut self, state: State) -> Result<(), SupernetError> {
        let (space, device) = (self.supernet.space().clone(), self.supernet.device());
        let supernet_of = |weights| Supernet::from_tensors(&space, weights, device);
        let (settings, folder) = (self.plan.settings(), &state.folder);
        let supernet = frozen(State::within(folder, supernet_of(state.weights))?, settings);
        let mut sgd = Sgd::new(supernet.weights(), settings.sgd);
        State::within(folder, sgd.restore(state.momentum))?;
        let teacher = State::within(folder, state.teacher.map(supernet_of).transpose())?;
        let average = match (settings.average, state.average) {
            (Some(kept), Some(tensors)) => {
                Some(State::within(folder, WeightAverage::restore(kept, &supernet, tensors))?)
            }
            (kept, _) => kept.map(|kept| WeightAverage::new(kept, &supernet)),
        };
        (self.supernet, self.sgd, self.average) = (supernet, sgd, average);
        (self.position, self.epoch_loss, self.rollbacks) = (state.position, state.epoch_loss, state.rollbacks);
        self.masks =
            state.masks.and_then(|tensors| tensors.get("masks").map(MaskQueue::from_tensor)).unwrap_or_default();
        self.batches = self.loader.batches_from(data::Position {
            epoch: self.position.global_step / self.steps_per_epoch,
            step: (self.position.global_step % self.steps_per_epoch) as usize,
        });
        self.set_teacher(teacher)
    }

    fn anchor(&mut self) -> (&mut Anchor, u32) {
        (&mut self.anchor, self.rollbacks)
    }

    fn agreed<const N: usize>(&self, wishes: [bool; N]) -> Result<[bool; N], SupernetError> {
        Ok(self.ranks.any(wishes)?)
    }

    fn tell(observer: &mut (dyn Observer + '_), rollback: &Rollback) -> Result<(), SupernetError> {
        observer.rolled_back(rollback)
    }
}

/// `supernet` with what the plan leaves as it is.
fn frozen(mut supernet: Supernet, settings: &TrainSettings) -> Supernet {
    if !settings.kernel_transforms {
        supernet.freeze_kernel_transforms();
    }
    supernet.freeze(&settings.frozen);
    supernet
}

/// The one of several candidates that takes part.
fn chosen(candidates: &[ArchSpec], attentive: Attentive, loss_of: impl Fn(&ArchSpec) -> f64) -> &ArchSpec {
    let losses = candidates.iter().map(|arch| tch::no_grad(|| loss_of(arch)));
    let losses: Vec<f64> = losses.collect();
    let order = |a: &usize, b: &usize| losses[*a].total_cmp(&losses[*b]);
    let places = 0..candidates.len();
    let place = match attentive.keep {
        Keep::Best => places.min_by(order),
        Keep::Worst => places.max_by(order),
    };
    &candidates[place.expect("at least two candidates")]
}
