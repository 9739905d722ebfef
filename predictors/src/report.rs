//! How good a predictor is on pairs it never saw, and how good it could be at best.
//!
//! **Label noise.** With top-1 measured on two halves `a` and `b` of the same images, the label is their mean, and the
//! noise of `a − b` is twice that of the mean: `noise = sd(a − b) / 2`, the standard deviation over subnets. What all
//! subnets share (one half being harder) drops out, as it does from any ranking.
//!
//! **Ceiling.** A perfect predictor says the truth, and is judged against noisy labels. Truths are simulated as the
//! measured labels drawn towards their mean until noise and truth together have the labels' variance
//! (`truth = mean + (label − mean) · √(1 − noise²/variance)`); labels as `truth + noise · N(0, 1)`. The ceiling of τ-b
//! is the mean of τ-b(truth, labels) over [`DRAWS`] draws, likewise for Spearman's ρ; that of RMSE is the noise.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use search::arch::ArchSpec;
use serde_json::{Value, json};

use crate::diagnostics::{Calibration, CurvePoint, Slice};
use crate::ensemble::AccuracyPredictor;
use crate::error::Result;
use crate::interactions::Strength;
use crate::pairs::{AccuracyPair, Halves};
use crate::rank::{kendall_tau_b, mean, pearson, rmse, spearman, variance};

/// Draws that a ceiling is the mean of.
pub const DRAWS: usize = 200;

/// Rows to fit and rows to judge with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Rows to fit, ascending.
    pub train: Vec<usize>,
    /// Rows to judge with, ascending; their architectures occur in no other row.
    pub test: Vec<usize>,
}

impl Split {
    /// Sets the rows of `test` distinct architectures aside, drawn by `seed`; the draw depends on which architectures
    /// there are, not on their order. If there are not more than `test`, all but one are set aside.
    pub fn new(archs: &[ArchSpec], test: usize, seed: u64) -> Split {
        let mut distinct: Vec<&ArchSpec> = archs.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        distinct.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        distinct.truncate(test.min(distinct.len().saturating_sub(1)));
        distinct.sort_unstable();
        let (test, train) = (0..archs.len()).partition(|&row| distinct.binary_search(&&archs[row]).is_ok());
        Split { train, test }
    }
}

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

/// Compares a predictor with measured pairs; the ceiling is there if every pair has halves.
///
/// # Errors
/// The predictor's: an architecture of another space or of a resolution it does not know.
///
/// # Panics
/// If there are not as many architectures as pairs.
pub fn judge(
    predictor: &AccuracyPredictor,
    pairs: &[AccuracyPair],
    archs: &[ArchSpec],
) -> Result<(Scores, Option<Ceiling>)> {
    assert_eq!(pairs.len(), archs.len(), "as many architectures as pairs");
    let labels: Vec<f64> = pairs.iter().map(|pair| pair.top1).collect();
    let halves: Option<Vec<Halves>> = pairs.iter().map(|pair| pair.halves).collect();
    let noise = halves.and_then(|halves| noise_of_halves(&halves));
    let ceiling = noise.and_then(|noise| Ceiling::new(&labels, noise, 0));
    Ok((Scores::new(&predictor.top1(archs)?, &labels), ceiling))
}

/// Standard deviation of the noise of top-1 over all images, from top-1 on two halves: sd(a − b) / 2.
///
/// `None` for fewer than three subnets.
pub fn noise_of_halves(halves: &[Halves]) -> Option<f64> {
    let differences: Vec<f64> = halves.iter().map(|halves| halves.a - halves.b).collect();
    (differences.len() >= 3).then(|| variance(&differences).sqrt() / 2.0)
}

/// How predictions compare with labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Root mean squared error, a fraction.
    pub rmse: f64,
    /// Mean of prediction − label, a fraction.
    pub bias: f64,
    /// Kendall τ-b; `None` where undefined.
    pub kendall: Option<f64>,
    /// Spearman's ρ; `None` where undefined.
    pub spearman: Option<f64>,
    /// Pearson's r; `None` where undefined.
    pub pearson: Option<f64>,
}

impl Scores {
    /// Compares `predictions` with `labels`.
    ///
    /// # Panics
    /// If there are not as many of the one as of the other.
    pub fn new(predictions: &[f64], labels: &[f64]) -> Scores {
        Scores {
            rmse: rmse(predictions, labels),
            bias: mean(predictions) - mean(labels),
            kendall: kendall_tau_b(predictions, labels),
            spearman: spearman(predictions, labels),
            pearson: pearson(predictions, labels),
        }
    }

    /// The scores as a JSON object.
    pub fn to_json(self) -> Value {
        json!({
            "rmse": self.rmse,
            "bias": self.bias,
            "kendall_tau_b": self.kendall,
            "spearman": self.spearman,
            "pearson": self.pearson,
        })
    }
}

/// What a fit says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct FitReport {
    /// Pairs fitted to.
    pub train_pairs: usize,
    /// Pairs never seen, which `scores` is about.
    pub test_pairs: usize,
    /// On the pairs never seen.
    pub scores: Scores,
    /// The additive part alone, on the same pairs.
    pub additive_scores: Option<Scores>,
    /// What label noise leaves of a perfect predictor on the same pairs, if the pairs have halves.
    pub ceiling: Option<Ceiling>,
    /// The same inside slices of MACs, the cheapest first.
    pub slices: Vec<Slice>,
    /// Whether the members' spread tells the error, if there is one.
    pub calibration: Option<Calibration>,
    /// The closed-form parts fitted to 100, 200, … pairs, judged by the same unseen ones; empty without these parts.
    pub learning_curve: Vec<CurvePoint>,
    /// Labels of the unseen pairs: mean and standard deviation, fractions.
    pub test_labels: (f64, f64),
    /// Penalty of the additive part.
    pub penalty: Option<f64>,
    /// Strength of the interactions; `None` without them.
    pub interactions: Option<Strength>,
    /// Share of the MLPs' output that cross-validation kept, 0 to 1; 1 without an additive part.
    pub mlp_share: f64,
    /// Kendall τ-b over the folds of the training pairs, each predicted by a fit to the others.
    pub cross_validated_kendall: Option<f64>,
    /// Share of the differences between measured and predicted top-1 that would be measured again on other images
    /// ([`crate::diagnostics::repeatable`], over the folds of the training pairs); `None` without halves.
    pub repeatable: Option<f64>,
    /// Time the fit took.
    pub seconds: f64,
}

impl FitReport {
    /// The report as a JSON object; accuracies and errors are fractions.
    pub fn to_json(&self) -> Value {
        json!({
            "train_pairs": self.train_pairs,
            "test_pairs": self.test_pairs,
            "test": self.scores.to_json(),
            "test_additive_alone": self.additive_scores.map(Scores::to_json),
            "test_label_mean": self.test_labels.0,
            "test_label_std": self.test_labels.1,
            "ceiling": self.ceiling.map(Ceiling::to_json),
            "slices": self.slices.iter().map(Slice::to_json).collect::<Vec<_>>(),
            "calibration": self.calibration.map(Calibration::to_json),
            "learning_curve": self.learning_curve.iter().map(|point| point.to_json()).collect::<Vec<_>>(),
            "cross_validated_kendall_tau_b": self.cross_validated_kendall,
            "penalty": self.penalty,
            "interactions": self.interactions.map(|strength| {
                json!({"weight": strength.weight, "noise": strength.noise, "levels": strength.levels})
            }),
            "mlp_share": self.mlp_share,
            "repeatable": self.repeatable,
            "seconds": self.seconds,
        })
    }
}

/// A standard normal number (Box and Muller 1958).
pub(crate) fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{rng, sample, space};

    #[test]
    fn a_split_depends_on_the_architectures_alone() {
        let archs = sample(&space("mcu-cifar"), 300, 1);
        let split = Split::new(&archs, 60, 7);
        let mut test: Vec<&ArchSpec> = split.test.iter().map(|&row| &archs[row]).collect();
        assert_eq!(split.train.len() + split.test.len(), 300);
        assert!(split.train.iter().all(|&row| !test.contains(&&archs[row])));
        let mut reversed = archs.clone();
        reversed.reverse();
        let other = Split::new(&reversed, 60, 7);
        let mut again: Vec<&ArchSpec> = other.test.iter().map(|&row| &reversed[row]).collect();
        test.sort();
        again.sort();
        assert_eq!(test, again);
        assert_eq!(test.len(), 60);
        assert_ne!(Split::new(&archs, 60, 8), split);
        assert_eq!(Split::new(&archs[..1], 60, 7), Split { train: vec![0], test: vec![] });
    }

    #[test]
    fn equal_architectures_stay_together() {
        let archs = sample(&space("mcu-cifar"), 20, 1);
        let twice: Vec<ArchSpec> = archs.iter().chain(&archs).cloned().collect();
        let split = Split::new(&twice, 5, 3);
        assert_eq!(split.test.len(), 10);
        assert!(split.test.iter().all(|row| split.test.contains(&((row + 20) % 40))));
    }

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
