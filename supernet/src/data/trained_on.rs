//! Which images weights have seen, so that none of them is taken for a test image later: not even in another order, or as
//! a part of another source.

use serde::{Deserialize, Serialize};
use storage::digest::Digester;

use super::image_set::ImageSet;
use super::thumbnail::{self, Thumbnail};

/// Images whose fingerprints are kept: few enough to travel with every network, and of a thousand images out of fifty
/// thousand some five are among them.
const KEPT: usize = 256;
/// Of those, images whose thumbnails are kept as well.
const THUMBNAILS: usize = 128;
/// Of those, how many at least must be found before that is no chance.
const FOUND: usize = 3;
/// Bytes of a fingerprint: two of a million images agree by chance with a probability of 0.2 %.
const BYTES: usize = 6;

/// Which images weights were trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedOn {
    /// [`ImageSet::digest`] of all training images of the source, held-out ones included, before they were divided.
    pub images: String,
    /// Whether a tenth of them was split off for testing ([`super::Division::split_test`]).
    pub splits_test: bool,
    /// Seed of the division.
    pub seed: u64,
    /// How many were held out; earlier versions did not say, their recipe does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<usize>,
    /// The smallest 256 fingerprints of single images, ascending, six bytes each in hexadecimal (bottom-k sketch, Broder
    /// 1997); earlier versions wrote none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sketch: String,
    /// Different images among them, where [`TrainedOn::thumbnails`] are written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub different: u64,
    /// The images of the 128 smallest fingerprints at 8×8 px in 64 shades of grey, 64 characters each, by which they are
    /// known after they were encoded anew or resized; earlier versions wrote none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub thumbnails: String,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl TrainedOn {
    /// Of all training images of a source.
    pub fn new(images: &ImageSet, splits_test: bool, seed: u64) -> TrainedOn {
        let mut all: Vec<([u8; BYTES], usize)> = fingerprints(images).into_iter().zip(0..).collect();
        all.sort_unstable();
        all.dedup_by_key(|(fingerprint, _)| *fingerprint);
        let sketch = all.iter().take(KEPT).flat_map(|(one, _)| one).map(|byte| format!("{byte:02x}")).collect();
        let kept = all.iter().take(THUMBNAILS).filter_map(|(_, at)| Thumbnail::of(images.image(*at), images.size()));
        TrainedOn {
            images: images.digest().to_string(),
            splits_test,
            seed,
            held_out: None,
            sketch,
            different: all.len() as u64,
            thumbnails: kept.map(|thumbnail| thumbnail.to_text()).collect(),
        }
    }

    /// Whether `images` are all of those trained on, in the same order.
    pub fn are(&self, images: &ImageSet) -> bool {
        self.images == images.digest().to_string()
    }

    /// Estimated share of `images` that are among those trained on; none where nothing tells.
    pub fn share_of(&self, images: &ImageSet) -> Option<f64> {
        let seen: Vec<[u8; BYTES]> = read(&self.sketch)?;
        let largest = *seen.last()?;
        // A short sketch holds every image there was.
        let is_whole = seen.len() < KEPT;
        let own = fingerprints(images);
        let comparable = own.iter().filter(|one| is_whole || **one <= largest).count();
        let hits = own.iter().filter(|one| seen.binary_search(one).is_ok()).count();
        (comparable > 0).then(|| hits as f64 / comparable as f64)
    }

    /// Estimated share of `images` that look like some that were trained on: the same, encoded anew, resized or mirrored.
    pub fn share_alike(&self, images: &ImageSet) -> f64 {
        let (kept, _) = self.thumbnails.as_bytes().as_chunks::<{ thumbnail::LENGTH }>();
        let kept: Vec<Thumbnail> = kept.iter().filter_map(Thumbnail::from_text).collect();
        let own: Vec<Thumbnail> =
            (0..images.len()).filter_map(|at| Thumbnail::of(images.image(at), images.size())).collect();
        let found = kept.iter().filter(|one| own.iter().any(|other| one.is_like(other))).count();
        if found < FOUND.min(kept.len().div_ceil(2)).max(1) {
            return 0.0;
        }
        let seen = found as f64 / kept.len() as f64 * self.different as f64;
        (seen / images.len() as f64).min(1.0)
    }
}

fn fingerprints(images: &ImageSet) -> Vec<[u8; BYTES]> {
    let bytes = 3 * images.size() * images.size();
    let of = |image: &[u8]| {
        let digest = Digester::new("image").number(images.size() as u64).bytes(image).finish();
        std::array::from_fn(|at| digest.as_bytes()[at])
    };
    images.images().chunks_exact(bytes).map(of).collect()
}

fn read(sketch: &str) -> Option<Vec<[u8; BYTES]>> {
    let digits = sketch.as_bytes().as_chunks::<{ 2 * BYTES }>();
    let (fingerprints, []) = digits else { return None };
    let byte =
        |digits: &[u8], at: usize| u8::from_str_radix(std::str::from_utf8(&digits[2 * at..2 * at + 2]).ok()?, 16).ok();
    let fingerprint = |digits: &[u8; 2 * BYTES]| {
        let mut bytes = [0; BYTES];
        for (at, value) in bytes.iter_mut().enumerate() {
            *value = byte(digits, at)?;
        }
        Some(bytes)
    };
    fingerprints.iter().map(fingerprint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Single-pixel images, told apart by their number.
    fn numbered(numbers: std::ops::Range<u32>) -> ImageSet {
        let pixels: Vec<u8> = numbers.clone().flat_map(|number| number.to_le_bytes()[..3].to_vec()).collect();
        let labels = numbers.map(|_| 0).collect();
        ImageSet::new(pixels, labels, 1, vec!["one".into()]).unwrap()
    }

    #[test]
    fn a_part_of_what_was_trained_on_is_recognised() {
        let all = numbered(0..50_000);
        let trained_on = TrainedOn::new(&all, false, 1);
        assert_eq!(trained_on.sketch.len(), 12 * KEPT);
        assert!(trained_on.are(&all) && !trained_on.are(&numbered(0..49_999)));
        let share = |numbers| trained_on.share_of(&numbered(numbers)).unwrap();
        assert_eq!(share(0..50_000), 1.0);
        assert_eq!(share(20_000..30_000), 1.0, "a fifth, and every image of it");
        assert_eq!(share(50_000..60_000), 0.0);
        let half = share(45_000..55_000);
        assert!((half - 0.5).abs() < 0.15, "{half}");
        assert_eq!(TrainedOn { sketch: String::new(), ..trained_on }.share_of(&all), None);
    }

    #[test]
    fn a_small_set_is_known_image_by_image() {
        let trained_on = TrainedOn::new(&numbered(0..40), false, 1);
        let share = |numbers| trained_on.share_of(&numbered(numbers)).unwrap();
        assert_eq!((share(0..10), share(35..45), share(40..50)), (1.0, 0.5, 0.0));
    }
}
