//! Labelled images, all of one square size.

use std::borrow::Cow;

use rand::seq::SliceRandom;
use storage::digest::{Digest, Digester};

use super::error::DataError;
use super::pixels::{Pixels, remove};
use crate::random::{Purpose, generator};

/// Labelled RGB images, N×size×size×3 bytes (height, width, channel), row-major: held in memory, or decoded each time that
/// they are asked for. Which of the two it is makes no difference to what they are.
#[derive(Clone, Debug)]
pub struct ImageSet {
    pixels: Pixels,
    labels: Vec<i64>,
    size: usize,
    class_names: Vec<String>,
}

impl ImageSet {
    /// Checks that there is one label below `class_names.len()` per image and at least one image.
    ///
    /// # Errors
    /// [`DataError::Setting`] naming what does not fit.
    pub fn new(
        images: Vec<u8>,
        labels: Vec<i64>,
        size: usize,
        class_names: Vec<String>,
    ) -> Result<ImageSet, DataError> {
        if images.len() != labels.len() * size * size * 3 {
            return wrong("the number of bytes", images.len().to_string(), "which is not N × size × size × 3");
        }
        ImageSet::of(Pixels::Held(images), labels, size, class_names)
    }

    /// Checks what [`ImageSet::new`] does, but for the number of pixels.
    pub(super) fn of(
        pixels: Pixels,
        labels: Vec<i64>,
        size: usize,
        class_names: Vec<String>,
    ) -> Result<ImageSet, DataError> {
        if labels.is_empty() || size == 0 {
            return wrong("the number of images", labels.len().to_string(), "but a set holds at least one image");
        }
        if let Some(label) = labels.iter().find(|&&label| label < 0 || label >= class_names.len() as i64) {
            return wrong("a label", label.to_string(), "which has no class name");
        }
        Ok(ImageSet { pixels, labels, size, class_names })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Never true: a set holds at least one image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Whether images are decoded each time that they are asked for.
    pub fn is_streamed(&self) -> bool {
        matches!(self.pixels, Pixels::Streamed(..))
    }

    /// Pixels of one image, size×size×3.
    ///
    /// # Errors
    /// An image whose file is not what it was when the set was read; never where images are held.
    pub fn image(&self, index: usize) -> Result<Cow<'_, [u8]>, DataError> {
        self.pixels.of(index, self.image_bytes())
    }

    /// Hands over the pixels of each image in order.
    ///
    /// # Errors
    /// As for [`ImageSet::image`].
    pub fn each_image(&self, take: impl FnMut(&[u8])) -> Result<(), DataError> {
        self.pixels.each(self.image_bytes(), take)
    }

    /// Bytes of all pixels.
    pub fn bytes(&self) -> usize {
        self.len() * self.image_bytes()
    }

    /// The same set in memory.
    ///
    /// # Errors
    /// As for [`ImageSet::image`].
    pub fn held(self) -> Result<ImageSet, DataError> {
        if !self.is_streamed() {
            return Ok(self);
        }
        let mut pixels = Vec::with_capacity(self.bytes());
        self.each_image(|image| pixels.extend_from_slice(image))?;
        Ok(ImageSet { pixels: Pixels::Held(pixels), ..self })
    }

    /// Class of every image, each in `0..classes()`.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// Height and width of every image.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Number of classes, including those without an image.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// Names in the order of the labels.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// How many images each class has.
    pub fn histogram(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes()];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }

    /// Mean and standard deviation of each channel over all pixels, of values scaled to 0…1; exact sums.
    pub(crate) fn channel_statistics(&self) -> Result<([f64; 3], [f64; 3]), DataError> {
        let mut counts = [[0_u64; 256]; 3];
        self.each_image(|image| {
            for pixel in image.chunks_exact(3) {
                for (channel, &value) in pixel.iter().enumerate() {
                    counts[channel][usize::from(value)] += 1;
                }
            }
        })?;
        let pixels = (self.bytes() / 3) as f64;
        let moment = |channel: usize, power: i32| {
            let terms = counts[channel].iter().enumerate();
            terms.map(|(value, &count)| (value as f64 / 255.0).powi(power) * count as f64).sum::<f64>() / pixels
        };
        let mean = [0, 1, 2].map(|channel| moment(channel, 1));
        let std = [0, 1, 2].map(|channel| (moment(channel, 2) - mean[channel].powi(2)).max(0.0).sqrt());
        Ok((mean, std))
    }

    /// Digest of the pixels in their order; labels and names have no part in it, so that the same images are known
    /// under other classes.
    ///
    /// # Errors
    /// As for [`ImageSet::image`].
    pub fn digest(&self) -> Result<Digest, DataError> {
        Ok(self.digested(Digester::new("pixels").number(self.size as u64))?.finish())
    }

    /// `digester` after all pixels.
    ///
    /// # Errors
    /// As for [`ImageSet::image`].
    pub fn digested(&self, digester: Digester) -> Result<Digester, DataError> {
        let mut digester = digester.parts(self.bytes() as u64);
        self.each_image(|image| digester.part(image))?;
        Ok(digester.whole())
    }

    /// The images at these places, in this order; panics beyond the end.
    pub fn select(&self, indices: &[usize]) -> ImageSet {
        assert!(!indices.is_empty(), "a set holds at least one image");
        let pixels = self.pixels.select(indices, self.image_bytes());
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        ImageSet { pixels, labels, size: self.size, class_names: self.class_names.clone() }
    }

    /// Takes a part of `count` images away: `(the rest, the part)`, both in the original order.
    ///
    /// Each class gives its share of the set, rounded so that the shares add up to `count` (largest remainder), but
    /// keeps an image; which of its images depends on `seed` and `purpose` alone.
    ///
    /// # Errors
    /// [`DataError::Setting`] about `setting` if `count` is 0, more than half the set, or so many that a class would
    /// keep none.
    pub(super) fn part_off(
        mut self,
        setting: &'static str,
        count: usize,
        seed: u64,
        purpose: Purpose,
    ) -> Result<(ImageSet, ImageSet), DataError> {
        let refused = |reason: String| Err(DataError::Setting { setting, value: count.to_string(), reason });
        if count == 0 || count > self.len() / 2 {
            return refused(format!(
                "but it must be at least 1 and at most half of the {} training images",
                self.len()
            ));
        }
        let room: usize = self.histogram().iter().map(|images| images.saturating_sub(1)).sum();
        if count > room {
            let classes = self.histogram().iter().filter(|images| **images > 0).count();
            let images = self.len();
            return refused(format!("but each of the {classes} classes must keep one of the {images} training images"));
        }
        let chosen = self.stratified(count, seed, purpose);
        let part = self.select(&chosen);
        let bytes = self.image_bytes();
        self.pixels.remove(&chosen, bytes);
        remove(&mut self.labels, &chosen);
        Ok((self, part))
    }

    fn image_bytes(&self) -> usize {
        self.size * self.size * 3
    }

    /// `count` places, ascending, drawn from each class in proportion.
    fn stratified(&self, count: usize, seed: u64, purpose: Purpose) -> Vec<usize> {
        let mut members = vec![Vec::new(); self.classes()];
        for (index, &label) in self.labels.iter().enumerate() {
            members[label as usize].push(index);
        }
        let mut chosen = Vec::with_capacity(count);
        for (class, (mut indices, quota)) in members.into_iter().zip(self.quotas(count)).enumerate() {
            indices.shuffle(&mut generator(seed, purpose, class as u64, 0));
            chosen.extend(indices.into_iter().take(quota));
        }
        chosen.sort_unstable();
        chosen
    }

    /// How many of `count` images each class gives.
    fn quotas(&self, count: usize) -> Vec<usize> {
        let members = self.histogram();
        let share = |class: usize| members[class] * count;
        let mut quotas: Vec<usize> = (0..self.classes()).map(|class| share(class) / self.len()).collect();
        let missing = count - quotas.iter().sum::<usize>();
        let mut by_remainder: Vec<usize> = (0..self.classes()).collect();
        by_remainder.sort_by_key(|&class| (std::cmp::Reverse(share(class) % self.len()), class));
        for &class in by_remainder.iter().take(missing) {
            quotas[class] += 1;
        }
        // A class with a single image may have been asked for it; the class with the most to spare gives one instead.
        for class in 0..self.classes() {
            while quotas[class] > 0 && quotas[class] == members[class] {
                let spare =
                    |&other: &usize| (members[other].saturating_sub(quotas[other] + 1), std::cmp::Reverse(other));
                let richest = (0..self.classes()).max_by_key(spare).expect("a class with images");
                quotas[class] -= 1;
                quotas[richest] += 1;
            }
        }
        quotas
    }
}

/// The same images under the same names; for tests, as it looks at every pixel.
impl PartialEq for ImageSet {
    fn eq(&self, other: &ImageSet) -> bool {
        let alike = (self.size, &self.labels, &self.class_names) == (other.size, &other.labels, &other.class_names);
        alike && (0..self.len()).all(|at| matches!((self.image(at), other.image(at)), (Ok(one), Ok(two)) if one == two))
    }
}

fn wrong<T>(setting: &'static str, value: String, reason: &str) -> Result<T, DataError> {
    Err(DataError::Setting { setting, value, reason: reason.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Single-pixel images whose red byte is their index.
    fn numbered(labels: &[i64], classes: usize) -> ImageSet {
        let images = (0..labels.len()).flat_map(|index| [index as u8, 0, 255]).collect();
        ImageSet::new(images, labels.to_vec(), 1, (0..classes).map(|class| class.to_string()).collect()).unwrap()
    }

    fn reds(set: &ImageSet) -> Vec<u8> {
        (0..set.len()).map(|at| set.image(at).unwrap()[0]).collect()
    }

    fn hold_out(set: ImageSet, count: usize, seed: u64) -> Result<(ImageSet, ImageSet), DataError> {
        set.part_off("held_out", count, seed, Purpose::HeldOut)
    }

    #[test]
    fn holding_out_divides_the_set_by_class() {
        let labels: Vec<i64> = (0..100).map(|index| i64::from(index % 10 >= 6)).collect();
        let set = numbered(&labels, 2);
        let (rest, held_out) = hold_out(set.clone(), 11, 7).unwrap();
        assert_eq!((rest.len(), held_out.len()), (89, 11));
        assert_eq!(held_out.histogram(), [7, 4]); // 6.6 and 4.4: the larger remainder is rounded up
        let mut seen: Vec<u8> = [&rest, &held_out].into_iter().flat_map(reds).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<u8>>());
        for part in [&rest, &held_out] {
            for index in 0..part.len() {
                assert_eq!(part.labels[index], labels[usize::from(part.image(index).unwrap()[0])]);
            }
        }
        assert_eq!(hold_out(set.clone(), 11, 7).unwrap().1, held_out);
        assert_ne!(hold_out(set, 11, 8).unwrap().1, held_out);
    }

    #[test]
    fn more_than_half_cannot_be_held_out() {
        let set = numbered(&[0, 0, 1, 1], 2);
        assert!(hold_out(set.clone(), 3, 0).unwrap_err().to_string().contains("held_out is 3"));
        assert!(hold_out(set.clone(), 0, 0).is_err());
        assert_eq!(hold_out(set, 2, 0).unwrap().1.histogram(), [1, 1]);
    }

    #[test]
    fn no_class_gives_its_only_image() {
        let set = numbered(&[0, 1, 2, 3, 4, 5, 5, 5, 5, 5], 6);
        for seed in 0..20 {
            let (rest, held_out) = hold_out(set.clone(), 2, seed).unwrap();
            assert_eq!((rest.histogram(), held_out.histogram()), (vec![1, 1, 1, 1, 1, 3], vec![0, 0, 0, 0, 0, 2]));
        }
        let error = hold_out(set, 5, 0).unwrap_err().to_string();
        assert!(error.contains("held_out is 5, but each of the 6 classes"), "{error}");
    }

    #[test]
    fn a_set_with_a_label_beyond_the_classes_is_refused() {
        assert!(ImageSet::new(vec![0; 3], vec![1], 1, vec!["only".into()]).is_err());
        assert!(ImageSet::new(vec![0; 4], vec![0], 1, vec!["only".into()]).is_err());
        assert!(ImageSet::new(vec![], vec![], 1, vec!["only".into()]).is_err());
    }

    #[test]
    fn statistics_are_those_of_the_pixels() {
        let set = numbered(&[0, 0, 0, 0], 1);
        let (mean, std) = set.channel_statistics().unwrap();
        assert!((mean[0] - 1.5 / 255.0).abs() < 1e-12);
        assert!((std[0] - (1.25_f64).sqrt() / 255.0).abs() < 1e-12);
        assert_eq!((mean[1], std[1], mean[2], std[2]), (0.0, 0.0, 1.0, 0.0));
    }
}
