//! Which images of a source a network may be tested on: none that its weights have seen.

use supernet::data::{DataSource, Division, ImageSet, LoadOptions, Loaded, TrainedOn};

use crate::error::{Error, Result};
use crate::torch::MeasuredPart;

/// Images to test with, and what they may be called.
pub(crate) struct TestPart {
    /// The images.
    pub(crate) images: ImageSet,
    /// Anything but [`MeasuredPart::Test`] where they may be among those trained on.
    pub(crate) part: MeasuredPart,
    /// What a reader should know about them.
    pub(crate) notes: Vec<String>,
}

/// Share of images that were trained on from which the others count for little.
const MOSTLY: f64 = 0.5;
/// Share that no set of images has by the few duplicates that many have between their parts.
const STRAY: f64 = 0.02;

/// The test images of `data` for weights trained on the images `trained_on`.
///
/// # Errors
/// Images that cannot be read; [`Error::TrainedOn`] where all of a source without a test part were for training.
pub(crate) fn test_part(data: &DataSource, options: &LoadOptions, trained_on: Option<&TrainedOn>) -> Result<TestPart> {
    let Loaded { images, mut notes } = data.test(options)?;
    let of_its_own = data.has_test_part()?;
    let are_trained_on = trained_on.map_or(Ok(false), |trained_on| trained_on.are(&images))?;
    match trained_on {
        Some(_) if are_trained_on && of_its_own => {
            notes.push(format!("the test images of {data} are those that were trained on, and no test of the weights"));
            Ok(TestPart { images, part: MeasuredPart::Training, notes })
        }
        Some(trained_on) if are_trained_on => {
            if !trained_on.splits_test {
                return Err(Error::TrainedOn { data: data.to_string() });
            }
            let (all, seed) = (images.len(), trained_on.seed);
            let (_, test) = Division::split_test(images, seed)?;
            notes.push(format!(
                "{data} has no test part and was trained on: these are the {} of its {all} images that training split \
                 off for testing, by seed {seed}",
                test.len()
            ));
            Ok(TestPart { images: test, part: MeasuredPart::Test, notes })
        }
        None if !of_its_own => {
            notes.push(format!(
                "{data} has no test part, and nothing says which images the weights were trained on: they may be among \
                 these"
            ));
            Ok(TestPart { images, part: MeasuredPart::All, notes })
        }
        trained_on => {
            let known = trained_on.map_or(Ok(None), |trained_on| trained_on.share_of(&images))?;
            if trained_on.is_some_and(|trained_on| !trained_on.sketch.is_empty()) && known.is_none() {
                notes
                    .push(format!("{data} has too few images to tell whether the weights were trained on any of them"));
                return Ok(TestPart { images, part: MeasuredPart::All, notes });
            }
            let mut share = known.unwrap_or(0.0);
            if share > 0.0 {
                notes.push(format!(
                    "about {:.0} % of the images of {data} are among those that the weights were trained on",
                    (100.0 * share).max(1.0)
                ));
            }
            let unknown = trained_on.filter(|_| share < STRAY);
            let alike = unknown.map_or(Ok(0.0), |trained_on| trained_on.share_alike(&images))?;
            if alike >= STRAY {
                notes.push(format!(
                    "about {:.0} % of the images of {data} look like some that the weights were trained on, encoded anew or \
                     resized",
                    100.0 * alike
                ));
                share = alike;
            }
            let part = match share {
                MOSTLY.. => MeasuredPart::Training,
                STRAY.. => MeasuredPart::All,
                _ => MeasuredPart::Test,
            };
            Ok(TestPart { images, part, notes })
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::failure::{Failure, FailureKind};
    use supernet::data::Form;

    use super::*;

    #[test]
    fn images_that_were_trained_on_are_never_called_test() {
        let options = LoadOptions::default();
        let parts: DataSource = "synthetic:40,size=8,classes=2".parse().unwrap();
        let own = test_part(&parts, &options, None).unwrap();
        assert_eq!((own.images.len(), own.part, own.notes.len()), (10, MeasuredPart::Test, 1));
        let of = |images: &ImageSet, splits_test| TrainedOn::new(images, splits_test, 1).unwrap();
        let again = test_part(&parts, &options, Some(&of(&own.images, false))).unwrap();
        assert_eq!((again.images.len(), again.part, again.notes.len()), (10, MeasuredPart::Training, 2));

        // The records of CIFAR-10 without its test file: no test part.
        let folder = tempfile::tempdir().unwrap();
        for file in 1..=5_u8 {
            let record = |label: u8| std::iter::once(label).chain([10 * file + label; 3072]);
            let bytes: Vec<u8> = (0..10).flat_map(record).collect();
            std::fs::write(folder.path().join(format!("data_batch_{file}.bin")), bytes).unwrap();
        }
        let alone = DataSource::from(Form::Cifar(folder.path().to_path_buf()));
        let all = test_part(&alone, &options, None).unwrap();
        assert_eq!((all.images.len(), all.part, all.notes.len()), (50, MeasuredPart::All, 2));
        let error = test_part(&alone, &options, Some(&of(&all.images, false))).err().unwrap();
        assert_eq!(error.kind(), FailureKind::Content);
        // Some of what was trained on, as a source of its own; the record of another class is new.
        let of_all = of(&all.images, false);
        let write = |files: std::ops::RangeInclusive<u8>, more: &[u8]| {
            let folder = tempfile::tempdir().unwrap();
            for file in 1..=5_u8 {
                let record = |label: u8| std::iter::once(label).chain([10 * file + label; 3072]);
                let bytes: Vec<u8> = (0..10).flat_map(record).collect();
                let bytes = if files.contains(&file) { bytes } else { more.to_vec() };
                std::fs::write(folder.path().join(format!("data_batch_{file}.bin")), bytes).unwrap();
            }
            folder
        };
        let fresh = |shade: u8| std::iter::once(0).chain([shade; 3072]).collect::<Vec<u8>>();
        let part = |folder: &tempfile::TempDir| {
            let source = DataSource::from(Form::Cifar(folder.path().to_path_buf()));
            let part = test_part(&source, &options, Some(&of_all)).unwrap();
            (part.part, part.notes.last().unwrap().clone())
        };
        let (seen, note) = part(&write(1..=2, &fresh(200)));
        assert!(seen == MeasuredPart::Training && note.starts_with("about 87 % of the images"), "{note}");
        let unseen = write(7..=8, &fresh(200));
        assert_eq!(part(&unseen).0, MeasuredPart::Test);
        let split = test_part(&alone, &options, Some(&of(&all.images, true))).unwrap();
        assert_eq!((split.images.len(), split.part, split.notes.len()), (5, MeasuredPart::Test, 2));
        assert_eq!(split.images, test_part(&alone, &options, Some(&of(&all.images, true))).unwrap().images);
    }
}
