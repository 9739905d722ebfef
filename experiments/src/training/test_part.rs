//! Which images of a source a network may be tested on: none that its weights have seen.

use supernet::data::{DataSource, Division, ImageSet, LoadOptions, Loaded, TrainedOn};

use crate::error::{Error, Result};
use crate::torch::MeasuredPart;

/// Images to test with, and what they may be called.
pub(crate) struct TestPart {
    /// The images.
    pub(crate) images: ImageSet,
    /// [`MeasuredPart::All`] where they may be among those trained on.
    pub(crate) part: MeasuredPart,
    /// What a reader should know about them.
    pub(crate) notes: Vec<String>,
}

/// The test images of `data` for weights trained on the images `trained_on`.
///
/// # Errors
/// Images that cannot be read; [`Error::TrainedOn`] where all of them were for training.
pub(crate) fn test_part(data: &DataSource, options: &LoadOptions, trained_on: Option<&TrainedOn>) -> Result<TestPart> {
    let Loaded { images, mut notes } = data.test(options)?;
    let of_its_own = data.has_test_part()?;
    match trained_on {
        Some(trained_on) if trained_on.images == images.digest().to_string() => {
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
        _ => Ok(TestPart { images, part: MeasuredPart::Test, notes }),
    }
}

#[cfg(test)]
mod tests {
    use storage::failure::{Failure, FailureKind};

    use super::*;

    #[test]
    fn images_that_were_trained_on_are_never_called_test() {
        let options = LoadOptions::default();
        let parts: DataSource = "synthetic:40,size=8,classes=2".parse().unwrap();
        let own = test_part(&parts, &options, None).unwrap();
        assert_eq!((own.images.len(), own.part, own.notes.len()), (10, MeasuredPart::Test, 1));
        let digest = own.images.digest().to_string();
        let trained_on = |splits_test| TrainedOn { images: digest.clone(), splits_test, seed: 1 };
        let error = test_part(&parts, &options, Some(&trained_on(false))).err().unwrap();
        assert_eq!(error.kind(), FailureKind::Content);
        let split = test_part(&parts, &options, Some(&trained_on(true))).unwrap();
        assert_eq!((split.images.len(), split.part, split.notes.len()), (1, MeasuredPart::Test, 2));
        assert_eq!(split.images, test_part(&parts, &options, Some(&trained_on(true))).unwrap().images);
    }
}
