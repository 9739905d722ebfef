//! Which images weights have seen, so that none of them is taken for a test image later: not even in another order, or as
//! a part of another source.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::digest::Digester;

use super::error::DataError;
use super::image_set::ImageSet;
use super::thumbnail::{self, Thumbnail};

/// Images whose fingerprints are kept: few enough to travel with every network, and of a thousand images out of fifty
/// thousand some five are among them.
const KEPT: usize = 256;
/// Of those, images whose thumbnails are kept as well.
const THUMBNAILS: usize = 128;
/// Other images that these are compared with before they are kept.
const OTHERS: usize = 20_000;
/// Of those, how many at least must be found before that is no chance.
const FOUND: usize = 3;
/// Bytes of a fingerprint: two of a million images agree by chance with a probability of 0.2 %.
const BYTES: usize = 6;

/// Which images weights were trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainedOn {
    /// Digest of all training images of the source, held-out ones included, before they were divided.
    pub images: String,
    /// Whether a tenth of them was split off for testing.
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
    /// Different images among them, where `thumbnails` are written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub different: u64,
    /// The images of the 128 smallest fingerprints at 8×8 px in 64 shades of grey, 64 characters each, by which they are
    /// known after they were encoded anew or resized; none where the images of the source look too much like each other,
    /// and earlier versions wrote none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub thumbnails: String,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl TrainedOn {
    /// Of all training images of a source.
    ///
    /// # Errors
    /// As for [`ImageSet::image`], as with all that looks at images here.
    pub fn new(images: &ImageSet, splits_test: bool, seed: u64) -> Result<TrainedOn, DataError> {
        let mut all: Vec<([u8; BYTES], usize)> = fingerprints(images)?.into_iter().zip(0..).collect();
        all.sort_unstable();
        all.dedup_by_key(|(fingerprint, _)| *fingerprint);
        let sketch = all.iter().take(KEPT).flat_map(|(one, _)| one).map(|byte| format!("{byte:02x}")).collect();
        let kept = telling(images, all.iter().take(THUMBNAILS).map(|(_, at)| *at))?;
        Ok(TrainedOn {
            images: images.digest()?.to_string(),
            splits_test,
            seed,
            held_out: None,
            sketch,
            different: all.len() as u64,
            thumbnails: kept.iter().map(Thumbnail::to_text).collect(),
        })
    }

    /// Whether `images` are all of those trained on, in the same order.
    ///
    /// # Errors
    /// As for [`TrainedOn::new`].
    pub fn are(&self, images: &ImageSet) -> Result<bool, DataError> {
        Ok(self.images == images.digest()?.to_string())
    }

    /// Estimated share of `images` that are among those trained on; none where nothing tells.
    ///
    /// # Errors
    /// As for [`TrainedOn::new`].
    pub fn share_of(&self, images: &ImageSet) -> Result<Option<f64>, DataError> {
        let seen: Vec<[u8; BYTES]> = read(&self.sketch).unwrap_or_default();
        let Some(&largest) = seen.last() else { return Ok(None) };
        // A short sketch holds every image there was.
        let is_whole = seen.len() < KEPT;
        let own = fingerprints(images)?;
        let comparable = own.iter().filter(|one| is_whole || **one <= largest).count();
        let hits = own.iter().filter(|one| seen.binary_search(one).is_ok()).count();
        Ok((comparable > 0).then(|| hits as f64 / comparable as f64))
    }

    /// Estimated share of `images` that look like some that were trained on: the same, encoded anew, resized or mirrored.
    ///
    /// # Errors
    /// As for [`TrainedOn::new`].
    pub fn share_alike(&self, images: &ImageSet) -> Result<f64, DataError> {
        let (kept, _) = self.thumbnails.as_bytes().as_chunks::<{ thumbnail::LENGTH }>();
        let kept: Vec<Thumbnail> = kept.iter().filter_map(Thumbnail::from_text).collect();
        if kept.is_empty() {
            return Ok(0.0);
        }
        let mut own: Vec<Thumbnail> = Vec::new();
        images.each_image(|image| own.extend(Thumbnail::of(image, images.size())))?;
        let found = kept.iter().filter(|one| own.iter().any(|other| one.is_like(other))).count();
        if found < FOUND.min(kept.len().div_ceil(2)).max(1) {
            return Ok(0.0);
        }
        let seen = found as f64 / kept.len() as f64 * self.different as f64;
        Ok((seen / images.len() as f64).min(1.0))
    }
}

/// Thumbnails of the images at `places` that are not like that of any other image; none at all where that leaves out more
/// than half of them, as with centred shapes on black: what is left would be found again by chance.
fn telling(images: &ImageSet, places: impl Iterator<Item = usize>) -> Result<Vec<Thumbnail>, DataError> {
    let of = |at: usize| Ok(Thumbnail::of(&images.image(at)?, images.size()).map(|thumbnail| (at, thumbnail)));
    let of_all = |places: Vec<usize>| -> Result<Vec<(usize, Thumbnail)>, DataError> {
        let of_all = places.into_par_iter().map(of).collect::<Result<Vec<_>, DataError>>()?;
        Ok(of_all.into_iter().flatten().collect())
    };
    let step = images.len().div_ceil(OTHERS).max(1);
    let others = of_all((0..images.len()).step_by(step).collect())?;
    let candidates = of_all(places.collect())?;
    let is_copy = |a: usize, b: usize| Ok::<_, DataError>(images.image(a)? == images.image(b)?);
    let tells = |(at, one): &(usize, Thumbnail)| {
        for (other, image) in &others {
            if one.is_confusable_with(image) && !is_copy(*at, *other)? {
                return Ok(None);
            }
        }
        Ok(Some(one.clone()))
    };
    let kept = candidates.par_iter().map(tells).collect::<Result<Vec<Option<Thumbnail>>, DataError>>()?;
    let kept: Vec<Thumbnail> = kept.into_iter().flatten().collect();
    Ok(if 2 * kept.len() < candidates.len() { Vec::new() } else { kept })
}

fn fingerprints(images: &ImageSet) -> Result<Vec<[u8; BYTES]>, DataError> {
    let mut fingerprints = Vec::with_capacity(images.len());
    images.each_image(|image| {
        let digest = Digester::new("image").number(images.size() as u64).bytes(image).finish();
        fingerprints.push(std::array::from_fn(|at| digest.as_bytes()[at]));
    })?;
    Ok(fingerprints)
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
        let trained_on = TrainedOn::new(&all, false, 1).unwrap();
        assert_eq!(trained_on.sketch.len(), 12 * KEPT);
        assert!(trained_on.are(&all).unwrap() && !trained_on.are(&numbered(0..49_999)).unwrap());
        let share = |numbers| trained_on.share_of(&numbered(numbers)).unwrap().unwrap();
        assert_eq!(share(0..50_000), 1.0);
        assert_eq!(share(20_000..30_000), 1.0, "a fifth, and every image of it");
        assert_eq!(share(50_000..60_000), 0.0);
        let half = share(45_000..55_000);
        assert!((half - 0.5).abs() < 0.15, "{half}");
        assert_eq!(TrainedOn { sketch: String::new(), ..trained_on }.share_of(&all).unwrap(), None);
    }

    /// Shapes on black, 16 px wide: a bright box whose sides vary by a pixel, and the brightness of each pixel a little.
    fn boxes(numbers: std::ops::Range<u32>) -> ImageSet {
        let pixel = |number: u32, at: u32| {
            let (x, y) = (at % 16, at / 16);
            let inside = (4..11 + number % 2).contains(&x) && (2..13 + number / 2 % 2).contains(&y);
            let value = if inside { 180 + (number * 7919 + at * 10_007 + number * at) % 65_521 % 23 } else { 0 };
            [value as u8; 3]
        };
        let pixels = numbers.clone().flat_map(|number| (0..256).flat_map(move |at| pixel(number, at))).collect();
        ImageSet::new(pixels, numbers.map(|_| 0).collect(), 16, vec!["one".into()]).unwrap()
    }

    #[test]
    fn images_that_all_look_alike_are_not_taken_for_those_trained_on() {
        let trained_on = TrainedOn::new(&boxes(0..400), false, 1).unwrap();
        assert_eq!(trained_on.thumbnails, "");
        assert_eq!(trained_on.share_alike(&boxes(400..500)).unwrap(), 0.0);
        // Their fingerprints still tell.
        assert_eq!(trained_on.share_of(&boxes(100..200)).unwrap(), Some(1.0));
        assert_eq!(trained_on.share_of(&boxes(400..500)).unwrap(), Some(0.0));
    }

    #[test]
    fn a_small_set_is_known_image_by_image() {
        let trained_on = TrainedOn::new(&numbered(0..40), false, 1).unwrap();
        let share = |numbers| trained_on.share_of(&numbered(numbers)).unwrap().unwrap();
        assert_eq!((share(0..10), share(35..45), share(40..50)), (1.0, 0.5, 0.0));
    }
}
