//! The noise of measured accuracies, and what it leaves of a perfect predictor's scores.
//!
//! **Label noise.** With top-1 measured on two halves `a` and `b` of the same images, the label is their mean, and the
//! noise of `a − b` is twice that of the mean: `noise = sd(a − b) / 2`, the standard deviation over subnets. What all
//! subnets share (one half being harder) drops out, as it does from any ranking.
//!
//! **Ceiling.** A perfect predictor says the truth, and is judged against noisy labels. Truths are simulated as the
//! measured labels drawn towards their mean until noise and truth together have the labels' variance
//! (`truth = mean + (label − mean) · √(1 − noise²/variance)`); labels as `truth + noise · N(0, 1)`. The ceiling of τ-b
//! is the mean of τ-b(truth, labels) over [`DRAWS`] draws, likewise for Spearman's ρ; that of RMSE is the noise.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::pairs::Halves;
use crate::rank::{kendall_tau_b, mean, spearman, variance};

/// Draws that a ceiling is the mean of.
pub(crate) const DRAWS: usize = 200;

/// What label noise leaves of a perfect predictor's scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceiling {
    /// Standard deviation of the labels' noise, a fraction.
    pub noise: f64,
    /// Kendall τ-b of the truth with noisy labels.
    pub kendall: f64,
    /// Spearman's ρ of the truth with noisy labels.
    pub spearman: f64,
}

impl Ceiling {
    /// The ceiling for `labels` of this noise.
    ///
    /// `None` for fewer than three labels, labels that are all the same, or noise that is not a number.
    pub fn new(labels: &[f64], noise: f64, seed: u64) -> Option<Ceiling> {
        let spread = variance(labels);
        if labels.len() < 3 || !noise.is_finite() || spread.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            return None;
        }
        let centre = mean(labels);
        let shrink = (1.0 - noise * noise / spread).max(0.0).sqrt();
        let truth: Vec<f64> = labels.iter().map(|label| centre + (label - centre) * shrink).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut kendall, mut rho) = (0.0, 0.0);
        for _ in 0..DRAWS {
            let noisy: Vec<f64> = truth.iter().map(|value| value + noise * normal(&mut rng)).collect();
            // Undefined only where the noise swallowed every difference.
            kendall += kendall_tau_b(&truth, &noisy).unwrap_or(0.0);
            rho += spearman(&truth, &noisy).unwrap_or(0.0);
        }
        Some(Ceiling { noise, kendall: kendall / DRAWS as f64, spearman: rho / DRAWS as f64 })
    }
}

impl Ceiling {
    /// The ceiling as a JSON object.
    pub fn to_json(self) -> Value {
        json!({
            "label_noise": self.noise,
            "kendall_tau_b": self.kendall,
            "spearman": self.spearman,
            "method": "split halves of the images: noise = sd(a - b) / 2; truth = labels shrunk to their noise-free variance",
        })
    }
}

/// Standard deviation of the noise of top-1 over all images, from top-1 on two halves: sd(a − b) / 2.
///
/// `None` for fewer than three subnets.
pub fn noise_of_halves(halves: &[Halves]) -> Option<f64> {
    let differences: Vec<f64> = halves.iter().map(|halves| halves.a - halves.b).collect();
    (differences.len() >= 3).then(|| variance(&differences).sqrt() / 2.0)
}

/// A standard normal number (Box and Muller 1958).
pub(crate) fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rng;

    #[test]
    fn halves_tell_the_noise_of_the_whole() {
        let mut rng = rng(1);
        let halves: Vec<Halves> = (0..4000)
            .map(|_| {
                let truth = 0.8 + 0.02 * normal(&mut rng);
                // The second half of the images is harder for all.
                Halves { a: truth + 0.005 * normal(&mut rng), b: truth - 0.03 + 0.005 * normal(&mut rng) }
            })
            .collect();
        let expected = 0.005 / std::f64::consts::SQRT_2;
        assert!((noise_of_halves(&halves).unwrap() - expected).abs() < 2e-4);
        assert_eq!(noise_of_halves(&halves[..2]), None);
    }

    #[test]
    fn a_ceiling_falls_with_noise_and_is_that_of_the_truth() {
        let mut rng = rng(2);
        let truth: Vec<f64> = (0..500).map(|_| 0.8 + 0.02 * normal(&mut rng)).collect();
        let labels: Vec<f64> = truth.iter().map(|value| value + 0.0035 * normal(&mut rng)).collect();
        let ceiling = Ceiling::new(&labels, 0.0035, 1).unwrap();
        // For normal variables τ = 2/π · asin(r), r² the noise-free part of the variance.
        let r = 1.0 / (1.0_f64 + (0.0035_f64 / 0.02).powi(2)).sqrt();
        assert!((ceiling.kendall - std::f64::consts::FRAC_2_PI * r.asin()).abs() < 0.01, "{ceiling:?}");
        assert!((ceiling.kendall - kendall_tau_b(&truth, &labels).unwrap()).abs() < 0.02);
        assert!(ceiling.spearman > ceiling.kendall);
        assert!((Ceiling::new(&labels, 0.0, 1).unwrap().kendall - 1.0).abs() < 1e-12);
        assert!(Ceiling::new(&labels, 0.01, 1).unwrap().kendall < ceiling.kendall);
        assert_eq!(Ceiling::new(&[0.5; 9], 0.01, 1), None);
        assert_eq!(Ceiling::new(&labels, f64::NAN, 1), None);
        assert_eq!(Ceiling::new(&labels, 0.0035, 1), Some(ceiling));
    }
}
