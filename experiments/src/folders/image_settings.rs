//! How a bundle's images are read, and how its recipe divided them: out of `preprocessing.json` and `recipe.yaml`.

use std::path::Path;

use search::space::SearchSpace;
use supernet::data::{Division, LoadOptions, Preprocessing, PreprocessingFile, TrainedOn};

use crate::error::Result;
use crate::folders::names;
use crate::folders::recipe_file::Recipe;

/// A bundle's images settings: how they are read, and how the recipe divided them.
#[derive(Clone, Debug)]
pub(crate) struct ImageSettings {
    /// How bytes become inputs.
    pub preprocessing: Preprocessing,
    /// Class names, in the order of the outputs; where there are none, labels are places.
    pub class_names: Vec<String>,
    /// Which images the weights were trained on; bundles of earlier versions do not say.
    pub trained_on: Option<TrainedOn>,
    /// Held-out images; a tenth where no recipe says.
    pub held_out: Option<usize>,
    /// Seed of the split and of calibration.
    pub seed: u64,
    /// Batches, and images in each.
    pub calibration: (usize, usize),
}

impl ImageSettings {
    /// From `preprocessing.json` and `recipe.yaml` of a bundle; a bundle without a recipe (imported) has the defaults
    /// of recipes.
    ///
    /// # Errors
    /// A missing or damaged `preprocessing.json`, a damaged recipe.
    pub(crate) fn of_bundle(folder: &Path) -> Result<Self> {
        let file = PreprocessingFile::read(&folder.join(names::PREPROCESSING))?;
        let recipe = folder.join(names::RECIPE);
        let (held_out, seed, calibration) = if recipe.exists() {
            let recipe = Recipe::load(&recipe, &[])?;
            (recipe.held_out, recipe.seed, recipe.calibration_size())
        } else {
            (None, 0, (10, 200))
        };
        let preprocessing = file.preprocessing();
        let PreprocessingFile { class_names, trained_on, .. } = file;
        // A recipe may have been changed since.
        let seed = trained_on.as_ref().map_or(seed, |images| images.seed);
        Ok(Self { preprocessing, class_names, trained_on, held_out, seed, calibration })
    }

    /// How its training images were divided.
    pub(crate) fn division(&self) -> Division {
        match &self.trained_on {
            // A recipe may have been changed since.
            Some(images) => Division {
                held_out: images.held_out.or(self.held_out),
                seed: images.seed,
                splits_test: images.splits_test,
            },
            None => Division { held_out: self.held_out, seed: self.seed, splits_test: false },
        }
    }

    /// What to load images with.
    pub(crate) fn options(&self, space: &SearchSpace) -> LoadOptions {
        options(&self.preprocessing, &self.class_names, space.classes() as usize)
    }
}

/// What to load images with for a network with so many outputs, whose classes have these names.
pub(crate) fn options(preprocessing: &Preprocessing, class_names: &[String], outputs: usize) -> LoadOptions {
    LoadOptions {
        image_size: Some(preprocessing.native_size),
        // Earlier versions wrote names of classes without images, too, beyond the outputs.
        class_names: Some(class_names.iter().take(outputs).cloned().collect()),
        classes: Some(outputs),
        exif_orientation: preprocessing.exif_orientation,
    }
}
