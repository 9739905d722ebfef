//! What the accuracies of a file of pairs were measured with, in the file's own metadata.
//!
//! Keys of the Parquet file: `ofa.space` (the search space as YAML), `ofa.weights`, `ofa.images` and `ofa.calibration`
//! (digests of the weights, of the images with their labels and preprocessing, and of what batch-norm statistics were
//! calibrated with).

use parquet::file::metadata::KeyValue;
use storage::digest::Digest;

/// What accuracies were measured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The search space, as YAML.
    pub space: String,
    /// Of the supernet's weights.
    pub weights: Digest,
    /// Of the images that were classified.
    pub images: Digest,
    /// Of the images, and their choice, that batch-norm statistics come from.
    pub calibration: Digest,
}

impl Origin {
    /// What differs between two, in words; `None` if nothing does.
    pub fn difference(&self, other: &Origin) -> Option<&'static str> {
        let pairs = [
            (self.space == other.space, "another search space"),
            (self.weights == other.weights, "other weights"),
            (self.images == other.images, "other images"),
            (self.calibration == other.calibration, "other calibration images"),
        ];
        pairs.into_iter().find(|(same, _)| !same).map(|(_, what)| what)
    }

    pub(crate) fn to_metadata(&self) -> Vec<KeyValue> {
        let entry = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
        vec![
            entry("ofa.space", self.space.clone()),
            entry("ofa.weights", self.weights.to_string()),
            entry("ofa.images", self.images.to_string()),
            entry("ofa.calibration", self.calibration.to_string()),
        ]
    }

    /// `None` for a file that states none, or not all of it.
    pub(crate) fn of_metadata(metadata: Option<&Vec<KeyValue>>) -> Option<Origin> {
        let value = |key: &str| metadata?.iter().find(|entry| entry.key == key)?.value.clone();
        let digest = |key: &str| value(key)?.parse().ok();
        Some(Origin {
            space: value("ofa.space")?,
            weights: digest("ofa.weights")?,
            images: digest("ofa.images")?,
            calibration: digest("ofa.calibration")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use storage::digest::Digester;

    use super::*;

    #[test]
    fn what_differs_is_named() {
        let digest = |text: &str| Digester::new("test").text(text).finish();
        let one = Origin { space: "id: x".into(), weights: digest("w"), images: digest("i"), calibration: digest("c") };
        assert_eq!(one.difference(&one), None);
        assert_eq!(one.difference(&Origin { weights: digest("v"), ..one.clone() }), Some("other weights"));
        assert_eq!(one.difference(&Origin { images: digest("v"), ..one.clone() }), Some("other images"));
        assert_eq!(Origin::of_metadata(Some(&one.to_metadata())).as_ref(), Some(&one));
        assert_eq!(Origin::of_metadata(Some(&one.to_metadata()[1..].to_vec())), None);
        assert_eq!(Origin::of_metadata(None), None);
    }
}
