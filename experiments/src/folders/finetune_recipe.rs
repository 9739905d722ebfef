//! How a network is trained on, as one YAML file; anything left out takes the value documented on its field.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::file::{FileError, read_text};
use supernet::data::{Augmentation, ClassWeights, ImageSampling};
use supernet::optim::SgdSettings;
use supernet::train::{FineTuneSettings, Precision};
use tch::Device;

use crate::folders::recipe_error::RecipeError;
use crate::folders::recipe_file::{PrecisionChoice, is_default, replaced};

/// A recipe of fine-tuning as it stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FineTuneRecipe {
    /// `ofa.finetune/1`.
    pub schema: String,
    /// Passes over the training images.
    pub epochs: u64,
    /// Images per step.
    pub batch_size: usize,
    /// Number format of feature maps.
    pub precision: PrecisionChoice,
    /// Learning rate at its highest, from which half a cosine leads to zero.
    pub learning_rate: f64,
    /// Epochs in which it rises to that.
    pub warm_up_epochs: f64,
    /// μ of Nesterov momentum.
    pub momentum: f64,
    /// λ, on convolution and linear weights only.
    pub weight_decay: f64,
    /// Largest norm of the gradient; none for any.
    pub clip_gradient: Option<f64>,
    /// ε of label smoothing.
    pub label_smoothing: f64,
    /// How much an image counts in the loss against labels: `none` (the default) all alike, `balanced` by one over the number of
    /// training images of its class, with mean 1.
    #[serde(skip_serializing_if = "is_default")]
    pub class_weights: ClassWeights,
    /// Which images an epoch goes through: `uniform` (the default) each once, `balanced` as many of every class.
    #[serde(skip_serializing_if = "is_default")]
    pub sampling: ImageSampling,
    /// What is done to training images.
    pub augmentation: Augmentation,
    /// What an average of the weights keeps of itself at each step; none for no average.
    pub average: Option<f64>,
    /// Whether it is trained for int8: weights and feature maps are rounded on the way, in float32.
    pub int8: bool,
    /// Layers that stay as they are: of these names, or with these names before a dot.
    pub freeze: Vec<String>,
    /// Weight of the loss against the labels.
    pub label_loss: f64,
    /// Weight of the loss against a teacher, where one is given.
    pub distillation: f64,
    /// Training images kept apart for all decisions; a tenth, at most 5,000, when left out. Where the network was trained
    /// on the same images, the parts are as they were.
    pub held_out: Option<usize>,
    /// Seed of everything.
    pub seed: u64,
}

const SCHEMA: &str = "ofa.finetune/1";

impl Default for FineTuneRecipe {
    fn default() -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            epochs: 10,
            batch_size: 128,
            precision: PrecisionChoice::Auto,
            learning_rate: 0.01,
            warm_up_epochs: 0.0,
            momentum: 0.9,
            weight_decay: 1e-4,
            clip_gradient: None,
            label_smoothing: 0.0,
            class_weights: ClassWeights::None,
            sampling: ImageSampling::Uniform,
            augmentation: Augmentation::default(),
            average: None,
            int8: false,
            freeze: Vec::new(),
            label_loss: 1.0,
            distillation: 1.0,
            held_out: None,
            seed: 0,
        }
    }
}

impl FineTuneRecipe {
    /// Reads the file at `path`, or takes what is usual, and replaces what `overrides` (`key=value`) names.
    ///
    /// # Errors
    /// A missing or damaged file, an unknown field, a value out of range.
    pub(crate) fn load(path: Option<&Path>, overrides: &[String]) -> Result<Self, RecipeError> {
        let text = match path {
            Some(path) => read_text(path, "YAML")?,
            None => serde_yaml::to_string(&Self::default()).expect("plain data"),
        };
        let named = path.unwrap_or(Path::new("the usual recipe"));
        let syntax = |error: serde_yaml::Error| FileError::malformed(named, "YAML", error.to_string());
        let recipe: Self = serde_yaml::from_str(&text).map_err(syntax)?;
        let recipe = if overrides.is_empty() { recipe } else { replaced(&text, overrides, syntax)? };
        recipe.check().map_err(|error| match path {
            Some(path) => error.within(path),
            None => error,
        })?;
        Ok(recipe)
    }

    fn check(&self) -> Result<(), RecipeError> {
        let within = |field: &str, value: f64, range: std::ops::RangeInclusive<f64>, reason| {
            if range.contains(&value) {
                return Ok(());
            }
            Err(RecipeError::Value { field: field.to_owned(), value: value.to_string(), reason })
        };
        if self.schema != SCHEMA {
            let value = format!("`{}`", self.schema);
            return Err(RecipeError::Value { field: "schema".into(), value, reason: "but must be `ofa.finetune/1`" });
        }
        within("epochs", self.epochs as f64, 0.0..=65_536.0, "but must be 0 to 65536")?;
        within("batch_size", self.batch_size as f64, 1.0..=1e6, "but must be 1 to 1000000")?;
        within("learning_rate", self.learning_rate, 1e-12..=100.0, "but must be above 0 and at most 100")?;
        within("warm_up_epochs", self.warm_up_epochs, 0.0..=self.epochs as f64, "but must be 0 to the epochs")?;
        within("momentum", self.momentum, 0.0..=0.9999, "but must be 0 to 0.9999")?;
        within("weight_decay", self.weight_decay, 0.0..=1.0, "but must be 0 to 1")?;
        within("label_smoothing", self.label_smoothing, 0.0..=0.9999, "but must be 0 to 0.9999")?;
        within("label_loss", self.label_loss, 0.0..=1000.0, "but must be 0 to 1000")?;
        within("distillation", self.distillation, 0.0..=1000.0, "but must be 0 to 1000")?;
        if self.class_weights == ClassWeights::Balanced {
            let wrong =
                |reason| Err(RecipeError::Value { field: "class_weights".into(), value: "balanced".into(), reason });
            if self.sampling == ImageSampling::Balanced {
                return wrong("but sampling is balanced, too, which would make up for the same twice");
            }
            if self.label_loss == 0.0 {
                return wrong("but label_loss is 0, so that labels have no part in it");
            }
        }
        if self.int8 && self.precision == PrecisionChoice::Bf16 {
            let reason = "but int8 is trained for in fp32";
            return Err(RecipeError::Value { field: "precision".into(), value: "bf16".into(), reason });
        }
        self.clip_gradient.map_or(Ok(()), |norm| within("clip_gradient", norm, 1e-9..=1e9, "but must be above 0"))?;
        self.average.map_or(Ok(()), |kept| within("average", kept, 0.0..=0.999_999, "but must be 0 to 0.999999"))
    }

    /// Number format of feature maps on `device`.
    pub(crate) fn precision(&self, device: Device) -> Precision {
        if self.int8 { Precision::Fp32 } else { self.precision.on(device) }
    }

    /// What a checkpoint belongs to on `device`, where the number format may be another than elsewhere.
    pub(crate) fn identity(&self, device: Device) -> String {
        let precision = PrecisionChoice::from(self.precision(device));
        serde_yaml::to_string(&Self { precision, ..self.clone() }).expect("plain data")
    }

    /// For the trainer, on `device`.
    pub(crate) fn settings(&self, device: Device) -> FineTuneSettings {
        let (momentum, weight_decay, clip_gradient) = (self.momentum, self.weight_decay, self.clip_gradient);
        FineTuneSettings {
            epochs: self.epochs,
            steps: None,
            batch_size: self.batch_size,
            precision: self.precision(device),
            learning_rate: self.learning_rate,
            warm_up_epochs: self.warm_up_epochs,
            sgd: SgdSettings { momentum, weight_decay, clip_gradient },
            label_smoothing: self.label_smoothing,
            class_weights: self.class_weights,
            sampling: self.sampling,
            augmentation: self.augmentation.clone(),
            average: self.average,
            rounding: None,
            frozen: self.freeze.clone(),
            losses: (self.label_loss, self.distillation),
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_balanced_in_one_way_alone() {
        let load = |overrides: &[&str]| {
            FineTuneRecipe::load(None, &overrides.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
        };
        let recipe = load(&["class_weights=balanced"]).unwrap();
        assert_eq!(recipe.settings(Device::Cpu).class_weights, ClassWeights::Balanced);
        assert_eq!(load(&["sampling=balanced"]).unwrap().settings(Device::Cpu).sampling, ImageSampling::Balanced);
        for (wrong, word) in [("sampling=balanced", "twice"), ("label_loss=0", "labels have no part")] {
            let error = load(&["class_weights=balanced", wrong]).unwrap_err().to_string();
            assert!(error.contains("`class_weights` is balanced") && error.contains(word), "{error}");
        }
        // Runs of earlier versions are known by their text.
        let text = load(&[]).unwrap().identity(Device::Cpu);
        assert!(!text.contains("class_weights") && !text.contains("sampling"), "{text}");
    }

    #[test]
    fn what_is_left_out_is_usual_and_what_is_wrong_is_named() {
        let load = |overrides: &[&str]| {
            FineTuneRecipe::load(None, &overrides.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
        };
        let recipe = load(&["epochs=3", "freeze=[stem]", "augmentation.flip=false"]).unwrap();
        assert_eq!((recipe.epochs, &recipe.freeze[..], recipe.augmentation.flip), (3, &["stem".to_owned()][..], false));
        assert_eq!(load(&[]).unwrap(), FineTuneRecipe::default());
        for (wrong, words) in [
            ("epochs=-1", "epochs"),
            ("epoch=1", "epoch"),
            ("learning_rate=0", "`learning_rate` is 0"),
            ("learning_rate=.nan", "`learning_rate` is NaN"),
            ("momentum=1", "`momentum` is 1"),
            ("average=1", "`average` is 1"),
            ("int8=maybe", "int8"),
            ("class_weights=some", "class_weights"),
            ("schema=ofa.recipe/1", "ofa.finetune/1"),
        ] {
            let error = load(&[wrong]).unwrap_err().to_string();
            assert!(error.contains(words), "{wrong}: {error}");
        }
    }
}
