//! A linear guess of the evaluator, to decide what to ask it next.
//!
//! Ridge regression of score on one indicator per resolution and per (block, choice), fitted to the best architectures
//! seen so far, so that it is good where search is looking. It only orders candidates; every result is the evaluator's.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use crate::algorithms::additive::AdditiveScores;
use crate::algorithms::steps::features::Features;
use crate::space::genome::Codec;

/// Scores genes by a sum of weights.
pub(crate) struct Surrogate {
    features: Features,
    weights: Vec<f64>,
    /// Lower Cholesky factor of the fit's matrix.
    factor: Vec<f64>,
    /// Standard deviation of what the fit leaves unexplained.
    residual: f64,
}

/// Strength of the ridge, in units of samples.
const RIDGE: f64 = 0.3;

impl Surrogate {
    pub(crate) fn fit<'s>(codec: &Codec, samples: impl Iterator<Item = (&'s [u8], f64)> + Clone) -> Surrogate {
        let features = Features::new(codec);
        let width = features.count();
        let mut this = Surrogate { features, weights: vec![0.0; width], factor: Vec::new(), residual: 0.0 };
        let all = samples.clone();
        let count = samples.clone().count().max(1) as f64;
        let mean = samples.clone().map(|(_, score)| score).sum::<f64>() / count;
        let mut gram = vec![0.0; width * width];
        let mut active = Vec::new();
        for (genes, score) in samples {
            active.clear();
            active.extend(this.features.of(codec, genes).map(|at| at as usize));
            for (position, &a) in active.iter().enumerate() {
                this.weights[a] += score - mean;
                for &b in &active[..=position] {
                    gram[a * width + b] += 1.0;
                }
            }
        }
        for at in 0..width {
            gram[at * width + at] += RIDGE;
        }
        solve(&mut gram, &mut this.weights);
        this.factor = gram;
        let errors = all.map(|(genes, score)| (score - mean - this.score(codec, genes)).powi(2));
        this.residual = (errors.sum::<f64>() / count).sqrt();
        this
    }

    /// Weights drawn from what the samples leave possible (the posterior of Bayesian linear regression).
    pub(crate) fn draw(&self, rng: &mut impl Rng) -> Vec<f64> {
        let width = self.weights.len();
        let mut noise: Vec<f64> = (0..width).map(|_| rng.sample(StandardNormal)).collect();
        // Solves Lᵀ x = noise, so that x has the covariance (L Lᵀ)⁻¹.
        for row in (0..width).rev() {
            let dot: f64 = (row + 1..width).map(|at| self.factor[at * width + row] * noise[at]).sum();
            noise[row] = (noise[row] - dot) / self.factor[row * width + row];
        }
        self.weights.iter().zip(noise).map(|(weight, noise)| weight + self.residual * noise).collect()
    }

    /// `weights` of such a draw as scores of resolutions and blocks.
    pub(crate) fn scores(&self, codec: &Codec, weights: &[f64]) -> AdditiveScores {
        let blocks = codec.block_genes().map(|gene| {
            let first = self.features.number(gene, 0) as usize;
            weights[first..first + codec.options(gene)].to_vec()
        });
        AdditiveScores {
            resolutions: weights[..codec.resolutions.len()].to_vec(),
            blocks: blocks.collect(),
            first_gene: codec.block_genes().start,
        }
    }

    /// The guess, up to a constant.
    pub(crate) fn score(&self, codec: &Codec, genes: &[u8]) -> f64 {
        self.features.of(codec, genes).map(|at| self.weights[at as usize]).sum()
    }
}

/// Solves `gram` · x = `right` in place for a symmetric positive definite matrix of which the lower half is given.
fn solve(gram: &mut [f64], right: &mut [f64]) {
    let n = right.len();
    for row in 0..n {
        let (above, current) = gram.split_at_mut(row * n);
        for column in 0..=row {
            let other = if column == row { &current[..column] } else { &above[column * n..column * n + column] };
            let dot: f64 = current[..column].iter().zip(other).map(|(a, b)| a * b).sum();
            let value = current[column] - dot;
            current[column] = if column == row { value.max(1e-12).sqrt() } else { value / above[column * n + column] };
        }
    }
    for row in 0..n {
        let dot: f64 = (0..row).map(|at| gram[row * n + at] * right[at]).sum();
        right[row] = (right[row] - dot) / gram[row * n + row];
    }
    for row in (0..n).rev() {
        let dot: f64 = (row + 1..n).map(|at| gram[at * n + row] * right[at]).sum();
        right[row] = (right[row] - dot) / gram[row * n + row];
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::space::SearchSpace;
    use crate::space::genome::Genes;

    #[test]
    fn a_linear_evaluator_is_learned() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let codec = Codec::new(&space, space.resolutions());
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let truth: Vec<f64> = (0..256).map(|_| rng.random_range(0.0..1.0)).collect();
        let score = |genes: &[u8]| {
            truth[usize::from(genes[0])]
                + codec.blocks(genes).flatten().map(|gene| truth[10 + 6 * gene + usize::from(genes[gene])]).sum::<f64>()
        };
        let draw = |rng: &mut dyn Rng| -> Genes { codec.encode(&space.sample(&mut &mut *rng)) };
        let samples: Vec<Genes> = (0..2000).map(|_| draw(&mut rng)).collect();
        let pairs = samples.iter().map(|genes| (&genes[..], score(genes)));
        let surrogate = Surrogate::fit(&codec, pairs);
        let (a, b) = (&samples[0], &samples[1]);
        let guessed = surrogate.score(&codec, a) - surrogate.score(&codec, b);
        assert!((guessed - (score(a) - score(b))).abs() < 0.02);
    }
}
