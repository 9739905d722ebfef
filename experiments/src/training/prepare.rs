//! What a training run is made of, read and checked before anything is computed or written.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use search::space::SearchSpace;
use supernet::data::{
    DataSource, Divided, Division, ExifOrientation, ImageSet, LoadOptions, Loaded, Preprocessing, TrainedOn,
};
use supernet::supernet::Supernet;
use supernet::train::{Precision, TrainPlan};
use tch::Device;

use crate::error::{Error, Result, Within};
use crate::folders::bundle::Bundle;
use crate::folders::digest::{Fnv1a, fnv1a};
use crate::folders::recipe_file::Recipe;
use crate::folders::supernet_file::load_supernet;
use crate::torch::{MeasuredPart, Progress};
use crate::training::energy::settings::EnergySettings;
use crate::training::plan;
use crate::training::test_part::{TestPart, test_part};

/// What to train and where to keep it.
#[derive(Clone, Debug)]
pub(crate) struct TrainJob {
    /// The checked recipe.
    pub recipe: Recipe,
    /// Its space.
    pub space: SearchSpace,
    /// Where the images are.
    pub data: DataSource,
    /// Run folder.
    pub out: PathBuf,
    /// Go on from the newest checkpoint there.
    pub resume: bool,
    /// Where to compute.
    pub device: Device,
    /// Longest time between two checkpoints.
    pub save_every: Duration,
    /// Epochs between two measurements on held-out images; the last epoch of a phase is measured in any case.
    pub measure_every: u64,
    /// What to take for granted about energy.
    pub energy: EnergySettings,
    /// Commit of the source that the program was built from.
    pub revision: &'static str,
}

/// What a run is made of, read and checked.
pub(super) struct Prepared {
    pub(super) recipe: Recipe,
    pub(super) space: SearchSpace,
    pub(super) train: Arc<ImageSet>,
    pub(super) held_out: ImageSet,
    pub(super) test: ImageSet,
    pub(super) test_part: MeasuredPart,
    pub(super) trained_on: TrainedOn,
    pub(super) preprocessing: Preprocessing,
    pub(super) precision: Precision,
    pub(super) plan: TrainPlan,
    /// What a checkpoint belongs to.
    pub(super) identity: String,
    /// Weights that it begins with.
    pub(super) start: Option<Box<Supernet>>,
}

/// Reads and checks all that a run is made of, before there is a folder that a refused one would leave behind.
///
/// # Errors
/// Images, weights or recipe that cannot be read or do not fit.
pub(super) fn prepare(job: &TrainJob, progress: &mut dyn Progress) -> Result<Prepared> {
    let TrainJob { recipe, space, .. } = job;
    let options = LoadOptions {
        // Weights that exist have their outputs; otherwise the space's follow the images.
        classes: recipe.weights.as_ref().map(|_| space.classes() as usize),
        class_names: recipe.class_names.clone(),
        image_size: recipe.image_size,
        exif_orientation: ExifOrientation::Applied,
    };
    let Images { train: train_set, held_out, test, test_part, trained_on } = images(job, &options, progress)?;
    let space = &following(space, &train_set, progress);
    let recipe = &Recipe { held_out: Some(held_out.len()), ..recipe.clone() };
    let preprocessing = plan::preprocessing(recipe, &train_set)?;
    let train_set = Arc::new(train_set);
    let precision = recipe.precision.on(job.device);
    let mut identity = format!("{}---\ndata: {:016x}\n", plan::identity(recipe, space), fingerprint(&train_set)?);
    if precision != Precision::Fp32 {
        identity.push_str("precision: bf16\n");
    }
    let start = match (&recipe.weights, &recipe.init) {
        (Some(name), _) => {
            let bundle = Bundle::find(name)?;
            let weights = load_supernet(bundle.folder(), space, job.device)?;
            identity.push_str(&format!("weights: {:016x}\n", fingerprint_of_weights(&weights)));
            Some(Box::new(weights))
        }
        (None, Some(name)) => {
            let bundle = Bundle::find(name)?;
            let theirs = load_supernet(bundle.folder(), &bundle.space()?, job.device)?;
            identity.push_str(&format!("init: {:016x}\n", fingerprint_of_weights(&theirs)));
            progress.note(&format!("begins with the weights of bundle {}, but for a new classifier", bundle.name()));
            let weights = Supernet::transferred(space, theirs.tensors(), recipe.seed, job.device);
            Some(Box::new(weights.within(|| format!("weights of bundle {} in space {}", bundle.name(), space.id()))?))
        }
        (None, None) => None,
    };
    recipe.augmentation.check(train_set.size())?;
    let plan = plan::plan(recipe, precision)?;
    plan.check_space(space)?;
    let (recipe, space, train) = (recipe.clone(), space.clone(), train_set);
    Ok(Prepared {
        recipe,
        space,
        train,
        held_out,
        test,
        test_part,
        trained_on,
        preprocessing,
        precision,
        plan,
        identity,
        start,
    })
}

/// The images of a run, all read before its first step.
struct Images {
    train: ImageSet,
    held_out: ImageSet,
    test: ImageSet,
    test_part: MeasuredPart,
    trained_on: TrainedOn,
}

/// Reads and divides the images; where the source has no test part, a tenth of them becomes one.
fn images(job: &TrainJob, options: &LoadOptions, progress: &mut dyn Progress) -> Result<Images> {
    let TrainJob { recipe, data, .. } = job;
    let Loaded { images: all, notes } = data.train(options)?;
    notes.iter().for_each(|note| progress.note(note));
    let (splits_test, count, seed) = (!data.has_test_part()?, all.len(), recipe.seed);
    let trained_on = TrainedOn::new(&all, splits_test, seed)?;
    let Divided { train, held_out, test } = Division { held_out: recipe.held_out, seed, splits_test }.divide(all)?;
    let counts = train.histogram();
    let mut seen = train.class_names().iter().zip(&counts).filter(|(_, count)| **count > 0);
    if let (Some((class, _)), None) = (seen.next(), seen.next()) {
        return Err(Error::OneClass { data: data.to_string(), class: class.clone() });
    }
    if let Some(note) = untrained(&train) {
        progress.note(&note);
    }
    let (test, test_part) = match test {
        Some(test) => {
            let part = format!("{} of its {count} images, chosen by seed {seed}", test.len());
            progress.note(&format!("{data} has no test part: {part}, become one"));
            (test, MeasuredPart::Test)
        }
        None => {
            let (size, names) = (train.size(), train.class_names().to_vec());
            let options = LoadOptions { image_size: Some(size), class_names: Some(names), ..options.clone() };
            let TestPart { images, part, notes } = test_part(data, &options, Some(&trained_on))?;
            notes.iter().for_each(|note| progress.note(note));
            (images, part)
        }
    };
    let trained_on = TrainedOn { held_out: Some(held_out.len()), ..trained_on };
    Ok(Images { train, held_out, test, test_part, trained_on })
}

/// `space` with as many classes as there are images of.
fn following(space: &SearchSpace, images: &ImageSet, progress: &mut dyn Progress) -> SearchSpace {
    let (own, classes) = (space.classes(), images.class_names().len() as u32);
    if own != classes {
        let name = space.id();
        progress.note(&format!("space {name} has {own} classes; here it has the {classes} of the images"));
    }
    space.with_classes(classes)
}

/// Which outputs no image trains, in words.
fn untrained(train: &ImageSet) -> Option<String> {
    let counts = train.histogram();
    let empty: Vec<&str> =
        train.class_names().iter().zip(&counts).filter(|(_, count)| **count == 0).map(|(name, _)| &**name).collect();
    (!empty.is_empty()).then(|| {
        let (outputs, names) = (counts.len(), empty.join(", "));
        format!("{} of the {outputs} outputs have no training image and stay untrained: {names}", empty.len())
    })
}

/// Over the bits of all weights in order.
fn fingerprint_of_weights(supernet: &Supernet) -> u64 {
    let words = supernet.tensors().into_values().flat_map(|tensor| {
        let values = Vec::<f32>::try_from(tensor.to_device(Device::Cpu).flatten(0, -1)).expect("float32 values");
        values.into_iter().map(|value| u64::from(value.to_bits()))
    });
    fnv1a(words)
}

/// Over labels and pixels: enough to notice that a run goes on with other images.
fn fingerprint(set: &ImageSet) -> Result<u64> {
    let mut hash = Fnv1a::default();
    set.labels().iter().for_each(|label| hash.add(*label as u64));
    // Words go across images.
    let (mut word, mut filled) = ([0; 8], 0);
    set.each_image(|image| {
        for byte in image {
            word[filled] = *byte;
            filled += 1;
            if filled == word.len() {
                hash.add(u64::from_le_bytes(word));
                (word, filled) = ([0; 8], 0);
            }
        }
    })?;
    if filled > 0 {
        hash.add(u64::from_le_bytes(word));
    }
    Ok(hash.finish())
}
