//! How good a predictor is on pairs it never saw, and how good it could be at best.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use search::arch::ArchSpec;
use serde_json::{Value, json};

use crate::diagnostics::{Calibration, CurvePoint, Slice};
use crate::ensemble::AccuracyPredictor;
use crate::error::Result;
use crate::interactions::Strength;
pub use crate::noise::{Ceiling, noise_of_halves};
use crate::pairs::{AccuracyPair, Halves};
use crate::rank::{kendall_tau_b, mean, pearson, rmse, spearman};

/// Rows to fit and rows to judge with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// Rows to fit, ascending.
    pub(crate) train: Vec<usize>,
    /// Rows to judge with, ascending; their architectures occur in no other row.
    pub(crate) test: Vec<usize>,
}

impl Split {
    /// Sets the rows of `test` distinct architectures aside, drawn by `seed`; the draw depends on which architectures
    /// there are, not on their order. If there are not more than `test`, all but one are set aside.
    pub(crate) fn new(archs: &[ArchSpec], test: usize, seed: u64) -> Split {
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
    /// Scores inside slices of MACs, the cheapest first.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{sample, space};

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
}
