//! A guess of the evaluator that knows pairs, learned as search goes.
//!
//! In go evaluated subnets, one by one; out come guesses of others, so cheap that thousands can be judged for the price of
//! one evaluation. It only proposes ([`crate::algorithms::steps::annealing`]); every result is the evaluator's.
//!
//! The guess is a weight for every setting that a subnet has (a resolution, or a choice of kernel size and expand ratio at
//! a block's place) and one for every pair of them, added up. Each evaluation moves the weights of its settings towards
//! what was said of it (normalised least mean squares, Widrow & Hoff 1960), which costs a few hundred additions.

use crate::algorithms::steps::features::Features;
use crate::space::genome::Codec;

/// How much of an error one step takes away.
const RATE: f32 = 0.3;
/// How fast the weight of a pair moves, compared with that of one setting.
const PAIR: f32 = 0.1;

/// Weights of settings and of pairs of them.
pub(crate) struct Pairwise {
    features: Features,
    mean: f32,
    single: Vec<f32>,
    /// Symmetric, `[width, width]`.
    pair: Vec<f32>,
}

impl Pairwise {
    /// Knows nothing but the `mean` score.
    pub(crate) fn new(codec: &Codec, mean: f64) -> Pairwise {
        let features = Features::new(codec);
        let count = features.count();
        Pairwise { features, mean: mean as f32, single: vec![0.0; count], pair: vec![0.0; count * count] }
    }

    /// The feature of block gene `gene` with value `option`.
    pub(crate) fn feature(&self, gene: usize, option: u8) -> u32 {
        self.features.number(gene, option)
    }

    /// The features of `genes`: the resolution's, then those of the blocks present, in order.
    pub(crate) fn features(&self, codec: &Codec, genes: &[u8], features: &mut Vec<u32>) {
        features.clear();
        features.extend(self.features.of(codec, genes));
    }

    /// The guess for a subnet of these features, without the mean.
    pub(crate) fn score(&self, features: &[u32]) -> f32 {
        let mut total = 0.0;
        for (place, &feature) in features.iter().enumerate() {
            let row = self.row(feature);
            total += self.single[feature as usize];
            total += features[..place].iter().map(|&other| row[other as usize]).sum::<f32>();
        }
        total
    }

    /// What the guess grows by if the feature at `place` becomes `new`.
    pub(crate) fn change(&self, features: &[u32], place: usize, new: u32) -> f32 {
        let old = features[place];
        let (old_row, new_row) = (self.row(old), self.row(new));
        let mut total = self.single[new as usize] - self.single[old as usize];
        // Settings of the place itself never meet, so their pairs weigh nothing.
        for &other in features {
            total += new_row[other as usize] - old_row[other as usize];
        }
        total
    }

    /// Takes in that a subnet of these features scored `score`.
    pub(crate) fn learn(&mut self, features: &[u32], score: f64) {
        let (width, count) = (self.features.count(), features.len() as f32);
        let error = score as f32 - self.mean - self.score(features);
        let step = RATE * error / (count + PAIR * count * (count - 1.0) / 2.0);
        for &feature in features {
            self.single[feature as usize] += step;
            let row = &mut self.pair[feature as usize * width..][..width];
            for &other in features {
                row[other as usize] += PAIR * step;
            }
            row[feature as usize] = 0.0;
        }
    }

    fn row(&self, feature: u32) -> &[f32] {
        let width = self.features.count();
        &self.pair[feature as usize * width..][..width]
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
    fn pairs_are_learned_and_changes_add_up() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let codec = Codec::new(&space, space.resolutions());
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let truth: Vec<f64> = (0..256 * 256).map(|_| rng.random_range(-0.5..0.5)).collect();
        let draw = |rng: &mut dyn Rng| -> Genes { codec.encode(&space.sample(&mut &mut *rng)) };
        let mut guess = Pairwise::new(&codec, 0.0);
        let mut features = Vec::new();
        let score = |features: &[u32]| -> f64 {
            let pairs = features.iter().enumerate();
            pairs
                .flat_map(|(at, &a)| features[..=at].iter().map(move |&b| (a, b)))
                .map(|(a, b)| truth[a as usize * 256 + b as usize])
                .sum()
        };
        let mut errors = Vec::new();
        for _ in 0..60_000 {
            guess.features(&codec, &draw(&mut rng), &mut features);
            let truth = score(&features);
            errors.push((f64::from(guess.score(&features)) - truth).powi(2) / truth.powi(2).max(1.0));
            guess.learn(&features, truth);
        }
        let mean = |errors: &[f64]| errors.iter().sum::<f64>() / errors.len() as f64;
        let (before, after) = (mean(&errors[..1_000]), mean(&errors[59_000..]));
        assert!(after < 0.1 * before, "{before} to {after}");
        for _ in 0..100 {
            guess.features(&codec, &draw(&mut rng), &mut features);
            let place = rng.random_range(0..features.len());
            let gene = if place == 0 { 0 } else { codec.block_genes().start };
            // Any setting of the same place: block genes of this space have the same number of options.
            let first = if place == 0 { 0 } else { features[place] - (features[place] - guess.feature(gene, 0)) % 6 };
            let options = if place == 0 { codec.resolutions.len() as u32 } else { 6 };
            let new = first + rng.random_range(0..options);
            let (before, change) = (guess.score(&features), guess.change(&features, place, new));
            features[place] = new;
            assert!((guess.score(&features) - before - change).abs() < 1e-3);
        }
    }
}
