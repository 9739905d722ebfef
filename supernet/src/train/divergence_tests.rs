//! A run whose numbers leave the finite ones ends with an error that says where, and leaves no checkpoint of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use search::space::SearchSpace;
use storage::failure::Failure;
use tch::{Device, Tensor};

use super::plan::tests::{full, settings};
use super::plan::{TrainPlan, TrainSettings};
use super::state::Position;
use super::trainer::{Epoch, Observer, Start, Step, Trainer};
use crate::data::{ImageSet, Preprocessing};
use crate::error::SupernetError;
use crate::optim::SgdSettings;
use crate::supernet::Supernet;

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
    let preprocessing = Preprocessing::measured(&images);
    let start = Start::From(Box::new(supernet));
    let mut trainer =
        Trainer::new(&space, plan, "plan".into(), images, preprocessing, start, checkpoints, false).unwrap();
    trainer.run(checkpoints, Duration::MAX, &mut Nobody)
}

fn checkpoints(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
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
    let SupernetError::GradientDiverged { phase, step: 0, norm } = &error else { panic!("{error}") };
    assert!(phase == "full" && !norm.is_finite(), "{error}");
    assert!(error.hint().unwrap().contains("lower `learning_rate`"));
    assert_eq!(checkpoints(folder.path()), 0);
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
        format!("weight `{name}` became NaN or infinite in phase `full`, before step 4 of the run")
    );
    assert!(error.hint().unwrap().contains("lower `learning_rate`"));
    assert_eq!(checkpoints(folder.path()), 0);
    // The same run of weights that are as they should be.
    outcome(|_| (), folder.path()).unwrap();
    assert_eq!(checkpoints(folder.path()), 1);
}
