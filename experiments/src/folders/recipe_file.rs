//! A training run as one YAML file: which space, which images, which phases.
//!
//! Anything left out takes the value documented on its field. `--set key=value` replaces a value before checking; keys
//! of nested values are joined by dots, phases are counted from 0 (`phases.0.epochs=3`).

use std::num::NonZeroU64;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};
use storage::failure::Setting;
use storage::file::{FileError, read_text};
use supernet::data::{Augmentation, ClassWeights, ImageSampling, MAX_SIZE, check_normalisation};
use supernet::train::{
    Attentive, Choices, Distillation, Divergence, EarlyBird, LearningRate, PlanError, Precision, Preparation,
    RandomSubnets, Sampling, ShrinkingPhase, Subnets, Teacher, check_calibration,
};
use tch::Device;

use crate::folders::recipe_error::RecipeError;
use crate::folders::supernet_file::StoredAs;

/// A recipe as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    /// `ofa.recipe/1`.
    pub schema: String,
    /// Name of the bundle that comes out.
    pub name: String,
    /// A built-in space, or the path of one.
    pub space: String,
    /// Where the images are (`DATA` of the command line); `--data` replaces it.
    #[serde(default)]
    pub data: Option<String>,
    /// Names of the classes, in the order of the outputs: that of the data when left out.
    #[serde(default)]
    pub class_names: Option<Vec<String>>,
    /// Height and width that images are brought to: the shorter side is resized, the centre cropped. When left out, all
    /// must be squares of one size.
    #[serde(default, skip_serializing_if = "is_default")]
    pub image_size: Option<usize>,
    /// Training images kept apart for all decisions; a tenth, at most 5,000, when left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held_out: Option<usize>,
    /// A bundle whose weights the run begins with, by name or path; fresh ones when left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weights: Option<String>,
    /// A bundle whose weights but for the classifier the run begins with, by name or path: transfer to images of other
    /// classes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub init: Option<String>,
    /// Layers that stay as the weights have them: of these names, or with these names before a dot (`stem`, `stages.0`,
    /// `stages.0.1`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub freeze: Vec<String>,
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
    /// How much an image counts in the loss against labels: `none` (the default) all alike, `balanced` by one over the number of
    /// training images of its class, with mean 1.
    #[serde(default, skip_serializing_if = "is_default")]
    pub class_weights: ClassWeights,
    /// Which images an epoch goes through: `uniform` (the default) each once, `balanced` as many of every class.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sampling: ImageSampling,
    /// Whether batch norm goes by the batches of all processes that train together, where these are several.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sync_batch_norm: bool,
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
    pub stored: StoredAs,
    /// Phases in order.
    pub phases: Vec<PhaseRecipe>,
}

/// Number format of feature maps while training, or whichever is faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PrecisionChoice {
    /// bfloat16 on a GPU, float32 on the CPU.
    #[default]
    Auto,
    /// float32.
    Fp32,
    /// bfloat16; weights, optimiser, batch-norm statistics and losses stay float32.
    Bf16,
}

impl From<Precision> for PrecisionChoice {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Fp32 => PrecisionChoice::Fp32,
            Precision::Bf16 => PrecisionChoice::Bf16,
        }
    }
}

impl PrecisionChoice {
    /// The number format that it means on `device`.
    pub(crate) fn on(self, device: Device) -> Precision {
        match self {
            PrecisionChoice::Fp32 => Precision::Fp32,
            PrecisionChoice::Bf16 => Precision::Bf16,
            PrecisionChoice::Auto if device.is_cuda() => Precision::Bf16,
            PrecisionChoice::Auto => Precision::Fp32,
        }
    }
}

/// Per-channel constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Normalisation {
    /// Subtracted.
    pub mean: [f64; 3],
    /// Divided by.
    pub std: [f64; 3],
}

/// How many training images calibrate a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Calibration {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Levels {
    /// This many.
    Count(usize),
    /// All of them.
    All(All),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum All {
    /// Every choice.
    All,
}

impl Levels {
    /// As a number; [`usize::MAX`] for all.
    pub(crate) fn count(self) -> usize {
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PhaseRecipe {
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
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

fn default_momentum() -> f64 {
    0.9
}

fn one() -> f64 {
    1.0
}

impl Recipe {
    /// Reads a recipe, after replacing what `overrides` (`key=value`) names. Whether it is a plan that can be run,
    /// [`crate::training::plan`] says.
    ///
    /// # Errors
    /// An unreadable or malformed file, an unknown key, phases whose learning rates contradict each other.
    pub(crate) fn load(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let text = read_text(path, "YAML").map_err(|error| match error {
            FileError::NotFound { path } => {
                RecipeError::Unreadable { path, reason: "there is no such file".to_owned() }
            }
            other => RecipeError::File(other),
        })?;
        let syntax = |error: serde_yaml::Error| FileError::malformed(path, "YAML", error.to_string());
        // Straight from the text first: the parser then knows line and column of a mistake.
        let mut recipe: Recipe = serde_yaml::from_str(&text).map_err(syntax)?;
        if !overrides.is_empty() {
            recipe = replaced(&text, overrides, syntax)?;
        }
        recipe.check().map_err(|error| error.within(path))?;
        Ok(recipe)
    }

    fn check(&self) -> Result<(), RecipeError> {
        let wrong =
            |field: &str, value: String, reason| Err(RecipeError::Value { field: field.to_owned(), value, reason });
        if self.schema != "ofa.recipe/1" {
            return wrong("schema", format!("`{}`", self.schema), "but must be `ofa.recipe/1`");
        }
        let is_path = |name: &str| name.contains(['/', '\\']) || name.chars().all(|char| char == '.');
        if is_path(&self.name) || self.name.contains(char::is_control) {
            return wrong("name", format!("{:?}", self.name), "but must be a plain name");
        }
        if let Some(size) = self.image_size.filter(|size| !(1..=MAX_SIZE).contains(size)) {
            return wrong("image_size", size.to_string(), "but must be 1 to 4096");
        }
        if let (Some(init), Some(_)) = (&self.init, &self.weights) {
            return wrong(
                "init",
                format!("`{init}`"),
                "but `weights` says what the run begins with; leave out one of the two",
            );
        }
        if let (Some(layer), None, None) = (self.freeze.first(), &self.init, &self.weights) {
            return wrong("freeze", format!("`{layer}`"), "but fresh weights must learn; it needs `init` or `weights`");
        }
        if self.init.is_some() && self.freeze.iter().any(|layer| layer == "classifier") {
            return wrong("freeze", "`classifier`".into(), "but `init` begins with a new one, which must learn");
        }
        let names = self.class_names.iter().flatten();
        if let Some(twice) = names.clone().enumerate().find(|(at, name)| names.clone().take(*at).any(|n| n == *name)) {
            return wrong("class_names", format!("`{}` twice", twice.1), "but must be different names");
        }
        if let Some(Normalisation { mean, std }) = &self.normalisation {
            check_normalisation(mean, std).map_err(|reason| RecipeError::Normalisation { reason })?;
        }
        check_calibration(self.calibration_size())?;
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
        Ok(())
    }

    /// Batches of training images that calibrate a subnet, and images in each.
    pub(crate) fn calibration_size(&self) -> (usize, usize) {
        (self.calibration.batches, self.calibration.batch_size)
    }
}

impl PhaseRecipe {
    /// The phase that it describes, where earlier ones trained the `trained_expands` largest expand ratios. What the
    /// phase has no use for is left out: see [`PhaseRecipe::check_all_is_used`].
    pub(crate) fn planned(&self, trained_expands: usize) -> ShrinkingPhase {
        let own = |peak| LearningRate::Own { peak, warm_up_epochs: self.warm_up_epochs };
        let sort = self.sort_channels.then_some(Preparation::SortChannels { trained_expands });
        let random = |count| RandomSubnets { count, sampling: self.sampling, attentive: self.attentive };
        let (weight, teacher, divergence) = (self.distillation, self.teacher, self.divergence);
        ShrinkingPhase {
            name: self.name.clone(),
            epochs: self.epochs,
            early_bird: self.early_bird,
            learning_rate: self.learning_rate.map_or(LearningRate::Continues, own),
            preparation: if self.grow { Some(Preparation::Grow) } else { sort },
            choices: Choices {
                resolutions: self.resolutions.clone(),
                kernels: self.kernels.count(),
                depths: self.depths.count(),
                expands: self.expands.count(),
            },
            subnets: Subnets {
                largest: self.with_largest,
                smallest: self.with_smallest,
                random: NonZeroU64::new(self.random_subnets).map(random),
            },
            label_loss: self.label_loss,
            distillation: (weight != 0.0).then_some(Distillation { weight, teacher, divergence }),
            sum_losses: self.sum_losses,
            ramp_epochs: self.ramp_epochs,
        }
    }

    /// Whether the phase that comes of it has a use for every setting.
    ///
    /// # Errors
    /// The first setting that it has no use for.
    pub(crate) fn check_all_is_used(&self) -> Result<(), PlanError> {
        let (taught, draws) = (self.distillation != 0.0, self.random_subnets > 0);
        let require = |is_used: bool, field: &str, value: &str, reason| {
            let error = || PlanError { field: field.to_owned(), value: value.to_owned(), reason };
            if is_used { Ok(()) } else { Err(error()) }
        };
        let is_taught = self.teacher == Teacher::FirstPhase || taught;
        require(is_taught, "teacher", "largest", "which needs with_largest and distillation")?;
        let is_taught = self.divergence == Divergence::Kl || taught;
        require(is_taught, "divergence", "alpha", "which needs distillation")?;
        let is_drawn = self.attentive.is_none() || draws;
        require(is_drawn, "attentive", "set", "but there are no random subnets to choose")?;
        let is_drawn = self.sampling == Sampling::Uniform || draws;
        require(is_drawn, "sampling", "compound", "but there are no random subnets to draw")?;
        let reason = "but sort_channels would part the smallest subnet from what it trained";
        require(!(self.grow && self.sort_channels), "grow", "true", reason)
    }
}

/// What the YAML `text` holds, after replacing what `overrides` (`key=value`) names.
pub(crate) fn replaced<T: serde::de::DeserializeOwned>(
    text: &str,
    overrides: &[String],
    syntax: impl Fn(serde_yaml::Error) -> FileError,
) -> Result<T, RecipeError> {
    let mut value: Value = serde_yaml::from_str(text).map_err(syntax)?;
    for given in overrides {
        apply(&mut value, given)?;
    }
    serde_yaml::from_value(value).map_err(|error| RecipeError::Override {
        given: overrides.join(&format!(" {} ", Setting("set"))),
        reason: format!("does not give a recipe: {error}"),
    })
}

/// Replaces one value of the tree.
fn apply(tree: &mut Value, given: &str) -> Result<(), RecipeError> {
    let refuse = |reason: &str| RecipeError::Override { given: given.to_owned(), reason: reason.to_owned() };
    let (key, text) = given.split_once('=').ok_or_else(|| refuse("has no `=`"))?;
    let value: Value = serde_yaml::from_str(text).map_err(|error| refuse(&format!("is not YAML: {error}")))?;
    let mut at = tree;
    for part in key.split('.') {
        // What is left out has defaults, within which one value can be another; serde knows the fields there are.
        if at.is_null() {
            *at = Value::Mapping(Mapping::new());
        }
        at = match at {
            Value::Mapping(map) => map.entry(Value::String(part.to_owned())).or_insert(Value::Null),
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
