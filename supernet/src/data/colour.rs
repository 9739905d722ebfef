//! Colours of training images: brightness, contrast, saturation and hue, as torchvision's `ColorJitter` defines them for
//! images of floating-point values.
//!
//! Images are rows of pixels, three values from 0 to 1 each, red first; every operation leaves them there.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::DataError;

/// By how much colours are changed, in an order drawn for each image; in a recipe
/// `colour_jitter: {brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1}`. What is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColourJitter {
    /// Brightness is multiplied by 1 − this to 1 + this; 0 to 1.
    pub brightness: f64,
    /// The difference from the mean grey of the image likewise.
    pub contrast: f64,
    /// The difference from the pixel's own grey likewise.
    pub saturation: f64,
    /// The hue is turned by up to this share of the colour circle, either way; 0 to 0.5.
    pub hue: f64,
}

impl ColourJitter {
    pub(super) fn check(&self) -> Result<(), DataError> {
        let settings = [
            ("augmentation.colour_jitter.brightness", self.brightness, 1.0),
            ("augmentation.colour_jitter.contrast", self.contrast, 1.0),
            ("augmentation.colour_jitter.saturation", self.saturation, 1.0),
            ("augmentation.colour_jitter.hue", self.hue, 0.5),
        ];
        match settings.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value)) {
            None => Ok(()),
            Some((setting, value, most)) => Err(DataError::Setting {
                setting,
                value: format!("{value:?}"),
                reason: format!("but must be 0 to {most}"),
            }),
        }
    }

    /// Changes one image.
    pub(super) fn apply(&self, pixels: &mut [f32], rng: &mut ChaCha8Rng) {
        let mut order = [0, 1, 2, 3];
        order.shuffle(rng);
        for operation in order {
            let strength = [self.brightness, self.contrast, self.saturation, self.hue][operation];
            if strength == 0.0 {
                continue;
            }
            let drawn = rng.random_range(-strength..=strength) as f32;
            match operation {
                0 => brightness(pixels, 1.0 + drawn),
                1 => contrast(pixels, 1.0 + drawn),
                2 => saturation(pixels, 1.0 + drawn),
                _ => hue(pixels, drawn),
            }
        }
    }
}

/// Mixes with black: 0 is black, 1 the image, more is brighter.
pub(super) fn brightness(pixels: &mut [f32], factor: f32) {
    pixels.iter_mut().for_each(|value| *value = (*value * factor).clamp(0.0, 1.0));
}

/// Mixes with the mean grey of the image.
pub(super) fn contrast(pixels: &mut [f32], factor: f32) {
    let sum: f32 = pixels.chunks_exact(3).map(grey).sum();
    let rest = (1.0 - factor) * sum / (pixels.len() / 3) as f32;
    pixels.iter_mut().for_each(|value| *value = (*value * factor + rest).clamp(0.0, 1.0));
}

/// Mixes each pixel with its own grey.
pub(super) fn saturation(pixels: &mut [f32], factor: f32) {
    for pixel in pixels.chunks_exact_mut(3) {
        let rest = (1.0 - factor) * grey(pixel);
        pixel.iter_mut().for_each(|value| *value = (*value * factor + rest).clamp(0.0, 1.0));
    }
}

/// Luma of ITU-R BT.601, with torchvision's digits.
fn grey(pixel: &[f32]) -> f32 {
    0.2989 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
}

/// Turns the hue (of hue, saturation, value) by `turn` of the colour circle, −1 to 1.
pub(super) fn hue(pixels: &mut [f32], turn: f32) {
    for pixel in pixels.chunks_exact_mut(3) {
        let [red, green, blue] = [pixel[0], pixel[1], pixel[2]];
        let (value, least) = (red.max(green).max(blue), red.min(green).min(blue));
        let chroma = value - least;
        if chroma <= 0.0 {
            continue;
        }
        // In sixths of the circle, from red over yellow.
        let (sector, difference) = if value == red {
            (0.0, green - blue)
        } else if value == green {
            (2.0, blue - red)
        } else {
            (4.0, red - green)
        };
        let sixths = sector + difference / chroma;
        let sixths = around(sixths + 6.0 * turn);
        // A channel falls by the chroma over two sixths of the circle, is at its least for two, and rises again.
        let channel = |place: f32| {
            let at = around(place + sixths);
            value - chroma * at.min(4.0 - at).clamp(0.0, 1.0)
        };
        [pixel[0], pixel[1], pixel[2]] = [channel(5.0), channel(3.0), channel(1.0)];
    }
}

/// Place on the circle, from 0 to 6, of one at most a turn away. A remainder would take most of the time.
fn around(sixths: f32) -> f32 {
    if sixths < 0.0 {
        sixths + 6.0
    } else if sixths >= 6.0 {
        sixths - 6.0
    } else {
        sixths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    /// One operation on an image, and what torchvision's definition gives.
    fn check(operation: impl Fn(&mut [f32]), image: &[f32], expected: &[f32]) {
        let mut pixels = image.to_vec();
        operation(&mut pixels);
        assert!(pixels.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{pixels:?} instead of {expected:?}");
    }

    const IMAGE: [f32; 6] = [0.2, 0.6, 1.0, 0.4, 0.4, 0.0];

    #[test]
    fn each_operation_is_what_its_definition_says() {
        check(|pixels| brightness(pixels, 1.5), &IMAGE, &[0.3, 0.9, 1.0, 0.6, 0.6, 0.0]);
        check(|pixels| brightness(pixels, 0.0), &IMAGE, &[0.0; 6]);
        // Greys: 0.2989·0.2 + 0.587·0.6 + 0.114 = 0.52598 and 0.8859·0.4 = 0.35436; their mean is 0.44017.
        check(|pixels| contrast(pixels, 0.0), &IMAGE, &[0.44017; 6]);
        check(|pixels| contrast(pixels, 0.5), &IMAGE, &[0.320085, 0.520085, 0.720085, 0.420085, 0.420085, 0.220085]);
        check(|pixels| contrast(pixels, 2.0), &IMAGE, &[0.0, 0.75983, 1.0, 0.35983, 0.35983, 0.0]);
        check(|pixels| saturation(pixels, 0.0), &IMAGE, &[0.52598, 0.52598, 0.52598, 0.35436, 0.35436, 0.35436]);
        check(|pixels| saturation(pixels, 2.0), &IMAGE, &[0.0, 0.67402, 1.0, 0.44564, 0.44564, 0.0]);
    }

    #[test]
    fn hues_go_round_the_circle() {
        let (red, yellow, green) = ([1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]);
        check(|pixels| hue(pixels, 1.0 / 6.0), &red, &yellow);
        check(|pixels| hue(pixels, 1.0 / 3.0), &red, &green);
        check(|pixels| hue(pixels, -1.0 / 3.0), &red, &[0.0, 0.0, 1.0]);
        check(|pixels| hue(pixels, 0.5), &[0.2, 0.6, 1.0], &[1.0, 0.6, 0.2]);
        // 0.2, 0.6, 1.0 has the hue 210° of 360°; 36° further are 246°, a tenth of the way from blue to magenta.
        check(|pixels| hue(pixels, 0.1), &[0.2, 0.6, 1.0], &[0.28, 0.2, 1.0]);
        check(|pixels| hue(pixels, 0.37), &[0.3, 0.3, 0.3], &[0.3, 0.3, 0.3]);
    }

    #[test]
    fn no_change_changes_nothing() {
        let every: Vec<f32> = (0..729).map(|at| (at % 9) as f32 / 8.0).collect();
        check(|pixels| brightness(pixels, 1.0), &every, &every);
        check(|pixels| contrast(pixels, 1.0), &every, &every);
        check(|pixels| saturation(pixels, 1.0), &every, &every);
        for red in 0..9 {
            for green in 0..9 {
                for blue in 0..9 {
                    let pixel = [red, green, blue].map(|level| level as f32 / 8.0);
                    check(|pixels| hue(pixels, 0.0), &pixel, &pixel);
                    check(|pixels| hue(pixels, 1.0), &pixel, &pixel);
                }
            }
        }
        let mut pixels = IMAGE;
        ColourJitter::default().apply(&mut pixels, &mut generator(1, Purpose::Augment, 0, 0));
        assert_eq!(pixels, IMAGE);
    }

    #[test]
    fn jitter_stays_within_what_was_asked_for_and_orders_differ() {
        let jitter = ColourJitter { brightness: 0.3, ..ColourJitter::default() };
        let mut factors: Vec<f32> = (0..500)
            .map(|seed| {
                let mut pixels = [0.5; 3];
                jitter.apply(&mut pixels, &mut generator(seed, Purpose::Augment, 0, 0));
                pixels[0] / 0.5
            })
            .collect();
        factors.sort_by(f32::total_cmp);
        assert!((0.7..0.72).contains(&factors[0]) && (1.28..=1.3001).contains(&factors[499]), "{factors:?}");
        assert!((0.95..1.05).contains(&factors[250]));
        // Black ends are cut off before or after contrast, as the order says.
        let both = ColourJitter { brightness: 1.0, contrast: 1.0, saturation: 1.0, hue: 0.5 };
        let results: std::collections::HashSet<Vec<u32>> = (0..50)
            .map(|seed| {
                let mut pixels = IMAGE;
                both.apply(&mut pixels, &mut generator(seed, Purpose::Augment, 0, 0));
                assert!(pixels.iter().all(|value| (0.0..=1.0).contains(value)));
                pixels.iter().map(|value| value.to_bits()).collect()
            })
            .collect();
        assert_eq!(results.len(), 50);
    }
}
