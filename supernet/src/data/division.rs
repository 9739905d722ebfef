//! Which of a source's training images weights are trained on, and which they are judged by.
//!
//! A source with a test part of its own is divided in two: decisions look at the held-out images, and the test part is
//! left alone. A source without one is divided in three, so that there are images to report on that no weight has seen.
//! Both divisions are functions of the images and a seed, so that whoever has these finds the same parts again.

use std::collections::HashSet;

use storage::digest::{Digest, Digester};

use super::error::DataError;
use super::image_set::ImageSet;
use crate::random::Purpose;

/// Largest held-out part that is taken without being asked for.
const HELD_OUT: usize = 5000;

/// How the training images of a source are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// Images held out; a tenth of those that are not for testing, at most 5,000, unless given.
    pub held_out: Option<usize>,
    /// Chooses the images.
    pub seed: u64,
    /// Whether a tenth is first taken away for testing.
    pub splits_test: bool,
}

/// The training images of a source, divided.
#[derive(Clone, Debug, PartialEq)]
pub struct Divided {
    /// What weights are trained on.
    pub train: ImageSet,
    /// What decisions are made by: predictors, calibration checks, recipes.
    pub held_out: ImageSet,
    /// What only final reports look at, where the division takes it from the training images.
    pub test: Option<ImageSet>,
}

impl Division {
    /// Divides `images`, each part stratified by class and in the original order.
    ///
    /// # Errors
    /// [`DataError::Setting`] if there are too few images, or `held_out` is 0 or more than half of them.
    pub fn divide(&self, images: ImageSet) -> Result<Divided, DataError> {
        let (images, test) = if self.splits_test {
            let (rest, test) = Self::split_test(images, self.seed)?;
            (rest, Some(test))
        } else {
            (images, None)
        };
        let count = self.held_out.unwrap_or_else(|| (images.len() / 10).clamp(1, HELD_OUT));
        let (train, held_out) = images.part_off("held_out", count, self.seed, Purpose::HeldOut)?;
        Ok(Divided { train, held_out, test })
    }

    /// `(the rest, a tenth for testing)` of the images of a source without a test part; images that stand in the rest, too,
    /// pixel for pixel, are no test and left out of both.
    ///
    /// # Errors
    /// [`DataError::Setting`] if there are too few images, or too few different ones.
    pub fn split_test(images: ImageSet, seed: u64) -> Result<(ImageSet, ImageSet), DataError> {
        let count = (images.len() / 10).max(1);
        let (rest, test) = images.part_off("the number of test images", count, seed, Purpose::SplitTest)?;
        let digests = |set: &ImageSet| -> Result<Vec<Digest>, DataError> {
            let mut digests = Vec::with_capacity(set.len());
            set.each_image(|image| digests.push(Digester::new("image").bytes(image).finish()))?;
            Ok(digests)
        };
        let seen: HashSet<Digest> = digests(&rest)?.into_iter().collect();
        let new: Vec<usize> =
            digests(&test)?.iter().zip(0..).filter(|(one, _)| !seen.contains(one)).map(|(_, at)| at).collect();
        if new.is_empty() {
            let reason = "for all of those chosen are among the others as well, pixel for pixel".to_string();
            return Err(DataError::Setting { setting: "the number of test images", value: count.to_string(), reason });
        }
        let test = if new.len() == test.len() { test } else { test.select(&new) };
        Ok((rest, test))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Single-pixel images whose red byte is their index, of two classes in turn.
    fn numbered(count: usize) -> ImageSet {
        let images = (0..count).flat_map(|index| [index as u8, 0, 255]).collect();
        let labels = (0..count).map(|index| index as i64 % 2).collect();
        ImageSet::new(images, labels, 1, vec!["even".into(), "odd".into()]).unwrap()
    }

    fn reds(set: &ImageSet) -> Vec<u8> {
        (0..set.len()).map(|at| set.image(at).unwrap()[0]).collect()
    }

    #[test]
    fn three_parts_share_no_image_and_are_found_again() {
        let division = Division { held_out: None, seed: 3, splits_test: true };
        let divided = division.divide(numbered(100)).unwrap();
        let test = divided.test.clone().unwrap();
        assert_eq!((test.histogram(), divided.held_out.histogram()), (vec![5, 5], vec![5, 4]));
        let parts = [&divided.train, &divided.held_out, &test];
        let mut seen: Vec<u8> = parts.iter().flat_map(|part| reds(part)).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<u8>>());
        assert_eq!(division.divide(numbered(100)).unwrap(), divided);
        let other = Division { held_out: Some(20), ..division }.divide(numbered(100)).unwrap();
        assert_eq!((other.held_out.len(), other.test), (20, Some(test.clone())));
        assert_ne!(Division { seed: 4, ..division }.divide(numbered(100)).unwrap().test, Some(test));
    }

    #[test]
    fn a_copy_of_a_training_image_is_no_test_image() {
        let twice = |distinct: usize| {
            let images = (0..100).flat_map(|index| [(index % distinct) as u8, 0, 255]).collect();
            ImageSet::new(images, vec![0; 100], 1, vec!["one".into()]).unwrap()
        };
        let (rest, test) = Division::split_test(twice(80), 3).unwrap();
        assert!(rest.len() == 90 && (1..10).contains(&test.len()), "{}", test.len());
        let rest = reds(&rest);
        assert!(reds(&test).iter().all(|red| !rest.contains(red)));
        let error = Division::split_test(twice(3), 3).unwrap_err().to_string();
        assert!(error.contains("pixel for pixel"), "{error}");
    }

    #[test]
    fn a_source_with_a_test_part_keeps_all_training_images_for_training() {
        let divided = Division { held_out: Some(10), seed: 0, splits_test: false }.divide(numbered(100)).unwrap();
        assert_eq!((divided.train.len(), divided.held_out.len(), divided.test), (90, 10, None));
    }
}
