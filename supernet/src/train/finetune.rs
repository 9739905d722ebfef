//! A network of any shape trained on: the same loader, optimiser, schedule and exactness as a supernet's training, for
//! weights that are there already.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use network::integer::Scale;
use network::shape::NetworkShape;
use tch::{Device, Kind, Tensor};

use super::guard::{self, Anchor, Guarded, Rollback, factor};
use super::label_loss::label_loss;
use super::loss::distillation_loss;
use super::observer::Step;
use super::phase::Divergence;
use super::plan::{Precision, cosine_rate};
use super::state::{EpochLoss, KEPT, Position, State};
use crate::data::{
    self, Augmentation, ClassWeights, ImageSampling, ImageSet, Preprocessing, TrainBatches, TrainLoader,
};
use crate::error::SupernetError;
use crate::network::Network;
use crate::optim::{GradientNotFinite, Sgd, SgdSettings};
use crate::ranks::Ranks;
use crate::tensors::is_finite;

/// What stands in for a phase's name in messages.
const PHASE: &str = "fine-tuning";

/// How to train on.
#[derive(Clone, Debug, PartialEq)]
pub struct FineTuneSettings {
    /// Passes over the images.
    pub epochs: u64,
    /// Steps in all, in place of the passes, where they are to be fewer or more.
    pub steps: Option<u64>,
    /// Images of a step.
    pub batch_size: usize,
    /// Number format of feature maps.
    pub precision: Precision,
    /// Learning rate at its highest; half a cosine takes it to zero.
    pub learning_rate: f64,
    /// Epochs in which it rises to that.
    pub warm_up_epochs: f64,
    /// Of the optimiser.
    pub sgd: SgdSettings,
    /// ε of label smoothing.
    pub label_smoothing: f64,
    /// How much an image counts in the loss against labels.
    pub class_weights: ClassWeights,
    /// Which images an epoch goes through.
    pub sampling: ImageSampling,
    /// What is done to images.
    pub augmentation: Augmentation,
    /// What an average of the weights keeps of itself at each step; none for no average.
    pub average: Option<f64>,
    /// To train for int8: what each layer of the network makes is rounded to, where anything is; weights are rounded as well
    /// ([`Network::rounded`]).
    pub rounding: Option<Vec<Option<Scale>>>,
    /// Layers whose weights and statistics stay: those of these names, and those whose names begin so before a dot.
    pub frozen: Vec<String>,
    /// Weight of the loss against the labels, and of that against a teacher, where there is one.
    pub losses: (f64, f64),
    /// Everything random follows from it.
    pub seed: u64,
}

impl FineTuneSettings {
    /// Whether a network of `shape` can be trained so on `images`.
    ///
    /// # Errors
    /// Layers to freeze that are not there, a batch or an augmentation that the images do not allow.
    pub fn check(
        &self,
        shape: &NetworkShape,
        images: &Arc<ImageSet>,
        preprocessing: &Preprocessing,
    ) -> Result<(), SupernetError> {
        Network::check_frozen(shape, &self.frozen)?;
        self.loader(Arc::clone(images), preprocessing)?;
        Ok(())
    }

    fn trained(
        &self,
        shape: &NetworkShape,
        tensors: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Network, SupernetError> {
        let network = Network::to_train(shape, tensors, device, &self.frozen)?;
        Ok(match &self.rounding {
            Some(scales) => network.rounded(scales),
            None => network,
        })
    }

    fn loader(&self, images: Arc<ImageSet>, preprocessing: &Preprocessing) -> Result<TrainLoader, SupernetError> {
        let augmentation = self.augmentation.clone();
        let loader = TrainLoader::new(images, preprocessing, augmentation, self.batch_size, self.seed)?;
        Ok(loader.sampled(self.sampling))
    }
}

/// Hears of progress; `false` from [`FineTuneObserver::step`] saves and stops.
pub trait FineTuneObserver {
    /// After every step.
    fn step(&mut self, step: &Step) -> bool;
    /// After every epoch, counted from 1: its mean loss, and the network as it is then.
    ///
    /// # Errors
    /// Whatever keeps it from being measured.
    fn epoch(&mut self, epoch: u64, position: Position, mean_loss: f64, network: &Network)
    -> Result<(), SupernetError>;
    /// After numbers had left the finite ones: the run goes on from an earlier step.
    ///
    /// # Errors
    /// Whatever keeps what was noted since from being taken back.
    fn rolled_back(&mut self, _rollback: &Rollback) -> Result<(), SupernetError> {
        Ok(())
    }
}

/// Logits of a network that teaches.
pub type TeacherLogits<'t> = Box<dyn Fn(&Tensor) -> Tensor + 't>;

/// A network being trained on.
pub struct FineTuner<'t> {
    settings: FineTuneSettings,
    identity: String,
    network: Network,
    average: Option<Network>,
    sgd: Sgd,
    teacher: Option<TeacherLogits<'t>>,
    /// Of each class `[C]`, where they are not all 1.
    class_weights: Option<Tensor>,
    position: Position,
    epoch_loss: EpochLoss,
    /// How often the run rolled back.
    rollbacks: u32,
    anchor: Anchor,
    /// What there is to say about the checkpoint that it goes on from.
    notes: Vec<String>,
    shape: NetworkShape,
    loader: TrainLoader,
    batches: TrainBatches,
    steps_per_epoch: u64,
    device: Device,
}

impl<'t> FineTuner<'t> {
    /// Begins with `tensors`, or goes on from the newest checkpoint in `checkpoints` where `resume` is set and there is
    /// one; `identity` says of which settings and images a checkpoint is.
    ///
    /// # Errors
    /// Tensors of another network, settings that the images do not allow, a damaged or foreign checkpoint.
    #[allow(clippy::too_many_arguments, reason = "one call site; each is a different kind of thing")]
    pub fn new(
        shape: &NetworkShape,
        tensors: BTreeMap<String, Tensor>,
        settings: FineTuneSettings,
        identity: String,
        images: Arc<ImageSet>,
        preprocessing: &Preprocessing,
        teacher: Option<TeacherLogits<'t>>,
        device: Device,
        checkpoints: &Path,
        resume: bool,
    ) -> Result<Self, SupernetError> {
        let (saved, notes) = if resume { State::load_newest(checkpoints, &identity)? } else { (None, Vec::new()) };
        let class_weights = settings.class_weights.of(&images.histogram());
        let class_weights = class_weights.map(|weights| Tensor::from_slice(&weights).to_device(device));
        let loader = settings.loader(images, preprocessing)?;
        let average = settings.average.map(|_| settings.trained(shape, copies(&tensors), device)).transpose()?;
        let network = settings.trained(shape, tensors, device)?;
        let mut tuner = Self {
            sgd: Sgd::new(network.weights(), settings.sgd),
            anchor: Anchor::of(checkpoints, &identity, saved.is_some(), Ranks::alone()),
            settings,
            identity,
            network,
            average,
            teacher,
            class_weights,
            position: Position::default(),
            epoch_loss: EpochLoss::default(),
            rollbacks: 0,
            notes,
            shape: shape.clone(),
            batches: loader.batches_from(data::Position::default()),
            steps_per_epoch: loader.steps_per_epoch() as u64,
            loader,
            device,
        };
        if let Some(state) = saved {
            tuner.go_on_from(state)?;
        }
        Ok(tuner)
    }

    /// What there is to say about the checkpoint that it goes on from.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The network that it is about: the average, where there is one.
    pub fn network(&self) -> &Network {
        self.average.as_ref().unwrap_or(&self.network)
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Steps in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// Steps in all.
    pub fn steps(&self) -> u64 {
        self.settings.steps.unwrap_or(self.settings.epochs * self.steps_per_epoch)
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
        observer: &mut dyn FineTuneObserver,
    ) -> Result<(), SupernetError> {
        guard::run(self, checkpoints, save_every, observer)
    }

    /// Runs all that is left without saving anything: for few steps, which are soon done again.
    ///
    /// # Errors
    /// [`SupernetError::Interrupted`] once `stop` is set; a loss or gradient that is not finite.
    pub fn run_unsaved(&mut self, stop: &AtomicBool) -> Result<(), SupernetError> {
        while self.position.global_step < self.steps() {
            if stop.load(Ordering::Relaxed) {
                return Err(SupernetError::Interrupted);
            }
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Step, SupernetError> {
        let started = Instant::now();
        let (settings, position) = (&self.settings, self.position);
        let (_, batch) = self.batches.next().expect("batches without end")?;
        let batch = batch.to_device(self.device);
        let size = self.network.input().size;
        let images = data::resize(&batch.images, i64::from(size));
        tch::manual_seed((settings.seed ^ (position.global_step << 20)) as i64);
        let logits = self.network.forward_to_train(&images.to_kind(settings.precision.kind()));
        let (of_labels, of_teacher) = settings.losses;
        let mut loss = label_loss(&logits, &batch, settings.label_smoothing, self.class_weights.as_ref()) * of_labels;
        if let Some(teacher) = &self.teacher {
            let said = tch::no_grad(|| teacher(&images).log_softmax(1, Kind::Float));
            loss += distillation_loss(&logits, &said, Divergence::Kl) * of_teacher;
        }
        loss.backward();
        let loss = loss.double_value(&[]);
        let step = position.global_step;
        if !loss.is_finite() {
            return Err(SupernetError::Diverged { phase: PHASE.into(), step, loss });
        }
        let warm_up = (settings.warm_up_epochs * self.steps_per_epoch as f64).round() as u64;
        let rate = factor(self.rollbacks) * cosine_rate(settings.learning_rate, step, self.steps(), warm_up);
        self.sgd.step(rate).map_err(|GradientNotFinite { norm }| SupernetError::GradientDiverged {
            phase: PHASE.into(),
            step,
            norm,
        })?;
        if let (Some(average), Some(kept)) = (&self.average, settings.average) {
            // Early averages forget faster, as those of a supernet.
            let kept = kept.min((1.0 + step as f64) / (10.0 + step as f64));
            tch::no_grad(|| {
                for (average, weight) in average.weights().iter().zip(self.network.weights()) {
                    let _ = average.tensor.shallow_clone().lerp_(&weight.tensor, 1.0 - kept);
                }
            });
        }
        self.position = Position { step: step + 1, global_step: step + 1, ..position };
        Ok(Step {
            position,
            phase_steps: self.steps(),
            loss,
            rate,
            resolution: size,
            images: images.size()[0] as usize,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn check_weights(&self) -> Result<(), SupernetError> {
        let Some(weight) = self.network.weights().iter().find(|weight| !is_finite(&weight.tensor)) else {
            return Ok(());
        };
        let (name, steps) = (weight.name.clone(), self.position.global_step);
        Err(SupernetError::WeightDiverged { name, phase: PHASE.into(), steps })
    }

    fn state(&self) -> State {
        State {
            folder: PathBuf::new(),
            position: self.position,
            epoch_loss: self.epoch_loss,
            rollbacks: self.rollbacks,
            weights: self.network.tensors(),
            momentum: self.sgd.state(),
            teacher: None,
            average: self.average.as_ref().map(Network::tensors),
            masks: None,
        }
    }
}

impl Guarded for FineTuner<'_> {
    type Observer<'o> = dyn FineTuneObserver + 'o;

    fn is_over(&self) -> bool {
        self.position.global_step >= self.steps()
    }

    fn advance(&mut self, observer: &mut (dyn FineTuneObserver + '_)) -> Result<bool, SupernetError> {
        if self.position.global_step.is_multiple_of(self.steps_per_epoch) && self.anchor.is_due(self.position) {
            self.check_weights()?;
            self.anchor.put(&self.state())?;
        }
        let span = tracing::trace_span!("step", global_step = self.position.global_step);
        let step = span.in_scope(|| self.step())?;
        self.epoch_loss.add(step.loss);
        let goes_on = observer.step(&step);
        if self.position.global_step.is_multiple_of(self.steps_per_epoch) {
            let epoch = self.position.global_step / self.steps_per_epoch;
            observer.epoch(epoch, self.position, self.epoch_loss.mean(), self.network())?;
            self.epoch_loss = EpochLoss::default();
        }
        Ok(goes_on)
    }

    fn save(&self, checkpoints: &Path, _: &mut (dyn FineTuneObserver + '_)) -> Result<(), SupernetError> {
        self.check_weights()?;
        self.state().save(checkpoints, &self.identity, KEPT)
    }

    fn go_on_from(&mut self, state: State) -> Result<(), SupernetError> {
        let State { folder, position, epoch_loss, rollbacks, weights, momentum, average, .. } = state;
        let trained = |tensors| self.settings.trained(&self.shape, tensors, self.device);
        let network = State::within(&folder, trained(weights))?;
        let mut sgd = Sgd::new(network.weights(), self.settings.sgd);
        State::within(&folder, sgd.restore(momentum))?;
        let average = State::within(&folder, average.map(trained).transpose())?;
        (self.network, self.sgd, self.average) = (network, sgd, average);
        (self.position, self.epoch_loss, self.rollbacks) = (position, epoch_loss, rollbacks);
        self.batches = self.loader.batches_from(data::Position {
            epoch: position.global_step / self.steps_per_epoch,
            step: (position.global_step % self.steps_per_epoch) as usize,
        });
        Ok(())
    }

    fn anchor(&mut self) -> (&mut Anchor, u32) {
        (&mut self.anchor, self.rollbacks)
    }

    fn tell(observer: &mut (dyn FineTuneObserver + '_), rollback: &Rollback) -> Result<(), SupernetError> {
        observer.rolled_back(rollback)
    }
}

fn copies(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.copy())).collect()
}

#[cfg(test)]
#[path = "finetune_tests.rs"]
mod tests;
