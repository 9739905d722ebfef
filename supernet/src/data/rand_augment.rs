//! RandAugment (Cubuk et al. 2019, arXiv:1909.13719): a few operations per image, all at one magnitude.
//!
//! Operations are drawn evenly, with replacement, from this list; m is the magnitude over 30, ± a sign drawn evenly:
//!
//! | operation | at magnitude m |
//! |---|---|
//! | identity | – |
//! | auto-contrast | each channel stretched from 0 to 1 |
//! | equalize | each channel's levels spread evenly over their ranks |
//! | rotate | ± 30° m |
//! | shear-x, shear-y | ± 0.3 m, about the centre |
//! | translate-x, translate-y | ± 0.3125 m of the side (10 pixels of 32) |
//! | brightness, contrast, colour (saturation) | factor 1 ± 0.9 m |
//! | posterize | round(8 − 4 m) bits are left |
//! | solarize | levels from 256 (1 − m) up are inverted |
//!
//! It is the paper's list without sharpness, whose 3×3 filter is made for photographs: at 32 pixels it removes or doubles
//! the edges that are all there is of an object. Translation goes as far as for the paper's CIFAR networks, not by 45 %
//! of the side as for ImageNet. Nearest pixels are taken, and what comes from beyond the border is the mean colour, as for
//! the padded crop. Equalize divides exactly; the usual integer steps would turn a quarter of an image of 32×32 white.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::colour::{brightness, contrast, saturation};
use super::error::DataError;

/// How many operations and how strong; in a recipe `rand_augment: {operations: 2, magnitude: 9}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandAugment {
    /// Operations per image, 1 to 8.
    pub operations: usize,
    /// 0 (operations that have a magnitude do nothing) to 30.
    pub magnitude: f64,
}

impl Default for RandAugment {
    fn default() -> RandAugment {
        RandAugment { operations: 2, magnitude: 9.0 }
    }
}

const MOST: f64 = 30.0;

/// What can be done to an image.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Identity,
    AutoContrast,
    Equalize,
    Rotate,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Brightness,
    Contrast,
    Colour,
    Posterize,
    Solarize,
}

const OPERATIONS: [Operation; 13] = [
    Operation::Identity,
    Operation::AutoContrast,
    Operation::Equalize,
    Operation::Rotate,
    Operation::ShearX,
    Operation::ShearY,
    Operation::TranslateX,
    Operation::TranslateY,
    Operation::Brightness,
    Operation::Contrast,
    Operation::Colour,
    Operation::Posterize,
    Operation::Solarize,
];

impl RandAugment {
    pub(super) fn check(&self) -> Result<(), DataError> {
        let wrong = |setting, value: String, reason: &str| {
            Err(DataError::Setting { setting, value, reason: reason.to_string() })
        };
        if !(1..=8).contains(&self.operations) {
            return wrong("augmentation.rand_augment.operations", self.operations.to_string(), "but must be 1 to 8");
        }
        if !(0.0..=MOST).contains(&self.magnitude) {
            return wrong("augmentation.rand_augment.magnitude", self.magnitude.to_string(), "but must be 0 to 30");
        }
        Ok(())
    }

    /// Changes one image of size×size pixels, values from 0 to 1; `mean` is what lies beyond the border.
    pub(super) fn apply(&self, pixels: &mut [f32], size: usize, mean: [f32; 3], rng: &mut ChaCha8Rng) {
        for _ in 0..self.operations {
            let operation = OPERATIONS[rng.random_range(0..OPERATIONS.len())];
            let sign = if rng.random() { 1.0 } else { -1.0 };
            operation.apply((self.magnitude / MOST) as f32, sign, pixels, size, mean);
        }
    }
}

impl Operation {
    /// `strength` is from 0 to 1.
    fn apply(self, strength: f32, sign: f32, pixels: &mut [f32], size: usize, mean: [f32; 3]) {
        let signed = sign * strength;
        match self {
            Operation::Identity => {}
            Operation::AutoContrast => auto_contrast(pixels),
            Operation::Equalize => equalize(pixels),
            Operation::Rotate => {
                let (sin, cos) = (30.0 * signed).to_radians().sin_cos();
                Moved { x: [cos, sin, 0.0], y: [-sin, cos, 0.0] }.apply(pixels, size, mean);
            }
            Operation::ShearX => Moved { x: [1.0, 0.3 * signed, 0.0], y: [0.0, 1.0, 0.0] }.apply(pixels, size, mean),
            Operation::ShearY => Moved { x: [1.0, 0.0, 0.0], y: [0.3 * signed, 1.0, 0.0] }.apply(pixels, size, mean),
            Operation::TranslateX => Moved::by(shift(signed, size), 0.0).apply(pixels, size, mean),
            Operation::TranslateY => Moved::by(0.0, shift(signed, size)).apply(pixels, size, mean),
            Operation::Brightness => brightness(pixels, 1.0 + 0.9 * signed),
            Operation::Contrast => contrast(pixels, 1.0 + 0.9 * signed),
            Operation::Colour => saturation(pixels, 1.0 + 0.9 * signed),
            Operation::Posterize => posterize(pixels, (8.0 - 4.0 * strength).round() as u32),
            Operation::Solarize => solarize(pixels, 256.0 * (1.0 - strength)),
        }
    }
}

/// Whole pixels.
fn shift(signed: f32, size: usize) -> f32 {
    (0.3125 * signed * size as f32).round()
}

/// Where each pixel comes from: x and y relative to the image's centre, each a sum of x, y and 1.
struct Moved {
    x: [f32; 3],
    y: [f32; 3],
}

impl Moved {
    /// Everything moves so far to the right and down.
    fn by(right: f32, down: f32) -> Moved {
        Moved { x: [1.0, 0.0, -right], y: [0.0, 1.0, -down] }
    }

    fn apply(&self, pixels: &mut [f32], size: usize, mean: [f32; 3]) {
        let before = pixels.to_vec();
        let centre = (size as f32 - 1.0) / 2.0;
        // The nearest place; a cast is many times faster than rounding.
        let nearest = |place: f32| {
            let place = place + 0.5;
            (place >= 0.0 && place < size as f32).then_some(place as usize)
        };
        for (y, row) in pixels.chunks_exact_mut(size * 3).enumerate() {
            let y = y as f32 - centre;
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let x = x as f32 - centre;
                let from = |[of_x, of_y, one]: [f32; 3]| nearest(of_x * x + of_y * y + one + centre);
                match (from(self.x), from(self.y)) {
                    (Some(column), Some(row)) => {
                        let at = (row * size + column) * 3;
                        pixel.copy_from_slice(&before[at..at + 3]);
                    }
                    _ => pixel.copy_from_slice(&mean),
                }
            }
        }
    }
}

/// A value as a byte.
fn level(value: f32) -> u8 {
    // Casts cut off the fraction, and saturate.
    (value * 255.0 + 0.5) as u8
}

fn auto_contrast(pixels: &mut [f32]) {
    for channel in 0..3 {
        let values = pixels.iter().skip(channel).step_by(3);
        let (least, most) =
            values.fold((f32::MAX, f32::MIN), |(least, most), &value| (least.min(value), most.max(value)));
        if most > least {
            let scale = 1.0 / (most - least);
            pixels.iter_mut().skip(channel).step_by(3).for_each(|value| *value = (*value - least) * scale);
        }
    }
}

/// A level becomes the share of pixels below it among those that are not at the highest level.
fn equalize(pixels: &mut [f32]) {
    for channel in 0..3 {
        let mut counts = [0_u32; 256];
        pixels.iter().skip(channel).step_by(3).for_each(|&value| counts[usize::from(level(value))] += 1);
        let highest = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
        let below_highest: u32 = counts[..highest].iter().sum();
        if below_highest == 0 {
            continue;
        }
        let mut below = 0;
        let table = counts.map(|count| {
            let value = below as f32 / below_highest as f32;
            below += count;
            value
        });
        for value in pixels.iter_mut().skip(channel).step_by(3) {
            *value = table[usize::from(level(*value))];
        }
    }
}

/// Keeps the `bits` highest bits of every byte.
fn posterize(pixels: &mut [f32], bits: u32) {
    if bits < 8 {
        let mask = !(0xff_u8 >> bits);
        pixels.iter_mut().for_each(|value| *value = f32::from(level(*value) & mask) / 255.0);
    }
}

/// Inverts levels from `threshold` (in 256) up.
fn solarize(pixels: &mut [f32], threshold: f32) {
    for value in pixels.iter_mut() {
        if f32::from(level(*value)) >= threshold {
            *value = 1.0 - *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    const MEAN: [f32; 3] = [0.5, 0.4, 0.3];

    /// A size×size image with a level of its own at every place.
    fn places(size: usize) -> Vec<f32> {
        (0..size * size)
            .flat_map(|place| [place as f32, place as f32, place as f32].map(|level| level / 255.0))
            .collect()
    }

    /// The level shown at each place; `None` for the mean colour.
    fn shown(pixels: &[f32]) -> Vec<Option<u8>> {
        pixels.chunks_exact(3).map(|pixel| (pixel != MEAN).then(|| level(pixel[0]))).collect()
    }

    fn done(operation: Operation, strength: f32, sign: f32, size: usize) -> Vec<Option<u8>> {
        let mut pixels = places(size);
        operation.apply(strength, sign, &mut pixels, size, MEAN);
        shown(&pixels)
    }

    #[test]
    fn pixels_move_and_the_mean_colour_follows() {
        // 3 × 0.3125 is a pixel.
        let expected = [None, Some(0), Some(1), None, Some(3), Some(4), None, Some(6), Some(7)];
        assert_eq!(done(Operation::TranslateX, 1.0, 1.0, 3), expected);
        let expected = [Some(3), Some(4), Some(5), Some(6), Some(7), Some(8), None, None, None];
        assert_eq!(done(Operation::TranslateY, 1.0, -1.0, 3), expected);
        // Rows 2 and 2.5 above the centre of five come from 0.6 columns to the left: one pixel.
        let sheared = done(Operation::ShearX, 1.0, 1.0, 5);
        assert_eq!(sheared[..5], [None, Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(sheared[10..15], [10, 11, 12, 13, 14].map(Some));
        assert_eq!(sheared[20..], [Some(21), Some(22), Some(23), Some(24), None]);
        let sheared = done(Operation::ShearY, 1.0, 1.0, 5);
        assert_eq!(
            [sheared[0], sheared[5], sheared[2], sheared[24], sheared[19]],
            [None, Some(0), Some(2), None, Some(24)]
        );
    }

    #[test]
    fn quarter_turns_are_exact() {
        let mut pixels = places(3);
        Moved { x: [0.0, 1.0, 0.0], y: [-1.0, 0.0, 0.0] }.apply(&mut pixels, 3, MEAN);
        assert_eq!(shown(&pixels), [6, 3, 0, 7, 4, 1, 8, 5, 2].map(Some));
        // By 30° the middle stays and corners come from outside.
        let turned = done(Operation::Rotate, 1.0, 1.0, 9);
        assert_eq!((turned[40], turned[0], turned[8], turned[72], turned[80]), (Some(40), None, None, None, None));
        assert_ne!(turned, done(Operation::Rotate, 1.0, -1.0, 9));
    }

    #[test]
    fn levels_change_as_the_table_says() {
        let grey =
            |levels: &[u8]| -> Vec<f32> { levels.iter().flat_map(|&byte| [f32::from(byte) / 255.0; 3]).collect() };
        let levels = |pixels: &[f32]| -> Vec<u8> { pixels.iter().map(|&value| level(value)).collect() };
        let check = |operation: &dyn Fn(&mut [f32]), before: &[u8], expected: &[u8]| {
            let mut pixels = grey(before);
            operation(&mut pixels);
            assert_eq!(levels(&pixels), levels(&grey(expected)));
        };
        check(&|pixels| posterize(pixels, 4), &[0, 15, 16, 200, 255], &[0, 0, 16, 192, 240]);
        check(&|pixels| posterize(pixels, 8), &[0, 15, 255], &[0, 15, 255]);
        check(&|pixels| solarize(pixels, 128.0), &[0, 127, 128, 255], &[0, 127, 127, 0]);
        check(&|pixels| solarize(pixels, 256.0), &[0, 128, 255], &[0, 128, 255]);
        check(&|pixels| solarize(pixels, 0.0), &[0, 128, 255], &[255, 127, 0]);
        check(&auto_contrast, &[50, 110, 150], &[0, 153, 255]);
        check(&auto_contrast, &[51, 51], &[51, 51]);
        // Two of five pixels are at the highest level: one of the other three, then two, then all are below.
        check(&equalize, &[9, 10, 11, 12, 12], &[0, 85, 170, 255, 255]);
        check(&equalize, &[7, 7], &[7, 7]);
    }

    #[test]
    fn magnitude_zero_does_nothing_and_the_greatest_does_what_the_table_says() {
        for operation in OPERATIONS {
            if matches!(operation, Operation::AutoContrast | Operation::Equalize) {
                continue;
            }
            for sign in [1.0, -1.0] {
                let mut pixels = places(6);
                operation.apply(0.0, sign, &mut pixels, 6, MEAN);
                assert_eq!(pixels, places(6), "{operation:?}");
            }
        }
        let value = |operation: Operation, sign: f32| {
            let mut pixels = vec![0.4; 3];
            operation.apply(1.0, sign, &mut pixels, 1, MEAN);
            pixels[0]
        };
        assert!((value(Operation::Brightness, -1.0) - 0.04).abs() < 1e-6);
        assert!((value(Operation::Brightness, 1.0) - 0.76).abs() < 1e-6);
        assert!((value(Operation::Solarize, 1.0) - 0.6).abs() < 1e-6);
        assert_eq!(level(value(Operation::Posterize, 1.0)), 96);
    }

    #[test]
    fn every_operation_comes_up_and_values_stay_values() {
        let augment = RandAugment { operations: 3, magnitude: 30.0 };
        let mut seen = std::collections::HashSet::new();
        for seed in 0..300 {
            let mut pixels = places(8);
            augment.apply(&mut pixels, 8, MEAN, &mut generator(seed, Purpose::Augment, 0, 0));
            assert!(pixels.iter().all(|value| (0.0..=1.0).contains(value)));
            seen.insert(pixels.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        }
        assert!(seen.len() > 150, "{}", seen.len());
    }
}
