//! From a recipe to the run it describes, checked before anything is computed.

use std::path::Path;

use search::space::SearchSpace;
use supernet::data::{DataError, ExifOrientation, ImageSet, Interpolation, Preprocessing};
use supernet::error::SupernetError;
use supernet::optim::SgdSettings;
use supernet::train::{PlanError, Precision, TrainPlan, TrainSettings};

use crate::folders::recipe_error::RecipeError;
use crate::folders::recipe_file::{Normalisation, Recipe};

/// Reads a recipe, after replacing what `overrides` (`key=value`) names, and checks that its plan can be run.
///
/// # Errors
/// As [`Recipe::load`]; a value out of range.
pub(crate) fn load(path: &Path, overrides: &[String]) -> Result<Recipe, RecipeError> {
    let recipe = Recipe::load(path, overrides)?;
    plan(&recipe, Precision::Fp32).map_err(|error| RecipeError::from(error).within(path))?;
    Ok(recipe)
}

/// The run that this recipe describes, feature maps in `precision`.
///
/// # Errors
/// The first value that is out of range, impossible together with the others, or of no use without them.
pub(crate) fn plan(recipe: &Recipe, precision: Precision) -> Result<TrainPlan, PlanError> {
    let mut trained_expands = 1;
    let phases = recipe.phases.iter().map(|phase| {
        let before = trained_expands;
        trained_expands = trained_expands.max(phase.expands.count());
        phase.planned(before)
    });
    let settings = TrainSettings {
        seed: recipe.seed,
        batch_size: recipe.batch_size,
        precision,
        sgd: SgdSettings {
            momentum: recipe.momentum,
            weight_decay: recipe.weight_decay,
            clip_gradient: recipe.clip_gradient,
        },
        zero_init_residual: recipe.zero_init_residual,
        kernel_transforms: recipe.kernel_transforms,
        average: recipe.average,
        label_smoothing: recipe.label_smoothing,
        class_weights: recipe.class_weights,
        sampling: recipe.sampling,
        sync_batch_norm: recipe.sync_batch_norm,
        augmentation: recipe.augmentation.clone(),
        calibration: recipe.calibration_size(),
        frozen: recipe.freeze.clone(),
    };
    let plan = TrainPlan::new(settings, phases.collect())?;
    for (index, phase) in recipe.phases.iter().enumerate() {
        phase.check_all_is_used().map_err(|error| error.in_phase(index))?;
    }
    Ok(plan)
}

/// Whether the plan of `recipe` can be run in `space`.
///
/// # Errors
/// As [`TrainPlan::check_space`].
pub(crate) fn check_space(recipe: &Recipe, space: &SearchSpace) -> Result<(), SupernetError> {
    plan(recipe, Precision::Fp32)?.check_space(space)
}

/// What a checkpoint belongs to: the recipe without the places of its data and weights, and the space.
pub(crate) fn identity(recipe: &Recipe, space: &SearchSpace) -> String {
    format!("{}---\n{}", recipe_text(recipe), space.to_yaml())
}

/// The recipe without the places of its data and weights.
pub(crate) fn recipe_text(recipe: &Recipe) -> String {
    // Where weights lie says nothing about what they are.
    let placeless = |place: &Option<String>| place.as_ref().map(|_| String::new());
    let (weights, init) = (placeless(&recipe.weights), placeless(&recipe.init));
    let placeless = Recipe { data: None, weights, init, ..recipe.clone() };
    serde_yaml::to_string(&placeless).expect("plain data")
}

/// How images become inputs: by the constants that the recipe names, or else by those measured on `train`.
///
/// # Errors
/// An image whose file is not what it was when the set was read.
pub(crate) fn preprocessing(recipe: &Recipe, train: &ImageSet) -> Result<Preprocessing, DataError> {
    Ok(match recipe.normalisation {
        Some(Normalisation { mean, std }) => {
            let (interpolation, exif_orientation) = (Interpolation::default(), ExifOrientation::Applied);
            Preprocessing { native_size: train.size(), mean, std, interpolation, exif_orientation }
        }
        None => Preprocessing::measured(train)?,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use supernet::train::Preparation;

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
            let recipe = load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
            SearchSpace::builtin(&recipe.space).unwrap();
            let plan = plan(&recipe, Precision::Fp32).unwrap();
            // Channels are sorted once: by the recipe that first trained the widest alone, not by one that goes on.
            let first = plan.phases().iter().find_map(|phase| phase.preparation);
            let sorts = Preparation::SortChannels { trained_expands: 1 };
            assert_eq!(first, recipe.weights.is_none().then_some(sorts), "{}", recipe.name);
            seen += 1;
        }
        assert!(seen >= 3);
    }

    #[test]
    fn overrides_reach_nested_values_and_name_what_is_wrong() {
        let with = |given: &str| load(&shipped("mcu-cifar.yaml"), &[given.to_owned()]);
        assert_eq!(with("batch_size=64").unwrap().batch_size, 64);
        assert_eq!(with("phases.1.epochs=6").unwrap().phases[1].epochs, 6);
        // Fields that the recipe leaves out, too, with the defaults of those beside them.
        let early_bird = with("calibration.batches=7").unwrap().calibration;
        assert_eq!((early_bird.batches, early_bird.batch_size), (7, 200));
        for (given, word) in [
            ("batch_size", "no `=`"),
            ("phases.9.epochs=3", "no element `9`"),
            ("phase.0.epochs=3", "unknown field `phase`"),
            ("augmentation.flop=true", "unknown field `flop`"),
            ("name.first=x", "no field `first`"),
            ("batchsize=64", "batchsize"),
            ("batch_size=0", "but must be 1 to 65536"),
            ("calibration.batches=9223372036854775808", "must be at most 100,000 images in all"),
            ("calibration.batch_size=18446744073709551615", "must be at most 100,000 images in all"),
            ("phases.1.random_subnets=18446744073709551615", "must be at most 1000"),
            ("phases.0.epochs=18446744073709551615", "must be at most 1,000,000"),
            ("phases.0.kernels=0", "must be at least 1, or `all`"),
            ("normalisation.std=[-1, 1, 1]", "`std` holds -1"),
            ("normalisation.std=[.inf, 1, 1]", "`std` holds inf"),
            ("normalisation.mean=[.nan, 0, 0]", "`mean` holds NaN"),
            ("normalisation.mean=[123.7, 116.3, 103.5]", "divide constants for 0 to 255 by 255"),
            ("class_names=[cat, dog, cat]", "`cat` twice"),
            ("name=../../x", "plain name"),
            ("phases.0.learning_rate=-1", "above 0"),
            ("phases.0.distillation=1", "makes the teacher"),
            ("phases.1.with_largest=false", "needs with_largest"),
            ("phases.0.teacher=largest", "needs with_largest and distillation"),
            ("phases.0.divergence=alpha", "phases.0.divergence` is alpha, which needs distillation"),
            ("phases.0.sampling=compound", "phases.0.sampling` is compound, but there are no random subnets"),
            ("phases.0.attentive={candidates: 3, keep: best}", "phases.0.attentive` is set, but there are no random"),
        ] {
            let error = with(given).unwrap_err().to_string();
            assert!(error.contains(word), "{given}: {error}");
        }
    }

    #[test]
    fn growing_and_sorting_before_one_phase_is_refused() {
        let all = "epochs: 1, kernels: all, depths: all, expands: all, with_smallest: true";
        let text = |more: &str| {
            let head = "schema: ofa.recipe/1\nname: tiny\nspace: mcu-cifar\nbatch_size: 20\nphases:\n";
            let small = format!("  - {{ name: small, learning_rate: 0.1, {all} }}\n");
            format!("{head}{small}  - {{ name: all, continues: true, grow: true, {all}{more} }}\n")
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |more| {
            std::fs::write(file.path(), text(more)).unwrap();
            load(file.path(), &[])
        };
        let planned = plan(&with("").unwrap(), Precision::Fp32).unwrap();
        assert_eq!(planned.phases()[1].preparation, Some(Preparation::Grow));
        let error = with(", sort_channels: true").unwrap_err().to_string();
        assert!(error.contains("phases.1.grow` is true, but sort_channels would part"), "{error}");
    }
}
