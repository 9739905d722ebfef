//! A small made-up data set: textures that a network can learn, but not from one pixel or from the mean colour.
//!
//! A class is an orientation, a wavelength and a pair of colours of a wave; an image shows it at a random phase,
//! contrast and brightness, under a weaker wave of another class and under noise.

use std::f64::consts::{PI, TAU};
use std::fmt;
use std::path::Path;

use image::RgbImage;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::collector::Collector;
use super::error::{DataError, Place};
use crate::random::{Purpose, generator};

/// How many images of what kind: `COUNT[,size=32][,classes=10][,seed=0]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// Training images; the test set is a quarter of that.
    pub images: usize,
    /// Height and width.
    pub size: usize,
    /// Number of classes, equally frequent.
    pub classes: usize,
    /// Two seeds give two sets of images of the same classes.
    pub seed: u64,
}

impl Default for Synthetic {
    fn default() -> Synthetic {
        Synthetic { images: 2000, size: 32, classes: 10, seed: 0 }
    }
}

impl Synthetic {
    /// Reads `COUNT` and `key=value` options, comma-separated; nothing at all is the default.
    pub(super) fn parse(text: &str) -> Result<Synthetic, String> {
        let mut result = Synthetic::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or(("images", part));
            let number: u64 = value.parse().map_err(|_| format!("`{value}` is not a whole number, in `{part}`"))?;
            let within = |low: u64, high: u64| match number {
                number if (low..=high).contains(&number) => Ok(number as usize),
                _ => Err(format!("{key} is {number}, not {low} to {high}")),
            };
            match key {
                "images" => result.images = within(1, 10_000_000)?,
                "size" => result.size = within(4, 1024)?,
                "classes" => result.classes = within(2, 1000)?,
                "seed" => result.seed = number,
                _ => return Err(format!("synthetic images have no `{key}`, but images, size, classes and seed")),
            }
        }
        Ok(result)
    }

    /// Appends the training or the test images; classes follow each other in turn.
    pub(super) fn generate(&self, test: bool, images: &mut Collector) -> Result<(), DataError> {
        let count = if test { (self.images / 4).max(1) } else { self.images };
        let make = |index: usize| {
            self.image(
                index % self.classes,
                &mut generator(self.seed, Purpose::Synthetic, u64::from(test), index as u64),
            )
        };
        let made: Vec<RgbImage> = (0..count).into_par_iter().map(make).collect();
        for (index, image) in made.into_iter().enumerate() {
            let label = (index % self.classes) as i64;
            images.push_raw(image, label, || Place::row(Path::new("synthetic"), index))?;
        }
        Ok(())
    }

    fn image(&self, class: usize, rng: &mut ChaCha8Rng) -> RgbImage {
        let other = (class + rng.random_range(1..self.classes)) % self.classes;
        let (wave, distractor) = (self.wave(class), self.wave(other));
        let (phase, other_phase) = (rng.random_range(0.0..TAU), rng.random_range(0.0..TAU));
        let (contrast, brightness) = (rng.random_range(15.0..45.0), rng.random_range(80.0..176.0));
        let weight = rng.random_range(0.3..0.9);
        RgbImage::from_fn(self.size as u32, self.size as u32, |x, y| {
            let (x, y) = (f64::from(x), f64::from(y));
            let own = (wave.across * x + wave.down * y + phase).sin();
            let foreign = (distractor.across * x + distractor.down * y + other_phase).sin();
            image::Rgb(std::array::from_fn(|channel| {
                let signal = own * wave.colour[channel] + weight * foreign * distractor.colour[channel];
                let noise = rng.random_range(-60.0..60.0);
                (brightness + contrast * signal + noise).clamp(0.0, 255.0) as u8
            }))
        })
    }

    /// Orientation, wavelength and colour go through their values at different paces, so that no two classes of a
    /// moderate number agree in all three.
    fn wave(&self, class: usize) -> Wave {
        let angle = PI * class as f64 / self.classes as f64;
        let wavelength = [4.0, 6.0, 9.0][class % 3];
        let hue = TAU * (class % 4) as f64 / 4.0;
        let frequency = TAU / wavelength;
        Wave {
            across: frequency * angle.cos(),
            down: frequency * angle.sin(),
            colour: [0.0, TAU / 3.0, 2.0 * TAU / 3.0].map(|shift| 0.4 + 0.6 * (hue + shift).cos()),
        }
    }
}

impl fmt::Display for Synthetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},size={},classes={},seed={}", self.images, self.size, self.classes, self.seed)
    }
}

struct Wave {
    across: f64,
    down: f64,
    colour: [f64; 3],
}
