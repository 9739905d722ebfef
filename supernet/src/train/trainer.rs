//! The training loop.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use search::space::SearchSpace;
use tch::{Device, Kind, Tensor};

use super::phase::{Teacher, TrainPlan, cosine_rate};
use super::state::{Position, State};
use crate::calibrate::calibrate;
use crate::data::{self, ImageSet, Preprocessing, TrainBatches, TrainLoader};
use crate::error::SupernetError;
use crate::extract::StaticSubnet;
use crate::optim::Sgd;
use crate::subnet::Mode;
use crate::supernet::Supernet;

/// What one step did.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Where it was.
    pub position: Position,
    /// Steps in this phase.
    pub phase_steps: u64,
    /// Mean loss over its subnets.
    pub loss: f64,
    /// Learning rate.
    pub rate: f64,
    /// Input resolution.
    pub resolution: u32,
    /// Images in the batch.
    pub images: usize,
    /// Seconds it took.
    pub seconds: f64,
}

/// The end of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// The next step.
    pub position: Position,
    /// Phase that it belongs to.
    pub phase: usize,
    /// Epochs of this phase done.
    pub epoch: u64,
    /// Mean loss of its steps (since the last resume, if that was inside it).
    pub mean_loss: f64,
}

/// Hears of progress; returning `false` from [`Observer::step`] saves and stops.
pub trait Observer {
    /// After every step.
    fn step(&mut self, step: &Step) -> bool;
    /// After every epoch, before the next checkpoint.
    fn epoch(&mut self, epoch: &Epoch, supernet: &Supernet) -> Result<(), SupernetError>;
    /// After a checkpoint was written.
    fn saved(&mut self, position: Position);
}

/// A run in progress.
pub struct Trainer {
    plan: TrainPlan,
    plan_text: String,
    supernet: Supernet,
    sgd: Sgd,
    teacher: Option<Supernet>,
    /// The teacher, calibrated, for each resolution of the space.
    teachers: Vec<StaticSubnet>,
    position: Position,
    images: Arc<ImageSet>,
    preprocessing: Preprocessing,
    batches: TrainBatches,
    steps_per_epoch: u64,
}

impl Trainer {
    /// A run of `plan`: from the newest checkpoint in `checkpoints` if there is one and `resume` is set, else from fresh
    /// weights. `plan_text` identifies the plan and the data; a checkpoint of another one is refused.
    ///
    /// # Errors
    /// A damaged or foreign checkpoint.
    #[allow(clippy::too_many_arguments, reason = "one call site; each is a different kind of thing")]
    pub fn new(
        space: &SearchSpace,
        plan: TrainPlan,
        plan_text: String,
        images: Arc<ImageSet>,
        preprocessing: Preprocessing,
        device: Device,
        checkpoints: &Path,
        resume: bool,
    ) -> Result<Self, SupernetError> {
        let saved = if resume { State::load_newest(checkpoints, &plan_text)? } else { None };
        let augmentation = plan.augmentation.clone();
        let loader = TrainLoader::new(images.clone(), &preprocessing, augmentation, plan.batch_size, plan.seed)?;
        let steps_per_epoch = loader.steps_per_epoch() as u64;
        let (supernet, momentum, teacher, position) = match saved {
            Some(state) => {
                let supernet = Supernet::from_tensors(space, state.weights, device)?;
                let teacher =
                    state.teacher.map(|weights| Supernet::from_tensors(space, weights, device)).transpose()?;
                (supernet, Some(state.momentum), teacher, state.position)
            }
            None => (Supernet::new(space, plan.seed, device), None, None, Position::default()),
        };
        let mut sgd = Sgd::new(supernet.weights(), plan.sgd);
        if let Some(momentum) = momentum {
            sgd.restore(momentum)?;
        }
        let mut trainer = Self {
            plan,
            plan_text,
            supernet,
            sgd,
            teacher: None,
            teachers: Vec::new(),
            position,
            images,
            preprocessing,
            batches: loader.batches_from(data::Position {
                epoch: position.global_step / steps_per_epoch,
                step: (position.global_step % steps_per_epoch) as usize,
            }),
            steps_per_epoch,
        };
        trainer.set_teacher(teacher)?;
        Ok(trainer)
    }

    /// Where the run stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The weights as they are.
    pub fn supernet(&self) -> &Supernet {
        &self.supernet
    }

    /// Steps of each phase.
    pub fn phase_steps(&self) -> Vec<u64> {
        self.plan.phases.iter().map(|phase| phase.epochs * self.steps_per_epoch).collect()
    }

    /// Runs all that is left, saving into `checkpoints` at least every `save_every` and at the end.
    ///
    /// # Errors
    /// [`SupernetError::Interrupted`] when the observer asks to stop (the state is saved), a loss that is not finite, or
    /// a file that cannot be written.
    pub fn run(
        &mut self,
        checkpoints: &Path,
        save_every: Duration,
        observer: &mut dyn Observer,
    ) -> Result<(), SupernetError> {
        let per_epoch = self.steps_per_epoch;
        let mut saved_at = Instant::now();
        let (mut loss_sum, mut loss_count) = (0.0, 0u64);
        while let Some(phase) = self.plan.phases.get(self.position.phase) {
            let phase_steps = phase.epochs * per_epoch;
            if self.position.step == 0 {
                self.begin_phase();
            }
            if self.position.step < phase_steps {
                let step = self.step(phase_steps)?;
                loss_sum += step.loss;
                loss_count += 1;
                let go_on = observer.step(&step);
                if self.position.step.is_multiple_of(per_epoch) {
                    let epoch = Epoch {
                        position: self.position,
                        phase: self.position.phase,
                        epoch: self.position.step / per_epoch,
                        mean_loss: loss_sum / loss_count as f64,
                    };
                    observer.epoch(&epoch, &self.supernet)?;
                    (loss_sum, loss_count) = (0.0, 0);
                }
                if !go_on {
                    self.save(checkpoints, observer)?;
                    return Err(SupernetError::Interrupted);
                }
            }
            if self.position.step >= phase_steps {
                self.end_phase()?;
            }
            if saved_at.elapsed() >= save_every {
                self.save(checkpoints, observer)?;
                saved_at = Instant::now();
            }
        }
        self.save(checkpoints, observer)
    }

    fn begin_phase(&mut self) {
        if let Some(levels) = self.plan.phases[self.position.phase].sort_channels {
            self.supernet.sort_channels(levels);
        }
        self.sgd.reset();
    }

    fn end_phase(&mut self) -> Result<(), SupernetError> {
        if self.position.phase == 0 && self.plan.phases.len() > 1 {
            let teacher = self.supernet.duplicate();
            self.set_teacher(Some(teacher))?;
        }
        self.position = Position { phase: self.position.phase + 1, step: 0, ..self.position };
        Ok(())
    }

    /// Calibrates the teacher at every resolution. The images are chosen by the seed, so a resumed run finds the same
    /// statistics.
    fn set_teacher(&mut self, teacher: Option<Supernet>) -> Result<(), SupernetError> {
        self.teachers.clear();
        if let Some(teacher) = &teacher {
            let space = teacher.space();
            for &resolution in space.resolutions() {
                let subnet = teacher.subnet(&space.resolve(&space.largest(resolution).expect("its own resolution")));
                let batches = self.calibration_batches(resolution)?;
                let statistics = calibrate(&subnet, &batches);
                self.teachers.push(StaticSubnet::extract(&subnet, &statistics));
            }
        }
        self.teacher = teacher;
        Ok(())
    }

    fn calibration_batches(&self, resolution: u32) -> Result<Vec<Tensor>, SupernetError> {
        let (count, size) = self.plan.calibration;
        let (seed, device) = (self.plan.seed, self.supernet.device());
        let resolution = i64::from(resolution);
        let batches =
            data::calibration_batches(&self.images, &self.preprocessing, count, size, resolution, seed, device)?;
        Ok(batches.map(|batch| batch.images).collect())
    }

    fn step(&mut self, phase_steps: u64) -> Result<Step, SupernetError> {
        let started = Instant::now();
        let position = self.position;
        let phase = &self.plan.phases[position.phase];
        let per_epoch = self.steps_per_epoch;
        let (_, batch) = self.batches.next().expect("batches without end");
        let space = self.supernet.space();
        let archs = self.plan.subnets(space, position.phase, position.step);
        let resolution = archs[0].resolution();
        let device = self.supernet.device();
        let images = data::resize(&batch.images.to_device(device), i64::from(resolution));
        let labels = batch.labels.to_device(device);
        // Dropout draws from LibTorch's own generator; its seed is the place in the run.
        tch::manual_seed((self.plan.seed ^ (position.global_step << 20)) as i64);

        let in_place = phase.teacher == Teacher::Largest;
        let mut distillation = if phase.distillation > 0.0 && !in_place {
            let index = space.resolutions().iter().position(|r| *r == resolution).expect("a resolution of the space");
            let teacher = &self.teachers[index];
            Some(tch::no_grad(|| teacher.forward(&images).softmax(1, Kind::Float)))
        } else {
            None
        };
        let mut loss_sum = 0.0;
        for (index, arch) in archs.iter().enumerate() {
            let logits = self.supernet.forward(&images, &space.resolve(arch), Mode::Train);
            // The largest comes first, so that whoever follows learns from it. It gets the weight of both losses.
            let teaches = in_place && index == 0;
            let label_loss = if teaches { phase.label_loss + phase.distillation } else { phase.label_loss };
            let mut loss = logits.cross_entropy_loss::<Tensor>(
                &labels,
                None,
                tch::Reduction::Mean,
                -100,
                self.plan.label_smoothing,
            ) * label_loss;
            if let Some(target) = &distillation {
                let log_probabilities = logits.log_softmax(1, Kind::Float);
                let cross_entropy = -(target * log_probabilities).sum(Kind::Float) / images.size()[0] as f64;
                loss += cross_entropy * phase.distillation;
            }
            if teaches {
                distillation = Some(tch::no_grad(|| logits.softmax(1, Kind::Float)));
            }
            let loss = loss / archs.len() as f64;
            loss.backward();
            loss_sum += loss.double_value(&[]);
        }
        if !loss_sum.is_finite() {
            let (phase, step) = (phase.name.clone(), position.step);
            return Err(SupernetError::Diverged { phase, step, loss: loss_sum });
        }
        let warm_up = (phase.warm_up_epochs * per_epoch as f64).round() as u64;
        let rate = cosine_rate(phase.learning_rate, position.step, phase_steps, warm_up);
        self.sgd.step(rate);
        self.position = Position { step: position.step + 1, global_step: position.global_step + 1, ..position };
        Ok(Step {
            position,
            phase_steps,
            loss: loss_sum,
            rate,
            resolution,
            images: images.size()[0] as usize,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn save(&self, checkpoints: &Path, observer: &mut dyn Observer) -> Result<(), SupernetError> {
        let state = State {
            position: self.position,
            weights: self.supernet.tensors(),
            momentum: self.sgd.state(),
            teacher: self.teacher.as_ref().map(Supernet::tensors),
        };
        state.save(checkpoints, &self.plan_text)?;
        observer.saved(self.position);
        Ok(())
    }
}
