//! A run whose numbers leave the finite ones goes on from before, at a lower learning rate, or ends with an error that says
//! where; no checkpoint holds them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use search::space::SearchSpace;
use storage::failure::Failure;
use tch::{Device, Tensor};

use super::guard::Rollback;
use super::observer::{Epoch, Observer, Step};
use super::phase::{LearningRate, ShrinkingPhase};
use super::plan::tests::{full, settings};
use super::plan::{TrainPlan, TrainSettings};
use super::state::Position;
use super::trainer::{Start, Trainer};
use crate::data::{ImageSet, Preprocessing};
use crate::error::SupernetError;
use crate::optim::SgdSettings;
use crate::ranks::{Ranks, in_threads};
use crate::supernet::Supernet;
use crate::tensors::{is_finite, load_safetensors};

/// Hears of nothing.
struct Nobody;

impl Observer for Nobody {
    fn step(&mut self, _: &Step) -> bool {
        true
    }

    fn epoch(&mut self, _: &Epoch, _: &Supernet) -> Result<(), SupernetError> {
        Ok(())
    }

    fn saved(&mut self, _: Position) {}
}

fn weight(supernet: &Supernet, name: &str) -> Tensor {
    let found = supernet.weights().iter().find(|weight| weight.name == name);
    found.unwrap_or_else(|| panic!("{name}")).tensor.detach()
}

/// Sixteen images of grey values, none of class 0.
fn images() -> ImageSet {
    let pixels = (0..16 * 32 * 32 * 3).map(|at| (at * 37 % 251) as u8).collect();
    let labels = (0..16).map(|image| 1 + image % 9).collect();
    ImageSet::new(pixels, labels, 32, (0..10).map(|class| class.to_string()).collect()).unwrap()
}

/// What comes of two epochs of the largest subnet, gradients clipped, that begin with weights changed by `spoil`.
fn outcome(spoil: impl Fn(&Supernet), checkpoints: &Path) -> Result<(), SupernetError> {
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    let supernet = Supernet::new(&space, 1, Device::Cpu);
    tch::no_grad(|| spoil(&supernet));
    let sgd = SgdSettings { clip_gradient: Some(1.0), ..settings().sgd };
    let plan = TrainPlan::new(TrainSettings { sgd, ..settings() }, vec![full(2)]).unwrap();
    let images = Arc::new(images());
    let preprocessing = Preprocessing::measured(&images).unwrap();
    let start = Start::From(Box::new(supernet));
    let mut trainer =
        Trainer::new(&space, plan, "plan".into(), images, preprocessing, start, checkpoints, false, Ranks::alone())
            .unwrap();
    trainer.run(checkpoints, Duration::MAX, &mut Nobody)
}

/// How many checkpoints there are, in all of which every weight is finite.
fn checkpoints(folder: &Path) -> usize {
    let folders = [folder.to_path_buf(), folder.join("anchor")];
    let all = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let files: Vec<_> =
        all.map(|entry| entry.path().join("supernet.safetensors")).filter(|file| file.exists()).collect();
    for file in &files {
        let tensors = load_safetensors(file).unwrap().0;
        assert!(tensors.values().all(is_finite), "{}", file.display());
    }
    files.len()
}

#[test]
fn an_infinite_gradient_ends_the_run_before_it_reaches_a_weight() {
    let folder = tempfile::tempdir().unwrap();
    // A feature next to zero in all images, which the classifier magnifies: the loss is large, the slope infinite.
    let spoil = |supernet: &Supernet| {
        let _ = weight(supernet, "head.0.bn.weight").get(0).zero_();
        let _ = weight(supernet, "head.0.bn.bias").get(0).fill_(1e-30);
        let classes = weight(supernet, "classifier.weight").select(1, 0);
        let _ = classes.shallow_clone().fill_(-3e38);
        let _ = classes.get(0).fill_(3e38);
    };
    let error = outcome(spoil, folder.path()).unwrap_err();
    // No rate helps: what goes wrong is there before the first step.
    let SupernetError::Unstable { rollbacks: 5, factor, last } = &error else { panic!("{error}") };
    let SupernetError::GradientDiverged { phase, step: 0, norm } = &**last else { panic!("{error}") };
    assert!(phase == "full" && !norm.is_finite() && *factor == 1.0 / 32.0, "{error}");
    assert!(error.hint().unwrap().contains("lower `learning_rate`"));
    assert_eq!(checkpoints(folder.path()), 2);
}

#[test]
fn a_weight_that_is_not_finite_reaches_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    // The largest subnet does not read it, so that no loss shows it.
    let name = "stages.0.0.depthwise.transform_5to3";
    let spoil = |supernet: &Supernet| {
        let _ = weight(supernet, name).fill_(f64::NAN);
    };
    let error = outcome(spoil, folder.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("weight `{name}` became NaN or infinite in phase `full`, before step 0 of the run")
    );
    assert!(error.hint().unwrap().contains("lower `learning_rate`"));
    assert_eq!(checkpoints(folder.path()), 0);
    // The same run of weights that are as they should be.
    outcome(|_| (), folder.path()).unwrap();
    assert_eq!(checkpoints(folder.path()), 2);
}

/// Stops after so many steps, and notes what it hears.
struct Watch {
    until: u64,
    steps: u64,
    rates: Vec<(u64, f64)>,
    rollbacks: Vec<Rollback>,
}

impl Watch {
    fn of(until: u64) -> Watch {
        Watch { until, steps: 0, rates: Vec::new(), rollbacks: Vec::new() }
    }
}

impl Observer for Watch {
    fn step(&mut self, step: &Step) -> bool {
        self.steps += 1;
        self.rates.push((step.position.global_step, step.rate));
        self.steps < self.until
    }

    fn epoch(&mut self, _: &Epoch, _: &Supernet) -> Result<(), SupernetError> {
        Ok(())
    }

    fn saved(&mut self, _: Position) {}

    fn rolled_back(&mut self, rollback: &Rollback) -> Result<(), SupernetError> {
        self.rollbacks.push(rollback.clone());
        Ok(())
    }
}

/// Two steps an epoch, for so many epochs, at a constant rate that is absurd.
fn absurd(epochs: u64, peak: f64, checkpoints: &Path, resume: bool) -> Trainer {
    absurd_among(Ranks::alone(), epochs, peak, checkpoints, resume)
}

fn absurd_among(ranks: Ranks, epochs: u64, peak: f64, checkpoints: &Path, resume: bool) -> Trainer {
    let space = SearchSpace::builtin("mcu-cifar").unwrap();
    let plan = TrainPlan::new(
        settings(),
        vec![ShrinkingPhase { learning_rate: LearningRate::Own { peak, warm_up_epochs: 0.0 }, ..full(epochs) }],
    )
    .unwrap();
    let images = Arc::new(images());
    let preprocessing = Preprocessing::measured(&images).unwrap();
    let start = Start::Fresh(Device::Cpu);
    Trainer::new(&space, plan, "plan".into(), images, preprocessing, start, checkpoints, resume, ranks).unwrap()
}

fn bits(trainer: &Trainer) -> Vec<f32> {
    let tensors = trainer.supernet().tensors().into_values();
    tensors.flat_map(|tensor| Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap()).collect()
}

#[test]
fn a_run_that_rolls_back_ends_alike_however_often_it_is_stopped_and_saved() {
    let whole = tempfile::tempdir().unwrap();
    let mut watch = Watch::of(u64::MAX);
    let mut trainer = absurd(6, 1e6, whole.path(), false);
    trainer.run(whole.path(), Duration::MAX, &mut watch).unwrap();
    let expected = bits(&trainer);
    assert!(expected.iter().all(|value| value.is_finite()));
    assert!(checkpoints(whole.path()) > 0);
    let [first, .., last] = watch.rollbacks.as_slice() else { panic!("{:?}", watch.rollbacks) };
    assert!(
        first.met.contains("in phase `full`") && first.to == Position::default() && first.factor == 0.5,
        "{first:?}"
    );
    // Each step is done again, at the lower rate.
    let rates: Vec<f64> = watch.rates.iter().filter(|(step, _)| *step == 1).map(|(_, rate)| *rate).collect();
    assert_eq!(rates.len(), watch.rollbacks.len() + 1);
    assert_eq!(rates.last(), Some(&(last.factor * rates[0])));

    // Stopped after every few steps, and saved after each.
    let folder = tempfile::tempdir().unwrap();
    let mut rollbacks = Vec::new();
    for stop in [3, 2, 7, 1, 4, 5, u64::MAX] {
        let mut watch = Watch::of(stop);
        let mut trainer = absurd(6, 1e6, folder.path(), true);
        let ended = trainer.run(folder.path(), Duration::ZERO, &mut watch);
        rollbacks.append(&mut watch.rollbacks);
        match ended {
            Ok(()) => assert!(bits(&trainer) == expected, "other weights"),
            Err(error) => assert!(matches!(error, SupernetError::Interrupted), "{error}"),
        }
    }
    let factors = |rollbacks: &[Rollback]| rollbacks.iter().map(|rollback| rollback.factor).collect::<Vec<_>>();
    assert_eq!(factors(&rollbacks), factors(&watch.rollbacks));
}

#[test]
fn ranks_roll_back_together() {
    let folder = tempfile::tempdir().unwrap();
    let ends = in_threads(2, |ranks| {
        let mut watch = Watch::of(u64::MAX);
        let mut trainer = absurd_among(ranks, 6, 1e6, folder.path(), false);
        trainer.run(folder.path(), Duration::ZERO, &mut watch).unwrap();
        (watch.rollbacks.iter().map(|rollback| rollback.factor).collect::<Vec<_>>(), bits(&trainer))
    });
    assert!(!ends[0].0.is_empty());
    assert_eq!(ends[0].0, ends[1].0);
    assert!(ends[0].1 == ends[1].1);
    assert!(ends[0].1.iter().all(|value| value.is_finite()));
}

#[test]
fn a_rate_that_no_rollback_makes_sensible_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let ended = absurd(6, 1e9, folder.path(), false).run(folder.path(), Duration::ZERO, &mut Nobody);
    let error = ended.unwrap_err();
    let told = error.to_string();
    for words in ["rolled back 5 times", "lowered to 0.03125 of the recipe's", "in phase `full`"] {
        assert!(told.contains(words), "{told}");
    }
    assert!(error.hint().unwrap().contains("lower `learning_rate`"));
    assert!(checkpoints(folder.path()) > 0);
}
