//! Images of a batch mixed with one another: mixup (Zhang et al. 2017, arXiv:1710.09412) and cutmix (Yun et al. 2019,
//! arXiv:1905.04899).
//!
//! The partner of an image is the next one of its batch, and that of the last is the first: epochs are shuffled, so pairs
//! are random. The weight λ is drawn from Beta(α, α) for each image by itself, as the papers define it; their published
//! implementations draw one for all of a batch. Mixing happens last, to normalised and otherwise augmented images.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::error::DataError;

/// How strongly and how often; in a recipe `mixup: {alpha: 0.2}` or `cutmix: {alpha: 1.0, share: 0.5}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// α of Beta(α, α), from which an image's weight is drawn, 0.01 to 100: near 0 mostly one of two images is seen, 1
    /// draws evenly, more mixes halves.
    pub alpha: f64,
    /// Share of images that are mixed, above 0 to 1; those of mixup and cutmix together at most 1.
    #[serde(default = "all")]
    pub share: f64,
}

fn all() -> f64 {
    1.0
}

/// What is done to the images of a batch together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mixing {
    pub(super) mixup: Option<Mix>,
    pub(super) cutmix: Option<Mix>,
}

/// What the images of a batch were mixed with.
#[derive(Debug)]
pub struct Partners {
    /// Their partners' classes, int64 `[N]`.
    pub labels: Tensor,
    /// Weight of the image's own class, from 0 to 1; the partner's is the rest. float32 `[N]`.
    pub weights: Tensor,
}

impl Partners {
    /// The next image is the partner.
    pub(super) fn next(labels: &Tensor, weights: &[f32]) -> Partners {
        Partners { labels: labels.roll([-1], [0]), weights: Tensor::from_slice(weights) }
    }

    /// These partners on another device.
    pub fn to_device(&self, device: Device) -> Partners {
        Partners { labels: self.labels.to_device(device), weights: self.weights.to_device(device) }
    }

    /// These partners, sharing memory.
    pub fn shallow_clone(&self) -> Partners {
        Partners { labels: self.labels.shallow_clone(), weights: self.weights.shallow_clone() }
    }
}

/// What happens to one image.
#[derive(Clone, Debug, PartialEq)]
enum Mixture {
    /// Nothing.
    Alone,
    /// The mean of both, with this weight of its own.
    Blend(f32),
    /// Rows and columns come from the partner.
    Paste(Range<usize>, Range<usize>),
}

impl Mixing {
    pub(super) fn is_on(&self) -> bool {
        self.mixup.is_some() || self.cutmix.is_some()
    }

    pub(super) fn check(&self) -> Result<(), DataError> {
        let wrong = |setting, value: f64, reason: &str| {
            Err(DataError::Setting { setting, value: format!("{value:?}"), reason: reason.to_string() })
        };
        for (mix, [alpha, share]) in [
            (self.mixup, ["augmentation.mixup.alpha", "augmentation.mixup.share"]),
            (self.cutmix, ["augmentation.cutmix.alpha", "augmentation.cutmix.share"]),
        ] {
            match mix {
                Some(mix) if !(0.01..=100.0).contains(&mix.alpha) => {
                    return wrong(alpha, mix.alpha, "but must be 0.01 to 100");
                }
                Some(mix) if !(mix.share > 0.0 && mix.share <= 1.0) => {
                    return wrong(share, mix.share, "but must be above 0 and at most 1");
                }
                _ => {}
            }
        }
        match (self.mixup, self.cutmix) {
            (Some(mixup), Some(cutmix)) if mixup.share + cutmix.share > 1.0 => {
                wrong("augmentation.cutmix.share", cutmix.share, "but must leave room for `augmentation.mixup.share`")
            }
            _ => Ok(()),
        }
    }

    /// Mixes images of size×size×3 values each with the next; `rng` is asked for each image's generator. Gives the weights
    /// of the images' own classes.
    pub(super) fn apply(&self, images: &mut [f32], size: usize, rng: impl Fn(usize) -> ChaCha8Rng) -> Vec<f32> {
        let values = size * size * 3;
        let first = images[..values].to_vec();
        let count = images.len() / values;
        let weights = (0..count).map(|place| {
            let (own, rest) = images[place * values..].split_at_mut(values);
            // Its turn comes later, so it is as it was.
            let partner = if rest.is_empty() { &first[..] } else { &rest[..values] };
            let mixture = self.draw(size, &mut rng(place));
            mixture.apply(own, partner, size);
            mixture.weight(size)
        });
        weights.collect()
    }

    fn draw(&self, size: usize, rng: &mut ChaCha8Rng) -> Mixture {
        let coin: f64 = rng.random();
        let of = |mix: Option<Mix>| mix.map_or(0.0, |mix| mix.share);
        let beta = |mix: Option<Mix>, rng: &mut ChaCha8Rng| {
            let alpha = mix.map_or(1.0, |mix| mix.alpha);
            Beta::new(alpha, alpha).expect("a checked α").sample(rng)
        };
        if coin < of(self.mixup) {
            Mixture::Blend(beta(self.mixup, rng) as f32)
        } else if coin < of(self.mixup) + of(self.cutmix) {
            let weight = beta(self.cutmix, rng);
            Mixture::paste(size, weight, [rng.random_range(0..size), rng.random_range(0..size)])
        } else {
            Mixture::Alone
        }
    }
}

impl Mixture {
    /// A rectangle of the image's proportions with the area 1 − `weight`, cut off at the border.
    fn paste(size: usize, weight: f64, centre: [usize; 2]) -> Mixture {
        let side = (size as f64 * (1.0 - weight).max(0.0).sqrt()).round() as usize;
        let [rows, columns] = centre.map(|centre| {
            let start = centre as i64 - side as i64 / 2;
            start.max(0) as usize..(start + side as i64).clamp(0, size as i64) as usize
        });
        Mixture::Paste(rows, columns)
    }

    fn apply(&self, own: &mut [f32], partner: &[f32], size: usize) {
        match self {
            Mixture::Alone => {}
            Mixture::Blend(weight) => {
                let rest = 1.0 - weight;
                own.iter_mut().zip(partner).for_each(|(own, partner)| *own = weight * *own + rest * partner);
            }
            Mixture::Paste(rows, columns) => {
                for row in rows.clone() {
                    let span = (row * size + columns.start) * 3..(row * size + columns.end) * 3;
                    own[span.clone()].copy_from_slice(&partner[span]);
                }
            }
        }
    }

    /// Share of the image itself in what is seen.
    fn weight(&self, size: usize) -> f32 {
        match self {
            Mixture::Alone => 1.0,
            Mixture::Blend(weight) => *weight,
            Mixture::Paste(rows, columns) => {
                let all = size * size;
                (all - rows.len() * columns.len()) as f32 / all as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    const SIZE: usize = 8;

    /// `count` images, each of its own number.
    fn numbered(count: usize) -> Vec<f32> {
        (0..count).flat_map(|number| vec![number as f32; SIZE * SIZE * 3]).collect()
    }

    fn stream(place: usize) -> ChaCha8Rng {
        let mut rng = generator(7, Purpose::Mix, 0, 0);
        rng.set_stream(place as u64);
        rng
    }

    fn mix(alpha: f64, share: f64) -> Option<Mix> {
        Some(Mix { alpha, share })
    }

    #[test]
    fn a_blend_is_the_weighted_mean_with_the_next_image_and_the_last_ones_is_the_first() {
        let (mut images, all) = (numbered(50), Mixing { mixup: mix(1.0, 1.0), cutmix: None });
        let weights = all.apply(&mut images, SIZE, stream);
        assert_eq!(weights.len(), 50);
        for (place, (image, weight)) in images.chunks_exact(SIZE * SIZE * 3).zip(&weights).enumerate() {
            let (own, partner) = (place as f32, ((place + 1) % 50) as f32);
            let expected = weight * own + (1.0 - weight) * partner;
            assert!(image.iter().all(|value| (value - expected).abs() < 1e-5), "{place}: {weight}");
        }
        let mean = weights.iter().sum::<f32>() / 50.0;
        assert!((0.35..0.65).contains(&mean), "{mean}");
    }

    #[test]
    fn a_pasted_rectangle_takes_as_much_weight_as_area() {
        let (mut images, all) = (numbered(200), Mixing { mixup: None, cutmix: mix(1.0, 1.0) });
        let weights = all.apply(&mut images, SIZE, stream);
        for (place, (image, weight)) in images.chunks_exact(SIZE * SIZE * 3).zip(&weights).enumerate() {
            let own = image.chunks_exact(3).filter(|pixel| **pixel == [place as f32; 3]).count();
            let partner = image.chunks_exact(3).filter(|pixel| **pixel == [((place + 1) % 200) as f32; 3]).count();
            assert_eq!(own + partner, SIZE * SIZE);
            assert_eq!(*weight, own as f32 / (SIZE * SIZE) as f32);
        }
        let places = Mixture::paste(SIZE, 0.75, [0, 7]);
        assert_eq!(places, Mixture::Paste(0..2, 5..8), "a side of 4, cut off at two borders");
        assert_eq!(places.weight(SIZE), 58.0 / 64.0);
        assert_eq!(Mixture::paste(SIZE, 0.0, [4, 4]).weight(SIZE), 0.0);
    }

    #[test]
    fn a_weight_of_one_is_the_image_itself() {
        let (own, partner) = (numbered(2)[..192].to_vec(), vec![9.0; 192]);
        for mixture in [Mixture::Alone, Mixture::Blend(1.0), Mixture::paste(SIZE, 1.0, [3, 3])] {
            let mut image = own.clone();
            mixture.apply(&mut image, &partner, SIZE);
            assert_eq!((image, mixture.weight(SIZE)), (own.clone(), 1.0), "{mixture:?}");
        }
    }

    #[test]
    fn shares_say_how_many_are_mixed_and_alpha_how_much() {
        let kinds = |mixing: Mixing| {
            let mut counts = [0; 3];
            for place in 0..2000 {
                counts[match mixing.draw(32, &mut stream(place)) {
                    Mixture::Alone => 0,
                    Mixture::Blend(_) => 1,
                    Mixture::Paste(..) => 2,
                }] += 1;
            }
            counts
        };
        let [alone, blended, pasted] = kinds(Mixing { mixup: mix(0.2, 0.3), cutmix: mix(1.0, 0.5) });
        assert!((340..460).contains(&alone) && (540..660).contains(&blended) && (930..1070).contains(&pasted));
        assert_eq!(kinds(Mixing { mixup: None, cutmix: None }), [2000, 0, 0]);
        // The standard deviation of Beta(α, α) is 1/√(4(2α + 1)).
        for alpha in [0.05, 0.2, 1.0, 8.0] {
            let mixing = Mixing { mixup: mix(alpha, 1.0), cutmix: None };
            let weights: Vec<f64> =
                (0..4000).map(|place| f64::from(mixing.draw(32, &mut stream(place)).weight(32))).collect();
            let variance = weights.iter().map(|weight| (weight - 0.5).powi(2)).sum::<f64>() / 4000.0;
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((variance / expected - 1.0).abs() < 0.1, "{alpha}: {variance} {expected}");
            assert!(weights.iter().all(|weight| (0.0..=1.0).contains(weight)));
        }
    }
}
