//! Images as 8×8 grey pixels, by which one is known again after it was encoded anew, resized or mirrored.
//!
//! Of 256 training images of CIFAR-10, shrunk to 24 px with 5 bits a channel, each has a correlation with itself of at
//! least 0.993; with every one of the 10,000 test images it is 0.983 at most.

/// Pixels on each side.
const SIDE: usize = 8;
/// Correlation from which on two are one image.
const ALIKE: f64 = 0.99;
/// Correlation with another image from which on one is not told apart from it.
const CONFUSABLE: f64 = 0.985;
/// Largest value: with 63 of them, each is one character.
const LARGEST: f64 = 31.0;
/// Contrast below which nothing can be told, in grey levels.
const LEAST: f64 = 2.0;
const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Characters of one thumbnail.
pub(super) const LENGTH: usize = SIDE * SIDE;

/// An image's brightness around its mean, scaled to the largest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Thumbnail([f64; LENGTH]);

impl Thumbnail {
    /// Of a square RGB image, size×size×3 bytes; none of one without contrast.
    pub(super) fn of(image: &[u8], size: usize) -> Option<Thumbnail> {
        let mut values = [0.0; LENGTH];
        for (y, rows) in parts(size).enumerate() {
            for (x, columns) in parts(size).enumerate() {
                let mut weight = 0.0;
                for (row, height) in rows.clone() {
                    for (column, width) in columns.clone() {
                        let pixel = &image[3 * (row * size + column)..][..3];
                        // Luma of ITU-R BT.601.
                        let grey =
                            [0.299, 0.587, 0.114].iter().zip(pixel).map(|(part, value)| part * f64::from(*value));
                        values[y * SIDE + x] += height * width * grey.sum::<f64>();
                        weight += height * width;
                    }
                }
                values[y * SIDE + x] /= weight;
            }
        }
        let mean = values.iter().sum::<f64>() / LENGTH as f64;
        values.iter_mut().for_each(|value| *value -= mean);
        let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        values.iter_mut().for_each(|value| *value = (*value / largest * LARGEST).round());
        (largest >= LEAST).then_some(Thumbnail(values))
    }

    /// As 64 characters.
    pub(super) fn to_text(&self) -> String {
        self.0.iter().map(|value| char::from(CHARACTERS[(value + LARGEST) as usize])).collect()
    }

    /// From 64 characters.
    pub(super) fn from_text(text: &[u8; LENGTH]) -> Option<Thumbnail> {
        let mut values = [0.0; LENGTH];
        for (value, character) in values.iter_mut().zip(text) {
            *value = CHARACTERS.iter().position(|known| known == character)? as f64 - LARGEST;
        }
        Some(Thumbnail(values))
    }

    /// Whether both are of one image, or of it and its mirror image.
    pub(super) fn is_like(&self, other: &Thumbnail) -> bool {
        self.correlation(other) >= ALIKE
    }

    /// Whether two different images are so much alike that this says nothing about them.
    pub(super) fn is_confusable_with(&self, other: &Thumbnail) -> bool {
        self.correlation(other) >= CONFUSABLE
    }

    /// With the other or with its mirror image, whichever is larger.
    fn correlation(&self, other: &Thumbnail) -> f64 {
        let dot = |pairs: &mut dyn Iterator<Item = (f64, f64)>| pairs.map(|(a, b)| a * b).sum::<f64>();
        let length = |one: &Thumbnail| one.0.iter().map(|value| value * value).sum::<f64>().sqrt();
        let scale = length(self) * length(other);
        let same = dot(&mut self.0.iter().copied().zip(other.0));
        let mirrored = other.0.chunks(SIDE).flat_map(|row| row.iter().rev().copied());
        same.max(dot(&mut self.0.iter().copied().zip(mirrored))) / scale
    }
}

/// The pixels under each of the parts of a side, with how much of each.
fn parts(size: usize) -> impl Iterator<Item = Vec<(usize, f64)>> {
    let bound = move |part: usize| part as f64 * size as f64 / SIDE as f64;
    (0..SIDE).map(move |part| {
        let (from, to) = (bound(part), bound(part + 1));
        let overlap = |pixel: usize| (pixel as f64 + 1.0).min(to) - (pixel as f64).max(from);
        let pixels = from as usize..(to.ceil() as usize).min(size);
        pixels.map(|pixel| (pixel, overlap(pixel))).filter(|(_, part)| *part > 0.0).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of `seed`, `size` px wide: waves of its own lengths and directions.
    fn picture(seed: u32, size: usize) -> Vec<u8> {
        let wave = |number: u32, x: f64, y: f64| {
            let draw = |which: u32| f64::from((seed * 97 + number * 31 + which * 13) % 101) / 101.0;
            (6.3 * (2.0 * draw(0) * x + 2.0 * draw(1) * y + draw(2))).sin()
        };
        let pixel = |at: usize| {
            let centre = |at: usize| (at as f64 + 0.5) / size as f64;
            let (y, x) = (centre(at / size), centre(at % size));
            let value = (0..4).map(|number| wave(number, x, y)).sum::<f64>();
            [(128.0 + 25.0 * value) as u8, (120.0 + 20.0 * value) as u8, 90]
        };
        (0..size * size).flat_map(pixel).collect()
    }

    #[test]
    fn an_image_is_known_again_and_no_other_is() {
        let of = |seed, size| Thumbnail::of(&picture(seed, size), size).unwrap();
        for seed in 0..30 {
            let one = of(seed, 32);
            let text = one.to_text();
            assert_eq!(Thumbnail::from_text(text.as_bytes().try_into().unwrap()).as_ref(), Some(&one));
            for size in [24, 47, 96] {
                assert!(one.is_like(&of(seed, size)), "{seed} at {size} px");
            }
            let mirrored: Vec<u8> = picture(seed, 32)
                .chunks(96)
                .flat_map(|row| row.chunks(3).rev().flatten().copied().collect::<Vec<u8>>())
                .collect();
            assert!(one.is_like(&Thumbnail::of(&mirrored, 32).unwrap()));
            let coarse: Vec<u8> = picture(seed, 32).iter().map(|value| value / 8 * 8).collect();
            assert!(one.is_like(&Thumbnail::of(&coarse, 32).unwrap()), "{seed}, 5 bits");
            let others = (0..30).filter(|other| *other != seed && one.is_like(&of(*other, 32))).count();
            assert_eq!(others, 0, "{seed}");
        }
        assert_eq!(Thumbnail::of(&[7; 3], 1), None);
        assert_eq!(Thumbnail::from_text(&[b'!'; LENGTH]), None);
    }
}
