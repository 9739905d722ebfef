//! `ofa eval`: the true accuracy of subnets on real images.

use std::path::Path;

use anyhow::Result;
use search::arch::ArchSpec;
use search::space::SearchSpace;
use supernet::data::{DataSource, ImageSet, LoadOptions, Preprocessing, PreprocessingFile};
use supernet::evaluate::Accuracy;
use supernet::supernet::Supernet;
use tch::Device;

use crate::calibration_images;
use crate::measure::{CalibrationImages, Exam, measure_each};
use crate::recipe::Recipe;
use crate::weights::{Extracted, load_supernet};

/// Which images are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// The test set: for final reports.
    #[default]
    Test,
    /// The part of the training set that the bundle's recipe kept apart: for decisions.
    HeldOut,
}

/// Where the statistics of a supernet's subnets come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CalibrationSource {
    /// Training images of the given data.
    #[default]
    Data,
    /// The images that come with the bundle.
    Bundle,
}

/// A bundle's images settings: how they are read, and how the recipe divided them.
#[derive(Clone, Debug)]
pub struct ImageSettings {
    /// How bytes become inputs.
    pub preprocessing: Preprocessing,
    /// Class names, in the order of the outputs; empty = those of the data.
    pub class_names: Vec<String>,
    /// Held-out images.
    pub held_out: usize,
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
    pub fn of_bundle(folder: &Path) -> Result<Self> {
        let file = PreprocessingFile::read(&folder.join("preprocessing.json"))?;
        let recipe = folder.join("recipe.yaml");
        let (held_out, seed, calibration) = if recipe.exists() {
            let recipe = Recipe::load(&recipe, &[])?;
            (recipe.held_out, recipe.seed, recipe.calibration_size())
        } else {
            (5000, 0, (10, 200))
        };
        Ok(Self { preprocessing: file.preprocessing(), class_names: file.class_names, held_out, seed, calibration })
    }

    /// What to load images with.
    pub fn options(&self, space: &SearchSpace) -> LoadOptions {
        LoadOptions {
            image_size: Some(self.preprocessing.native_size),
            class_names: None,
            classes: Some(space.classes() as usize),
        }
    }

    /// Training images without the held-out part, and the held-out part.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn training(&self, data: &DataSource, space: &SearchSpace) -> Result<(ImageSet, ImageSet)> {
        Ok(data.training(&self.options(space), Some(self.held_out), self.seed)?)
    }

    /// Calibration images from the training part of `data`.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn calibration_from(&self, train: &ImageSet, resolutions: &[u32], device: Device) -> Result<CalibrationImages> {
        let Self { preprocessing, calibration, seed, .. } = self;
        Ok(CalibrationImages::from_set(train, preprocessing, *calibration, resolutions, *seed, device)?)
    }
}

/// Measures subnets of the bundle in `folder`, each calibrated first.
///
/// # Errors
/// A damaged bundle or images that cannot be read.
pub fn eval_bundle(
    folder: &Path,
    space: &SearchSpace,
    archs: &[ArchSpec],
    data: &DataSource,
    part: Part,
    source: CalibrationSource,
    device: Device,
) -> Result<Vec<Accuracy>> {
    let supernet: Supernet = load_supernet(folder, space, device)?;
    let settings = ImageSettings::of_bundle(folder)?;
    let mut resolutions: Vec<u32> = archs.iter().map(ArchSpec::resolution).collect();
    resolutions.sort_unstable();
    resolutions.dedup();
    let needs_training = part == Part::HeldOut || source == CalibrationSource::Data;
    let training = needs_training.then(|| settings.training(data, space)).transpose()?;
    let calibration = match (&training, source) {
        (Some((train, _)), CalibrationSource::Data) => settings.calibration_from(train, &resolutions, device)?,
        _ => calibration_images::load(folder, &settings.preprocessing, &resolutions, device)?,
    };
    let set = match (training, part) {
        (Some((_, held_out)), Part::HeldOut) => held_out,
        _ => data.test(&settings.options(space))?,
    };
    let exam = Exam::new(&set, &settings.preprocessing, &resolutions, device)?;
    let mut accuracies = Vec::with_capacity(archs.len());
    measure_each(&supernet, archs, &calibration, &exam, &mut |_, measured| {
        accuracies.push(measured.accuracy);
        true
    });
    Ok(accuracies)
}

/// Measures an extracted network with the statistics that it carries.
///
/// # Errors
/// A damaged folder or images that cannot be read.
pub fn eval_extracted(folder: &Path, data: &DataSource, device: Device) -> Result<Accuracy> {
    let extracted = Extracted::read(folder, device)?;
    let Some(file) = &extracted.preprocessing else {
        anyhow::bail!(crate::error::AppError::FileInFolder {
            path: folder.join("preprocessing.json"),
            reason: "is missing, so nothing says how images become this network's input".into(),
        });
    };
    let preprocessing = file.preprocessing();
    let options = LoadOptions {
        image_size: Some(preprocessing.native_size),
        class_names: None,
        classes: Some(extracted.space.classes() as usize),
    };
    let exam = Exam::new(&data.test(&options)?, &preprocessing, &[extracted.arch.resolution()], device)?;
    Ok(exam.sit(extracted.network.subnet(), extracted.network.statistics()))
}
