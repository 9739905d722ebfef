//! A training run as one YAML file: which space, which images, which phases.
//!
//! Anything left out takes the value documented on its field. `--set key=value` replaces a value before checking; keys
//! of nested values are joined by dots, phases are counted from 0 (`phases.0.epochs=3`).

use std::path::{Path, PathBuf};

use search::space::SearchSpace;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;
use storage::failure::FailureKind;
use supernet::data::{Augmentation, Preprocessing};
use supernet::optim::SgdSettings;
use supernet::train::{
    Attentive, Divergence, EarlyBird, PlanError, Precision, Sampling, ShrinkingPhase, Teacher, TrainPlan,
};
use tch::Device;

use crate::weights::Stored;

/// What is wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each field is")]
pub enum RecipeError {
    #[error("{path}: {reason}", path = path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{path}: {reason}", path = path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("recipe field `{field}` is {value}, {reason}")]
    Value { field: String, value: String, reason: &'static str },
    #[error("`--set {given}` {reason}")]
    Override { given: String, reason: String },
}

impl RecipeError {
    /// For the exit code.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Unreadable { .. } | Self::Override { .. } => FailureKind::Usage,
            Self::Syntax { .. } | Self::Value { .. } => FailureKind::Content,
        }
    }

    /// What to try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => Some("recipes shipped with the project are in experiments/recipes".into()),
            Self::Override { .. } => Some("write --set batch_size=64 or --set phases.0.epochs=3".into()),
            _ => None,
        }
    }
}

/// A recipe as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// `ofa.recipe/1`.
    pub schema: String,
    /// Name of the bundle that comes out.
    pub name: String,
    /// A built-in space, or the path of one.
    pub space: String,
    /// Where the images are (`DATA` of the command line); `--data` replaces it.
    #[serde(default)]
    pub data: Option<String>,
    /// Names of the classes, where the data has none.
    #[serde(default)]
    pub class_names: Option<Vec<String>>,
    /// Training images kept apart for all decisions.
    #[serde(default = "default_held_out")]
    pub held_out: usize,
    /// A bundle whose weights the run begins with, by name or path; fresh ones when left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weights: Option<String>,
    /// Seed of everything.
    #[serde(default)]
    pub seed: u64,
    /// Images per step.
    pub batch_size: usize,
    /// Number format of feature maps while training.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: PrecisionChoice,
    /// μ of Nesterov momentum.
    #[serde(default = "default_momentum")]
    pub momentum: f64,
    /// λ, on convolution and linear weights only.
    #[serde(default)]
    pub weight_decay: f64,
    /// Largest norm of the gradient over all weights; a larger one is scaled down to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clip_gradient: Option<f64>,
    /// Whether blocks with a shortcut begin as the shortcut alone (the scale of their last batch norm is 0), which lets
    /// deep networks start at a high learning rate.
    #[serde(default, skip_serializing_if = "is_default")]
    pub zero_init_residual: bool,
    /// Whether small kernels are learned transforms of large ones (Cai et al. 2020), or else their centres.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub kernel_transforms: bool,
    /// What an exponential moving average of the weights keeps at each step (0.999, say); the bundle then holds the
    /// average.
    #[serde(default, skip_serializing_if = "is_default")]
    pub average: Option<f64>,
    /// ε of label smoothing.
    #[serde(default)]
    pub label_smoothing: f64,
    /// What happens to training images.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// Mean and standard deviation of the pixels, as fractions; measured on the training images when left out.
    #[serde(default)]
    pub normalisation: Option<Normalisation>,
    /// Images for batch-norm calibration.
    #[serde(default)]
    pub calibration: Calibration,
    /// Number format of the finished weights in the bundle.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stored: Stored,
    /// Phases in order.
    pub phases: Vec<PhaseRecipe>,
}

/// Number format of feature maps while training, or whichever is faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// bfloat16 on a GPU, float32 on the CPU.
    #[default]
    Auto,
    /// float32.
    Fp32,
    /// bfloat16; weights, optimiser, batch-norm statistics and losses stay float32.
    Bf16,
}

/// Per-channel constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Subtracted.
    pub mean: [f64; 3],
    /// Divided by.
    pub std: [f64; 3],
}

/// How many training images calibrate a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Batches.
    pub batches: usize,
    /// Images in each.
    pub batch_size: usize,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { batches: 10, batch_size: 200 }
    }
}

/// How many of a stage's choices take part, from the largest down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Levels {
    /// This many.
    Count(usize),
    /// All of them.
    All(All),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum All {
    /// Every choice.
    All,
}

impl Levels {
    fn count(self) -> usize {
        match self {
            Levels::Count(count) => count,
            Levels::All(_) => usize::MAX,
        }
    }
}

impl Default for Levels {
    fn default() -> Self {
        Levels::Count(1)
    }
}

/// One phase as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseRecipe {
    /// Name in logs.
    pub name: String,
    /// Passes over the training images.
    pub epochs: u64,
    /// Peak learning rate; left out in a phase that `continues`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Epochs of linear warm-up, part of `epochs`.
    #[serde(default)]
    pub warm_up_epochs: f64,
    /// Whether the learning rate goes on along the cosine of the phase before, momentum kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub continues: bool,
    /// Input resolutions that take part; all of the space's when left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resolutions: Vec<u32>,
    /// Kernel sizes that take part: `all`, or how many of the largest. Default 1, the largest alone.
    #[serde(default)]
    pub kernels: Levels,
    /// Depths likewise.
    #[serde(default)]
    pub depths: Levels,
    /// Expand ratios likewise.
    #[serde(default)]
    pub expands: Levels,
    /// Subnets drawn at random per step.
    #[serde(default)]
    pub random_subnets: u64,
    /// How they are drawn: `uniform` (the default) or `compound`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sampling: Sampling,
    /// Draws several candidates for each and keeps the one with the best or worst loss.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attentive: Option<Attentive>,
    /// Whether the largest subnet joins every step.
    #[serde(default)]
    pub with_largest: bool,
    /// Whether the smallest subnet of the phase joins every step.
    #[serde(default)]
    pub with_smallest: bool,
    /// Weight of the cross-entropy with the teacher's probabilities.
    #[serde(default)]
    pub distillation: f64,
    /// Whose: `first_phase` (the default), or `largest`, the largest subnet of the same step.
    #[serde(default, skip_serializing_if = "is_default")]
    pub teacher: Teacher,
    /// What distillation minimises: `kl` (the default) or `alpha`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub divergence: Divergence,
    /// Weight of the cross-entropy with the labels.
    #[serde(default = "one")]
    pub label_loss: f64,
    /// Whether the losses of a step's subnets are summed; averaged otherwise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sum_losses: bool,
    /// Epochs over which the weight of all subnets but the largest rises from near zero (delayed ε-shrinking).
    #[serde(default, skip_serializing_if = "is_default")]
    pub ramp_epochs: f64,
    /// Whether to sort channels by importance before the phase.
    #[serde(default)]
    pub sort_channels: bool,
    /// Whether to spread the weights of the smallest subnet, which the phases before trained alone, over all others before
    /// the phase.
    #[serde(default, skip_serializing_if = "is_default")]
    pub grow: bool,
    /// Ends the phase when the order of channels has settled; `epochs` is then the most it takes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub early_bird: Option<EarlyBird>,
}

/// Left out, so that recipes written before there was a choice keep their text, which checkpoints are known by.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn default_held_out() -> usize {
    5000
}

fn default_momentum() -> f64 {
    0.9
}

fn one() -> f64 {
    1.0
}

impl Recipe {
    /// Reads and checks a recipe, after replacing what `overrides` (`key=value`) names.
    ///
    /// # Errors
    /// An unreadable or malformed file, an unknown key, a value out of range.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| RecipeError::Unreadable { path: path.to_path_buf(), reason: error.to_string() })?;
        let syntax =
            |error: serde_yaml::Error| RecipeError::Syntax { path: path.to_path_buf(), reason: error.to_string() };
        // Straight from the text first: the parser then knows line and column of a mistake.
        let mut recipe: Recipe = serde_yaml::from_str(&text).map_err(syntax)?;
        if !overrides.is_empty() {
            let mut value: Value = serde_yaml::from_str(&text).map_err(syntax)?;
            for given in overrides {
                apply(&mut value, given)?;
            }
            recipe = serde_yaml::from_value(value).map_err(|error| RecipeError::Override {
                given: overrides.join(" --set "),
                reason: format!("does not give a recipe: {error}"),
            })?;
        }
        recipe.check()?;
        Ok(recipe)
    }

    fn check(&self) -> Result<(), RecipeError> {
        let wrong =
            |field: &str, value: String, reason| Err(RecipeError::Value { field: field.to_owned(), value, reason });
        if self.schema != "ofa.recipe/1" {
            return wrong("schema", format!("`{}`", self.schema), "but must be `ofa.recipe/1`");
        }
        for (index, phase) in self.phases.iter().enumerate() {
            let field = format!("phases.{index}.learning_rate");
            match (phase.continues, phase.learning_rate) {
                (false, None) => return wrong(&field, "left out".into(), "but the phase does not continue another"),
                (true, Some(rate)) => {
                    return wrong(&field, rate.to_string(), "but the phase continues another's cosine; leave it out");
                }
                (true, None) if phase.warm_up_epochs != 0.0 => {
                    let (field, value) = (format!("phases.{index}.warm_up_epochs"), phase.warm_up_epochs.to_string());
                    return wrong(&field, value, "but the phase continues another's cosine; leave it out");
                }
                _ => {}
            }
        }
        self.plan(Precision::Fp32).check()?;
        Ok(())
    }

    /// The run that this recipe describes, feature maps in `precision` (see [`Recipe::precision_on`]).
    pub fn plan(&self, precision: Precision) -> TrainPlan {
        let mut trained_expands = 1;
        let mut learning_rate = 1.0;
        let phases = self.phases.iter().map(|phase| {
            let sort_channels = phase.sort_channels.then_some(trained_expands);
            trained_expands = trained_expands.max(phase.expands.count());
            learning_rate = phase.learning_rate.unwrap_or(learning_rate);
            ShrinkingPhase {
                name: phase.name.clone(),
                epochs: phase.epochs,
                learning_rate,
                warm_up_epochs: phase.warm_up_epochs,
                continues: phase.continues,
                resolutions: phase.resolutions.clone(),
                kernels: phase.kernels.count(),
                depths: phase.depths.count(),
                expands: phase.expands.count(),
                random_subnets: phase.random_subnets,
                sampling: phase.sampling,
                attentive: phase.attentive,
                with_largest: phase.with_largest,
                with_smallest: phase.with_smallest,
                distillation: phase.distillation,
                teacher: phase.teacher,
                divergence: phase.divergence,
                label_loss: phase.label_loss,
                sum_losses: phase.sum_losses,
                ramp_epochs: phase.ramp_epochs,
                sort_channels,
                grow: phase.grow,
                early_bird: phase.early_bird,
            }
        });
        TrainPlan {
            seed: self.seed,
            batch_size: self.batch_size,
            precision,
            sgd: SgdSettings {
                momentum: self.momentum,
                weight_decay: self.weight_decay,
                clip_gradient: self.clip_gradient,
            },
            zero_init_residual: self.zero_init_residual,
            kernel_transforms: self.kernel_transforms,
            average: self.average,
            label_smoothing: self.label_smoothing,
            augmentation: self.augmentation.clone(),
            calibration: self.calibration_size(),
            phases: phases.collect(),
        }
    }

    /// Batches of training images that calibrate a subnet, and images in each.
    pub fn calibration_size(&self) -> (usize, usize) {
        (self.calibration.batches, self.calibration.batch_size)
    }

    /// The number format that the recipe means on `device`.
    pub fn precision_on(&self, device: Device) -> Precision {
        match self.precision {
            PrecisionChoice::Fp32 => Precision::Fp32,
            PrecisionChoice::Bf16 => Precision::Bf16,
            PrecisionChoice::Auto if device.is_cuda() => Precision::Bf16,
            PrecisionChoice::Auto => Precision::Fp32,
        }
    }

    /// What a checkpoint belongs to: the recipe without the places of its data and weights, and the space.
    pub fn identity(&self, space: &SearchSpace) -> String {
        // Where weights lie says nothing about what they are.
        let weights = self.weights.as_ref().map(|_| String::new());
        let recipe = Recipe { data: None, weights, ..self.clone() };
        let recipe = serde_yaml::to_string(&recipe).expect("plain data");
        format!("{recipe}---\n{}", space.to_yaml())
    }

    /// How images become inputs; `measured` is asked when the recipe names no constants.
    pub fn preprocessing(&self, measured: impl FnOnce() -> Preprocessing) -> Preprocessing {
        let measured = measured();
        match self.normalisation {
            Some(Normalisation { mean, std }) => Preprocessing { mean, std, ..measured },
            None => measured,
        }
    }
}

impl From<PlanError> for RecipeError {
    fn from(PlanError { field, value, reason }: PlanError) -> Self {
        Self::Value { field, value, reason }
    }
}

/// Replaces one value of the tree.
fn apply(tree: &mut Value, given: &str) -> Result<(), RecipeError> {
    let refuse = |reason: &str| RecipeError::Override { given: given.to_owned(), reason: reason.to_owned() };
    let (key, text) = given.split_once('=').ok_or_else(|| refuse("has no `=`"))?;
    let value: Value = serde_yaml::from_str(text).map_err(|error| refuse(&format!("is not YAML: {error}")))?;
    let mut at = tree;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        at = match at {
            Value::Mapping(map) if last || map.contains_key(part) => {
                map.entry(Value::String(part.to_owned())).or_insert(Value::Null)
            }
            Value::Sequence(list) => {
                let index: Option<usize> = part.parse().ok();
                index
                    .and_then(|index| list.get_mut(index))
                    .ok_or_else(|| refuse(&format!("names no element `{part}`")))?
            }
            _ => return Err(refuse(&format!("names no field `{part}`"))),
        };
    }
    *at = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(name)
    }

    #[test]
    fn every_shipped_recipe_is_a_plan_for_its_space() {
        let folder = shipped("");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let recipe = Recipe::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
            SearchSpace::builtin(&recipe.space).unwrap();
            let phases = recipe.plan(Precision::Fp32).phases;
            // Channels are sorted once: by the recipe that first trained the widest alone, not by one that goes on.
            let sorts = phases.iter().find_map(|phase| phase.sort_channels);
            assert_eq!(sorts, recipe.weights.is_none().then_some(1), "{}", recipe.name);
            seen += 1;
        }
        assert!(seen >= 3);
    }

    #[test]
    fn overrides_reach_nested_values_and_name_what_is_wrong() {
        let load = |given: &str| Recipe::load(&shipped("mcu-cifar.yaml"), &[given.to_owned()]);
        assert_eq!(load("batch_size=64").unwrap().batch_size, 64);
        assert_eq!(load("phases.1.epochs=3").unwrap().phases[1].epochs, 3);
        for (given, word) in [
            ("batch_size", "no `=`"),
            ("phases.9.epochs=3", "no element `9`"),
            ("phase.0.epochs=3", "no field `phase`"),
            ("batchsize=64", "batchsize"),
            ("batch_size=0", "at least 1"),
            ("phases.0.learning_rate=-1", "above 0"),
            ("phases.0.distillation=1", "makes the teacher"),
            ("phases.1.teacher=largest", "needs with_largest"),
        ] {
            let error = load(given).unwrap_err().to_string();
            assert!(error.contains(word), "{given}: {error}");
        }
    }
}
