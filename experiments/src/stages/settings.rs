//! Settings of stages, as files have them.

use predictors::settings::FitSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::torch::{FileForm, IS_THERE};

/// What the predictor is fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Collect {
    /// Subnets that are measured.
    pub pairs: usize,
    /// Chooses them.
    #[serde(default)]
    pub seed: u64,
}

/// A predictor's model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// A ridge regression, a Gaussian process for pairs of choices, and MLPs for what they leave.
    #[default]
    Ensemble,
    /// The ridge regression alone.
    Additive,
    /// One MLP.
    Mlp,
    /// The best of the three.
    Auto,
}

impl Model {
    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ensemble => "ensemble",
            Self::Additive => "additive",
            Self::Mlp => "mlp",
            Self::Auto => "auto",
        }
    }

    /// The ways to fit that it stands for, with their names.
    pub(crate) fn settings(self) -> Vec<(&'static str, FitSettings)> {
        let defaults = FitSettings { learning_curve: false, ..FitSettings::default() };
        let common = FitSettings { members: if IS_THERE { defaults.members } else { 0 }, ..defaults };
        let additive = || ("additive", FitSettings { members: 0, interactions: false, ..common.clone() });
        let mlp = || {
            let hidden = vec![400; 3];
            ("mlp", FitSettings { additive: false, interactions: false, members: 1, hidden, ..common.clone() })
        };
        match self {
            Self::Ensemble => vec![("ensemble", common)],
            Self::Additive => vec![additive()],
            Self::Mlp => vec![mlp()],
            Self::Auto => vec![("ensemble", common.clone()), additive(), mlp()],
        }
    }
}

/// How each network is trained on, by itself, with the supernet's largest as its teacher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finetune {
    /// Passes over the images; 0 leaves the weights as the supernet has them.
    pub epochs: u64,
    /// Values of a recipe of fine-tuning: `learning_rate=0.02`.
    #[serde(default)]
    pub set: Vec<String>,
}

/// A kind of file that others run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// ONNX.
    Onnx,
    /// TensorFlow Lite.
    Tflite,
}

impl From<Format> for FileForm {
    fn from(format: Format) -> Self {
        match format {
            Format::Onnx => Self::Onnx,
            Format::Tflite => Self::Tflite,
        }
    }
}
