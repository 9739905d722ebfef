//! What pairs of choices do together: the second-order part of a predictor.
//!
//! A Gaussian process whose kernel is `k + c·k²`, with `k` the scalar product of the ridge's steps ([`crate::ridge`]),
//! centred and scaled to mean 1 on the diagonal: main effects, and all products of two of them (a block that matters
//! less beside a strong one, saturation, a resolution that helps large networks more). Steps of one level (of one block,
//! of a stage, of all blocks, of the resolution) share a variance: how much blocks have in common is learned from the
//! pairs. These variances, the weight `c` and the noise are those of the largest marginal likelihood on a grid
//! (Rasmussen & Williams 2006, eq. 5.8, the overall scale profiled out); `c = 0` means that the pairs show no
//! interactions.
//!
//! The posterior mean is a quadratic form in 0/1 features, so it folds into one number per feature and one per pair of
//! features, and a prediction is a sum of numbers looked up. Of that sum [`Interactions`] holds what the additive model
//! does not, so that the additive model stays a predictor of its own.

use crate::cholesky::{add_product, cholesky, solve_lower, solve_lower_transposed};
use crate::encode::{ActiveRows, ArchEncoder};
use crate::rank::mean;
use crate::ridge::{AdditiveModel, Basis, Level};

/// Most pairs that are fitted; with more, the cube of their number takes its time and an MLP has enough to learn from.
pub(crate) const MOST_PAIRS: usize = 4096;

/// Most pairs that variances, weight and noise are chosen with: enough for half a dozen numbers.
const MOST_TRIED: usize = 1024;

/// Weights of `k²` tried.
pub const WEIGHTS: [f64; 7] = [0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

/// Noise variances tried, relative to the kernel's scale.
pub(crate) const NOISES: [f64; 9] = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

/// By what a level's variance is multiplied or divided in one move, and the most moves from 1.
const LEVEL_STEP: f64 = 4.0;
const LEVEL_MOVES: i32 = 6;

/// A correction to an additive model and one number per pair of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Interactions {
    /// Added to the additive model.
    pub correction: AdditiveModel,
    /// `[features, features]` row-major; only places above the diagonal are used.
    pub pairs: Vec<f64>,
}

/// What shapes the kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strength {
    /// Weight of `k²`.
    pub weight: f64,
    /// Noise variance, relative to the kernel's scale.
    pub noise: f64,
    /// Variances of the steps that all blocks share, that the blocks of a stage share, of single blocks and of the
    /// resolution. Only their ratios count.
    pub levels: [f64; Level::COUNT],
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

/// The strength of the largest marginal likelihood for `labels`, found by turns over weight, noise and levels; `None` if
/// it is that of no interactions at all, or if there are more than [`MOST_PAIRS`].
pub(crate) fn strength(encoder: &ArchEncoder, rows: &ActiveRows, labels: &[f64]) -> Option<Strength> {
    let count = labels.len();
    if count > MOST_PAIRS {
        return None;
    }
    let tried = count.min(MOST_TRIED);
    let chosen: Vec<usize> = (0..tried).map(|at| at * count / tried).collect();
    let labels: Vec<f64> = chosen.iter().map(|&row| labels[row]).collect();
    let process = Process::new(encoder, &rows.select(&chosen), &labels)?;
    let mut known: Vec<(Strength, f64)> = Vec::new();
    let mut likelihood = |strength: Strength| match known.iter().find(|(tried, _)| *tried == strength) {
        Some(&(_, likelihood)) => likelihood,
        None => {
            let likelihood = process.log_likelihood(strength);
            known.push((strength, likelihood));
            likelihood
        }
    };
    let mut best = Strength { weight: 0.1, noise: 0.03, levels: [1.0; Level::COUNT] };
    loop {
        let before = best;
        for noise in NOISES {
            let mut tried = best;
            tried.noise = noise;
            best = if likelihood(tried) > likelihood(best) { tried } else { best };
        }
        for weight in WEIGHTS {
            let mut tried = best;
            tried.weight = weight;
            best = if likelihood(tried) > likelihood(best) { tried } else { best };
        }
        // Of the ratios between the levels, that to single blocks is fixed.
        for level in [Level::All, Level::Stage, Level::Resolution] {
            for factor in [LEVEL_STEP, 1.0 / LEVEL_STEP] {
                let mut tried = best;
                tried.levels[level as usize] *= factor;
                let moves = tried.levels[level as usize].ln().abs() / LEVEL_STEP.ln();
                if moves < f64::from(LEVEL_MOVES) + 0.5 && likelihood(tried) > likelihood(best) {
                    best = tried;
                }
            }
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

/// Centred steps of every architecture, and labels.
struct Process {
    basis: Basis,
    /// `[rows, steps]`, centred.
    centred: Vec<f64>,
    means: Vec<f64>,
    labels: Vec<f64>,
    label_mean: f64,
}

/// A kernel's inputs and what follows from them.
struct Solved {
    /// By what every centred step was multiplied.
    scales: Vec<f64>,
    /// `[rows, steps]`, centred and scaled.
    inputs: Vec<f64>,
    /// Cholesky factor of `k + c·k² + noise`.
    factor: Vec<f64>,
    /// Its solution for the labels.
    solution: Vec<f64>,
}

impl Process {
    /// `None` if the architectures do not differ.
    fn new(encoder: &ArchEncoder, rows: &ActiveRows, labels: &[f64]) -> Option<Process> {
        let basis = Basis::new(encoder);
        let mut centred = basis.matrix(rows);
        let means = basis.centre(&mut centred);
        let label_mean = mean(labels);
        let labels = labels.iter().map(|label| label - label_mean).collect();
        centred.iter().any(|value| *value != 0.0).then_some(Process { basis, centred, means, labels, label_mean })
    }

    /// By what to multiply every step, so that `k` is 1 on the mean.
    fn scales(&self, levels: [f64; Level::COUNT]) -> Vec<f64> {
        let scales: Vec<f64> = self.basis.levels().iter().map(|level| levels[*level as usize].sqrt()).collect();
        let rows = self.centred.chunks_exact(scales.len());
        let squares = rows.flat_map(|row| row.iter().zip(&scales).map(|(value, scale)| (value * scale).powi(2)));
        let power = squares.sum::<f64>() / self.labels.len() as f64;
        scales.iter().map(|scale| scale / power.max(f64::MIN_POSITIVE).sqrt()).collect()
    }

    fn solve(&self, Strength { weight, noise, levels }: Strength) -> Solved {
        let (n, steps) = (self.labels.len(), self.basis.steps());
        let scales = self.scales(levels);
        let rows = self.centred.chunks_exact(steps);
        let inputs: Vec<f64> =
            rows.flat_map(|row| row.iter().zip(&scales).map(|(value, scale)| value * scale)).collect();
        let mut factor = vec![0.0; n * n];
        add_product(&mut factor, n, (&inputs, steps), (&inputs, steps), (n, n, steps), 1.0);
        factor.iter_mut().for_each(|k| *k += weight * *k * *k);
        (0..n).for_each(|i| factor[i * n + i] += noise);
        cholesky(&mut factor, n);
        let mut solution = self.labels.clone();
        solve_lower(&factor, n, &mut solution);
        solve_lower_transposed(&factor, n, &mut solution);
        Solved { scales, inputs, factor, solution }
    }

    /// Up to a constant, at the best overall scale.
    fn log_likelihood(&self, strength: Strength) -> f64 {
        let n = self.labels.len();
        let Solved { factor, solution, .. } = self.solve(strength);
        let fit: f64 = self.labels.iter().zip(&solution).map(|(label, weight)| label * weight).sum();
        let log_determinant: f64 = (0..n).map(|i| factor[i * n + i].ln()).sum();
        let likelihood = -0.5 * n as f64 * (fit / n as f64).max(f64::MIN_POSITIVE).ln() - log_determinant;
        if likelihood.is_finite() { likelihood } else { f64::NEG_INFINITY }
    }

    fn fold(&self, strength: Strength, additive: &AdditiveModel) -> Interactions {
        let steps = self.basis.steps();
        let Solved { scales, inputs, solution, .. } = self.solve(strength);
        // In scaled steps z: mean + u·z + zᵀQz, with u = Σ αz and Q = c Σ αzzᵀ.
        let (mut linear, mut quadratic) = (vec![0.0; steps], vec![0.0; steps * steps]);
        for (z, alpha) in inputs.chunks_exact(steps).zip(&solution) {
            for (i, &value) in z.iter().enumerate() {
                linear[i] += alpha * value;
                let factor = strength.weight * alpha * value;
                quadratic[i * steps..][..steps].iter_mut().zip(z).for_each(|(sum, other)| *sum += factor * other);
            }
        }
        // z = scale · (steps − means), so the means' part moves to the linear term and the constant.
        for (row, scale) in quadratic.chunks_exact_mut(steps).zip(&scales) {
            row.iter_mut().zip(&scales).for_each(|(value, other)| *value *= scale * other);
        }
        linear.iter_mut().zip(&scales).for_each(|(value, scale)| *value *= scale);
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
        let strength = Strength { weight: 0.2, noise: 0.05, levels: [0.5, 0.1, 1.0, 4.0] };
        let additive = ridge::fit(&encoder, &rows, &labels).unwrap().model;
        let folded = fit_with(&encoder, &rows, &labels, strength, &additive).unwrap();
        let process = Process::new(&encoder, &rows, &labels).unwrap();
        let Solved { inputs, solution, .. } = process.solve(strength);
        let rows_of_inputs = || inputs.chunks_exact(process.basis.steps());
        for (input, active) in rows_of_inputs().zip(rows.iter()) {
            let products = rows_of_inputs().map(|other| other.iter().zip(input).map(|(a, b)| a * b).sum::<f64>());
            let kernel = products.map(|k| k + 0.2 * k * k);
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
    fn what_blocks_share_is_learned_from_the_pairs() {
        let (encoder, rows, _, _) = problem(300, 0.0);
        let mut rng = crate::testing::rng(5);
        let blocks = rows.iter().map(|active| active.len() as f64);
        // All blocks alike, with saturation: only their number and the resolution matter.
        let labels: Vec<f64> = blocks.map(|count| -(-0.1 * count).exp()).collect();
        let labels: Vec<f64> = labels.iter().map(|label| label + 0.002 * crate::noise::normal(&mut rng)).collect();
        let found = strength(&encoder, &rows, &labels).unwrap();
        let [all, stage, block, _] = found.levels;
        assert!(all >= 16.0 * block && all >= 16.0 * stage, "{found:?}");
    }

    #[test]
    fn none_are_found_in_an_additive_truth() {
        use rand::RngExt;
        let (encoder, rows, _, _) = problem(500, 0.0);
        let mut rng = crate::testing::rng(3);
        let shares = (0..encoder.width()).map(|_| rng.random::<f64>()).collect();
        let labels = AdditiveModel { constant: 70.0, shares }.predict_rows(&rows);
        let labels: Vec<f64> = labels.iter().map(|label| label + 0.2 * crate::noise::normal(&mut rng)).collect();
        let found = strength(&encoder, &rows, &labels);
        assert!(found.is_none_or(|strength| strength.weight <= 0.03), "{found:?}");
    }
}
