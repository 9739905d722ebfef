//! How a predictor is fitted.

use crate::encode::Layout;
use crate::error::{PredictorError, Result};

/// How to fit. [`FitSettings::default`] is for some hundred to some thousand pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct FitSettings {
    /// Order of the features.
    pub layout: Layout,
    /// Distinct architectures that are set aside to judge the fit.
    pub test_pairs: usize,
    /// Seed of the split, the folds, the initial weights and the batches.
    pub seed: u64,
    /// Whether a ridge regression comes first and the MLPs fit what it leaves.
    pub additive: bool,
    /// Whether a Gaussian process for pairs of choices comes second; only with the ridge.
    pub interactions: bool,
    /// Number of MLPs; 0 for the closed-form parts alone, which need no LibTorch.
    pub members: usize,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Times that every pair is seen.
    pub epochs: usize,
    /// Pairs per step.
    pub batch: usize,
    /// AdamW's learning rate at the start.
    pub learning_rate: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// Folds of the cross-validation that decides on the MLPs' share.
    pub folds: usize,
    /// Whether the report has a learning curve, which takes another fit of the closed-form parts for every 100 pairs.
    pub learning_curve: bool,
}

impl Default for FitSettings {
    fn default() -> Self {
        FitSettings {
            layout: Layout::Blocks,
            test_pairs: 200,
            seed: 0,
            additive: true,
            interactions: true,
            members: 4,
            hidden: vec![128, 128],
            epochs: 60,
            batch: 64,
            learning_rate: 1e-3,
            weight_decay: 1e-4,
            folds: 5,
            learning_curve: true,
        }
    }
}

impl FitSettings {
    /// Refuses what makes no sense.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |name, problem: &str| Err(PredictorError::Setting { name, problem: problem.to_owned() });
        match self {
            _ if self.members == 0 && !self.additive => refuse("members", "without members there must be a ridge"),
            _ if self.members == 0 => Ok(()),
            _ if cfg!(not(feature = "torch")) => {
                refuse("members", "this build has no LibTorch, so only the ridge (members = 0) can be fitted")
            }
            _ if self.hidden.contains(&0) => refuse("hidden", "a layer needs at least one unit"),
            _ if self.epochs == 0 => refuse("epochs", "must be at least 1"),
            _ if self.batch == 0 => refuse("batch", "must be at least 1"),
            _ if self.folds < 2 => refuse("folds", "must be at least 2"),
            _ if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) => {
                refuse("learning_rate", "must be above 0")
            }
            _ if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) => {
                refuse("weight_decay", "must be at least 0")
            }
            _ => Ok(()),
        }
    }
}
