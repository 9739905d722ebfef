//! What a training depends on, as digests: what a build compares before it trains again.

use std::path::Path;

use search::space::SearchSpace;
use storage::digest::Digester;
use supernet::data::{DataSource, ExifOrientation, ImageSet, LoadOptions};

use crate::error::{Error, Result};
use crate::folders::bundle::Bundle;
use crate::folders::spaces;
use crate::torch::TrainingInputs;
use crate::training::plan;

/// What training by the recipe at `path` depends on; `overrides` replace values of it, `data` stands in for its images.
///
/// # Errors
/// A recipe, a space or images that cannot be read.
pub(crate) fn training_inputs(path: &Path, overrides: &[String], data: Option<&DataSource>) -> Result<TrainingInputs> {
    let recipe = plan::load(path, overrides)?;
    let space = spaces::find_beside(path, &recipe.space)?;
    let data = match (data, &recipe.data) {
        (Some(data), _) => data.clone(),
        (None, Some(words)) => words.parse()?,
        (None, None) => return Err(Error::NoData { recipe: path.to_path_buf() }),
    };
    let options = LoadOptions {
        classes: recipe.weights.as_ref().map(|_| space.classes() as usize),
        class_names: recipe.class_names.clone(),
        image_size: recipe.image_size,
        exif_orientation: ExifOrientation::Applied,
    };
    let [images, tests] = digests(&data, options)?;
    let start = recipe.weights.as_ref().or(recipe.init.as_ref());
    let start = start.map(|name| Bundle::find(name)?.weights_digest()).transpose()?;
    Ok(TrainingInputs {
        recipe: Digester::new("recipe").text(&plan::recipe_text(&recipe)).finish().to_string(),
        space: Digester::new("space").text(&space.to_yaml()).finish().to_string(),
        images,
        tests,
        start,
        epochs: recipe.phases.iter().map(|phase| phase.epochs).sum(),
        data,
    })
}

/// The space of the recipe at `path`, which is checked.
///
/// # Errors
/// A recipe or a space that cannot be read, or says what cannot be.
pub(crate) fn recipe_space(path: &Path, overrides: &[String]) -> Result<SearchSpace> {
    let recipe = plan::load(path, overrides)?;
    spaces::find_beside(path, &recipe.space)
}

/// Of the training images and of the test images of `data`, read as `options` say; of the former twice where there are no
/// others.
///
/// # Errors
/// Images that cannot be read.
pub(crate) fn digests(data: &DataSource, options: LoadOptions) -> Result<[String; 2]> {
    let images = data.train(&options)?.images;
    let tests = match data.has_test_part()? {
        true => {
            let names = Some(images.class_names().to_vec());
            let options = LoadOptions { image_size: Some(images.size()), class_names: names, ..options };
            of_images(&data.test(&options)?.images)?
        }
        false => of_images(&images)?,
    };
    Ok([of_images(&images)?, tests])
}

/// Pixels, labels and names.
fn of_images(set: &ImageSet) -> Result<String> {
    let labels: Vec<u8> = set.labels().iter().flat_map(|label| label.to_le_bytes()).collect();
    let digest = Digester::new("labelled images").digest(&set.digest()?).bytes(&labels);
    Ok(set.class_names().iter().fold(digest, |digest, name| digest.text(name)).finish().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_depends_on_the_weights_that_it_begins_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.yaml");
        let text = "schema: ofa.recipe/1\nname: a\nspace: mcu-cifar\nbatch_size: 8\ndata: synthetic:40,size=32\nphases:\n  \
                    - { name: full, epochs: 1, learning_rate: 0.1, with_largest: true }\n";
        std::fs::write(&path, text).unwrap();
        let with = |init: &[&str]| {
            let overrides: Vec<String> = init.iter().map(|bundle| format!("init={bundle}")).collect();
            training_inputs(&path, &overrides, None).unwrap()
        };
        let [fresh, one, other] = [with(&[]), with(&["mcu-cifar"]), with(&["fbnet-cifar"])];
        assert_eq!(fresh.start, None);
        assert!(one.start.is_some() && one.start != other.start, "{:?}", one.start);
        // Where weights lie says nothing about what they are.
        assert_eq!(one.recipe, other.recipe);
        assert_ne!(one.recipe, fresh.recipe);
    }
}
