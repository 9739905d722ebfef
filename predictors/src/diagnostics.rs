//! Where a predictor is good, beyond one number: inside slices of cost, in its own words on its error, and with fewer pairs.
//!
//! A search compares subnets of about one cost, where accuracies differ less than over the whole space, so rank
//! correlation inside slices says more about it than over all pairs.

use serde_json::{Value, json};

use crate::ensemble::Prediction;
use crate::noise::Ceiling;
use crate::pairs::Halves;
use crate::rank::{kendall_tau_b, mean, rmse};

/// Slices of equally many pairs.
pub(crate) const SLICES: usize = 4;

/// Pairs of about one cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Fewest and most MACs among them.
    pub macs: (u64, u64),
    /// Number of pairs in the slice.
    pub pairs: usize,
    /// Root mean squared error, a fraction.
    pub rmse: f64,
    /// Kendall τ-b; `None` where undefined.
    pub kendall: Option<f64>,
    /// What label noise leaves of a perfect predictor's τ-b.
    pub ceiling: Option<f64>,
}

/// Scores inside [`SLICES`] slices by MACs, the cheapest first; `noise` is the labels'. Empty with fewer than three pairs
/// for each slice.
///
/// # Panics
/// If there are not as many predictions and MACs as labels.
pub fn slices(predictions: &[f64], labels: &[f64], macs: &[u64], noise: Option<f64>) -> Vec<Slice> {
    assert!(predictions.len() == labels.len() && macs.len() == labels.len(), "one of each per pair");
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by_key(|&row| (macs[row], row));
    if order.len() < 3 * SLICES {
        return Vec::new();
    }
    let slice = |index: usize| {
        let rows = &order[index * order.len() / SLICES..(index + 1) * order.len() / SLICES];
        let of = |values: &[f64]| -> Vec<f64> { rows.iter().map(|&row| values[row]).collect() };
        let (predictions, labels) = (of(predictions), of(labels));
        Slice {
            macs: (macs[rows[0]], macs[rows[rows.len() - 1]]),
            pairs: rows.len(),
            rmse: rmse(&predictions, &labels),
            kendall: kendall_tau_b(&predictions, &labels),
            ceiling: noise.and_then(|noise| Ceiling::new(&labels, noise, index as u64)).map(|ceiling| ceiling.kendall),
        }
    };
    (0..SLICES).map(slice).collect()
}

impl Slice {
    /// As a JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "macs": [self.macs.0, self.macs.1],
            "pairs": self.pairs,
            "rmse": self.rmse,
            "kendall_tau_b": self.kendall,
            "ceiling_kendall_tau_b": self.ceiling,
        })
    }
}

/// How errors compare with what the members' spread and the label noise let expect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Root mean square of error / √(spread² + noise²): 1 if the spread tells the error, more if it is too small.
    pub z: f64,
    /// Share of the errors within 1.96 of those standard deviations: 0.95 if the spread tells the error.
    pub within_95: f64,
}

impl Calibration {
    /// `None` for predictions without spread, or without any expected error.
    ///
    /// # Panics
    /// If there are not as many predictions as labels.
    pub fn new(predictions: &[Prediction], labels: &[f64], noise: Option<f64>) -> Option<Calibration> {
        assert_eq!(predictions.len(), labels.len(), "one label per prediction");
        let z = |(prediction, label): (&Prediction, &f64)| {
            let expected = prediction.spread?.hypot(noise.unwrap_or(0.0));
            (expected > 0.0).then(|| (prediction.top1 - label) / expected)
        };
        let z: Vec<f64> = predictions.iter().zip(labels).map(z).collect::<Option<_>>()?;
        let count = z.len().max(1) as f64;
        Some(Calibration {
            z: (z.iter().map(|z| z * z).sum::<f64>() / count).sqrt(),
            within_95: z.iter().filter(|z| z.abs() <= 1.96).count() as f64 / count,
        })
    }

    /// As a JSON object.
    pub fn to_json(self) -> Value {
        json!({"rms_z": self.z, "within_1.96_sigma": self.within_95})
    }
}

/// Fewest pairs that [`repeatable`] is estimated from.
const LEAST_REPEATED: usize = 30;

/// Share of the differences between measured and predicted top-1 that would be measured again on other images, 0 to 1:
/// the covariance of what two halves of the images say beyond the prediction, over the variance of what all of them say.
/// `None` for fewer than 30 pairs or without any difference.
///
/// A measurement knows what its images know, chance included, and a predictor fitted to hundreds of measurements has
/// averaged much of that chance away: the best estimate of a subnet's accuracy is the prediction plus this share of the
/// difference (shrinkage to a regression, Efron & Morris 1973).
///
/// # Panics
/// If there are not as many predictions as halves.
pub fn repeatable(predictions: &[f64], halves: &[Halves]) -> Option<f64> {
    assert_eq!(predictions.len(), halves.len(), "one prediction per pair");
    let beyond = |half: fn(&Halves) -> f64| -> Vec<f64> {
        let all: Vec<f64> = halves.iter().zip(predictions).map(|(halves, known)| half(halves) - known).collect();
        let bias = mean(&all);
        all.iter().map(|value| value - bias).collect()
    };
    let (a, b) = (beyond(|halves| halves.a), beyond(|halves| halves.b));
    let shared: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    let all: f64 = a.iter().zip(&b).map(|(a, b)| ((a + b) / 2.0).powi(2)).sum();
    (halves.len() >= LEAST_REPEATED && all > 0.0).then(|| (shared / all).clamp(0.0, 1.0))
}

/// How good fits to fewer pairs are, on the same unseen ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// Pairs fitted to.
    pub pairs: usize,
    /// Root mean squared error, a fraction.
    pub rmse: f64,
    /// Kendall τ-b; `None` where undefined.
    pub kendall: Option<f64>,
}

impl CurvePoint {
    /// As a JSON object.
    pub fn to_json(self) -> Value {
        json!({"pairs": self.pairs, "rmse": self.rmse, "kendall_tau_b": self.kendall})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::normal;
    use crate::testing::rng;

    #[test]
    fn what_other_images_would_say_again_is_told_from_chance() {
        let mut rng = rng(2);
        let mut share = |unpredicted: f64| {
            let halves = |_| {
                let truth = unpredicted * normal(&mut rng);
                Halves { a: truth + 0.004 * normal(&mut rng), b: truth + 0.004 * normal(&mut rng) }
            };
            let halves: Vec<Halves> = (0..2_000).map(halves).collect();
            repeatable(&vec![0.0; halves.len()], &halves).unwrap()
        };
        // The variance of the mean of two halves is 8e-6 by chance.
        let expected = |unpredicted: f64| unpredicted.powi(2) / (unpredicted.powi(2) + 8e-6);
        for unpredicted in [0.0, 0.002, 0.006] {
            let found = share(unpredicted);
            assert!((found - expected(unpredicted)).abs() < 0.08, "{unpredicted}: {found}");
        }
        assert_eq!(repeatable(&[0.5; 10], &[Halves { a: 0.4, b: 0.6 }; 10]), None);
    }

    #[test]
    fn slices_see_what_the_whole_hides() {
        let mut rng = rng(1);
        // Accuracy follows cost; inside a slice the predictor knows nothing.
        let macs: Vec<u64> = (0..400).map(|at| 1_000 + at).collect();
        let labels: Vec<f64> = macs.iter().map(|macs| *macs as f64 * 1e-3 + 0.1 * normal(&mut rng)).collect();
        let step = |macs: &u64| ((macs - 1_000) / 100) as f64 * 0.1 + 1e-6 * normal(&mut crate::testing::rng(*macs));
        let predictions: Vec<f64> = macs.iter().map(step).collect();
        let whole = kendall_tau_b(&predictions, &labels).unwrap();
        let slices = slices(&predictions, &labels, &macs, Some(0.01));
        assert_eq!(slices.len(), SLICES);
        assert_eq!((slices[0].macs, slices[3].macs, slices[2].pairs), ((1_000, 1_099), (1_300, 1_399), 100));
        assert!(whole > 0.5 && slices.iter().all(|slice| slice.kendall.unwrap().abs() < 0.25), "{whole} {slices:?}");
        assert!(slices.iter().all(|slice| slice.ceiling.unwrap() > 0.8));
        assert!(super::slices(&predictions[..11], &labels[..11], &macs[..11], None).is_empty());
    }

    #[test]
    fn honest_spreads_are_told_from_boasts() {
        let mut rng = rng(2);
        let labels: Vec<f64> = (0..2_000).map(|_| 0.8 + 0.005 * normal(&mut rng)).collect();
        let said = |spread: f64| -> Vec<Prediction> {
            labels.iter().map(|_| Prediction { top1: 0.8, spread: Some(spread) }).collect()
        };
        let honest = Calibration::new(&said(0.004), &labels, Some(0.003)).unwrap();
        assert!((honest.z - 1.0).abs() < 0.05 && (honest.within_95 - 0.95).abs() < 0.02, "{honest:?}");
        let boast = Calibration::new(&said(0.001), &labels, None).unwrap();
        assert!(boast.z > 4.0 && boast.within_95 < 0.5, "{boast:?}");
        let silent = vec![Prediction { top1: 0.8, spread: None }; labels.len()];
        assert_eq!(Calibration::new(&silent, &labels, Some(0.003)), None);
    }
}
