//! What pairs of choices do together: the second-order part of a predictor.
//!
//! A Gaussian process whose kernel is `k + c·k²`, with `k` the scalar product of the ridge's steps ([`crate::ridge`]),
//! centred and scaled to mean 1 on the diagonal: main effects, and all products of two of them (a block that matters
//! less beside a strong one, saturation, a resolution that helps large networks more). The weight `c` and the noise are
//! those of the largest marginal likelihood on a grid (Rasmussen & Williams 2006, eq. 5.8, the overall scale profiled
//! out); `c = 0` means that the pairs show no interactions.
//!
//! The posterior mean is a quadratic form in 0/1 features, so it folds into one number per feature and one per pair of
//! features, and a prediction is a sum of numbers looked up. Of that sum [`Interactions`] holds what the additive model
//! does not, so that the additive model stays a predictor of its own.

use crate::cholesky::{add_product, cholesky, solve_lower, solve_lower_transposed};
use crate::encode::{ActiveRows, ArchEncoder};
use crate::rank::mean;
use crate::ridge::{AdditiveModel, Basis};

/// Most pairs that are fitted; with more, the cube of their number takes its time and an MLP has enough to learn from.
pub const MOST_PAIRS: usize = 4096;

/// Weights of `k²` tried.
pub const WEIGHTS: [f64; 7] = [0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

/// Noise variances tried, relative to the kernel's scale.
pub const NOISES: [f64; 9] = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

/// A correction to an additive model and one number per pair of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Interactions {
    /// Added to the additive model.
    pub correction: AdditiveModel,
    /// `[features, features]` row-major; only places above the diagonal are used.
    pub pairs: Vec<f64>,
}

/// Weight of `k²` and noise variance, relative to the kernel's scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strength {
    /// Weight of `k²`.
    pub weight: f64,
    /// Noise variance.
    pub noise: f64,
}

impl Interactions {
    /// What is to be added to the additive model's word.
    ///
    /// # Panics
    /// If `active` names a feature that is not there.
    pub fn predict(&self, active: &[u32]) -> f64 {
        let features = self.correction.shares.len();
        let mut sum = self.correction.predict(active);
        for (place, &feature) in active.iter().enumerate() {
            let row = &self.pairs[feature as usize * features..][..features];
            sum = active[place + 1..].iter().fold(sum, |sum, &other| sum + row[other as usize]);
        }
        sum
    }
}

/// The strength of the largest marginal likelihood for `labels`, found by turns over the two grids; `None` if it is
/// that of no interactions at all, or if there are more than [`MOST_PAIRS`].
pub(crate) fn strength(encoder: &ArchEncoder, rows: &ActiveRows, labels: &[f64]) -> Option<Strength> {
    if labels.len() > MOST_PAIRS {
        return None;
    }
    let process = Process::new(encoder, rows, labels)?;
    let mut known: Vec<(Strength, f64)> = Vec::new();
    let mut likelihood = |strength: Strength| match known.iter().find(|(tried, _)| *tried == strength) {
        Some(&(_, likelihood)) => likelihood,
        None => {
            let likelihood = process.log_likelihood(strength);
            known.push((strength, likelihood));
            likelihood
        }
    };
    let mut best = Strength { weight: 0.1, noise: 0.03 };
    loop {
        let before = best;
        for tried in NOISES.map(|noise| Strength { noise, ..before }) {
            best = if likelihood(tried) > likelihood(best) { tried } else { best };
        }
        for tried in WEIGHTS.map(|weight| Strength { weight, ..best }) {
            best = if likelihood(tried) > likelihood(best) { tried } else { best };
        }
        if best == before {
            return (best.weight > 0.0).then_some(best);
        }
    }
}

/// The posterior mean at this strength, less `additive`; `None` if the architectures do not differ at all.
pub(crate) fn fit_with(
    encoder: &ArchEncoder,
    rows: &ActiveRows,
    labels: &[f64],
    strength: Strength,
    additive: &AdditiveModel,
) -> Option<Interactions> {
    Process::new(encoder, rows, labels).map(|process| process.fold(strength, additive))
}

/// Centred, scaled steps of every architecture and their scalar products.
struct Process {
    basis: Basis,
    /// `[rows, steps]`, centred and scaled.
    inputs: Vec<f64>,
    means: Vec<f64>,
    scale: f64,
    /// `k`, `[rows, rows]`.
    products: Vec<f64>,
    labels: Vec<f64>,
    label_mean: f64,
}

impl Process {
    fn new(encoder: &ArchEncoder, rows: &ActiveRows, labels: &[f64]) -> Option<Process> {
        let basis = Basis::new(encoder);
        let (steps, n) = (basis.steps(), labels.len());
        let mut inputs = basis.matrix(rows);
        let means = basis.centre(&mut inputs);
        let power = inputs.iter().map(|value| value * value).sum::<f64>() / n as f64;
        if power.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            return None;
        }
        let scale = 1.0 / power.sqrt();
        inputs.iter_mut().for_each(|value| *value *= scale);
        let mut products = vec![0.0; n * n];
        add_product(&mut products, n, (&inputs, steps), (&inputs, steps), (n, n, steps), 1.0);
        let label_mean = mean(labels);
        let labels = labels.iter().map(|label| label - label_mean).collect();
        Some(Process { basis, inputs, means, scale, products, labels, label_mean })
    }

    /// Cholesky factor of `k + c·k² + noise` and its solution for the labels.
    fn solve(&self, Strength { weight, noise }: Strength) -> (Vec<f64>, Vec<f64>) {
        let n = self.labels.len();
        let mut factor: Vec<f64> = self.products.iter().map(|k| k + weight * k * k).collect();
        (0..n).for_each(|i| factor[i * n + i] += noise);
        cholesky(&mut factor, n);
        let mut solution = self.labels.clone();
        solve_lower(&factor, n, &mut solution);
        solve_lower_transposed(&factor, n, &mut solution);
        (factor, solution)
    }

    /// Up to a constant, at the best overall scale.
    fn log_likelihood(&self, strength: Strength) -> f64 {
        let n = self.labels.len();
        let (factor, solution) = self.solve(strength);
        let fit: f64 = self.labels.iter().zip(&solution).map(|(label, weight)| label * weight).sum();
        let log_determinant: f64 = (0..n).map(|i| factor[i * n + i].ln()).sum();
        let likelihood = -0.5 * n as f64 * (fit / n as f64).max(f64::MIN_POSITIVE).ln() - log_determinant;
        if likelihood.is_finite() { likelihood } else { f64::NEG_INFINITY }
    }

    fn fold(&self, strength: Strength, additive: &AdditiveModel) -> Interactions {
        let steps = self.basis.steps();
        let (_, solution) = self.solve(strength);
        // In scaled steps z: mean + u·z + zᵀQz, with u = Σ αz and Q = c Σ αzzᵀ.
        let (mut linear, mut quadratic) = (vec![0.0; steps], vec![0.0; steps * steps]);
        for (z, alpha) in self.inputs.chunks_exact(steps).zip(&solution) {
            for (i, &value) in z.iter().enumerate() {
                linear[i] += alpha * value;
                let factor = strength.weight * alpha * value;
                quadratic[i * steps..][..steps].iter_mut().zip(z).for_each(|(sum, other)| *sum += factor * other);
            }
        }
        // z = scale · (steps − means), so the means' part moves to the linear term and the constant.
        quadratic.iter_mut().for_each(|value| *value *= self.scale * self.scale);
        linear.iter_mut().for_each(|value| *value *= self.scale);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let centre: Vec<f64> = quadratic.chunks_exact(steps).map(|row| dot(row, &self.means)).collect();
        let constant = self.label_mean - dot(&linear, &self.means) + dot(&centre, &self.means);
        let shares = self.basis.fold(|step| linear[step] - 2.0 * centre[step]);
        let folded: Vec<Vec<f64>> = (0..steps).map(|i| self.basis.fold(|j| quadratic[i * steps + j])).collect();
        let features = shares.len();
        let mut pairs = vec![0.0; features * features];
        let mut diagonal = vec![0.0; features];
        for j in 0..features {
            for (i, value) in self.basis.fold(|step| folded[step][j]).into_iter().enumerate() {
                if i < j {
                    pairs[i * features + j] = 2.0 * value;
                } else if i == j {
                    // The square of a 0/1 feature is the feature.
                    diagonal[i] = value;
                }
            }
        }
        let shares = shares.iter().zip(&diagonal).zip(&additive.shares);
        let correction = AdditiveModel {
            constant: constant - additive.constant,
            shares: shares.map(|((share, own), additive)| share + own - additive).collect(),
        };
        Interactions { correction, pairs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Layout;
    use crate::rank::rmse;
    use crate::ridge;
    use crate::testing::{Truth, sample, space};

    fn problem(count: usize, noise: f64) -> (ArchEncoder, ActiveRows, Vec<f64>, Vec<f64>) {
        let space = space("mcu-cifar");
        let truth = Truth::new(&space, 1);
        let archs = sample(&space, count, 6);
        let encoder = ArchEncoder::new(Layout::Blocks, &space, space.resolutions()).unwrap();
        let rows = encoder.encode(&archs).unwrap();
        let pairs = truth.measure(&space, &archs, noise, 1);
        let labels = pairs.iter().map(|pair| 100.0 * pair.top1).collect();
        (encoder, rows, archs.iter().map(|arch| 100.0 * truth.top1(arch)).collect(), labels)
    }

    #[test]
    fn folding_is_the_posterior_mean() {
        let (encoder, rows, _, labels) = problem(120, 0.0035);
        let strength = Strength { weight: 0.2, noise: 0.05 };
        let additive = ridge::fit(&encoder, &rows, &labels).unwrap().model;
        let folded = fit_with(&encoder, &rows, &labels, strength, &additive).unwrap();
        let process = Process::new(&encoder, &rows, &labels).unwrap();
        let (_, solution) = process.solve(strength);
        let n = labels.len();
        for (row, active) in rows.iter().enumerate() {
            let kernel = process.products[row * n..][..n].iter().map(|k| k + 0.2 * k * k);
            let expected = process.label_mean + kernel.zip(&solution).map(|(k, alpha)| k * alpha).sum::<f64>();
            let got = additive.predict(active) + folded.predict(active);
            assert!((got - expected).abs() < 1e-8, "{got} is not {expected}");
        }
    }

    #[test]
    fn interactions_are_found_where_they_are() {
        let (encoder, rows, truth, labels) = problem(900, 0.0035);
        let (train, test): (Vec<usize>, Vec<usize>) = (0..900).partition(|row| *row < 600);
        let pick = |values: &[f64], rows: &[usize]| rows.iter().map(|&row| values[row]).collect::<Vec<f64>>();
        let (train_rows, train_labels) = (rows.select(&train), pick(&labels, &train));
        let additive = ridge::fit(&encoder, &train_rows, &train_labels).unwrap().model;
        let strength = strength(&encoder, &train_rows, &train_labels).unwrap();
        let more = fit_with(&encoder, &train_rows, &train_labels, strength, &additive).unwrap();
        let test_rows = rows.select(&test);
        let both: Vec<f64> = test_rows.iter().map(|active| additive.predict(active) + more.predict(active)).collect();
        let truth = pick(&truth, &test);
        let (alone, both) = (rmse(&additive.predict_rows(&test_rows), &truth), rmse(&both, &truth));
        eprintln!("additive {alone:.4}, with interactions {both:.4} points; {strength:?}");
        assert!(both < 0.75 * alone, "{both} after {alone}");
    }

    #[test]
    fn none_are_found_in_an_additive_truth() {
        use rand::RngExt;
        let (encoder, rows, _, _) = problem(500, 0.0);
        let mut rng = crate::testing::rng(3);
        let shares = (0..encoder.width()).map(|_| rng.random::<f64>()).collect();
        let labels = AdditiveModel { constant: 70.0, shares }.predict_rows(&rows);
        let labels: Vec<f64> = labels.iter().map(|label| label + 0.2 * crate::report::normal(&mut rng)).collect();
        let found = strength(&encoder, &rows, &labels);
        assert!(found.is_none_or(|strength| strength.weight <= 0.03), "{found:?}");
    }
}
