//! A guess of the evaluator that knows pairs, learned as search goes.
//!
//! In go evaluated subnets, one by one; out come guesses of others, so cheap that hundreds can be judged for the price of
//! one evaluation. It only proposes ([`crate::algorithms::steps::annealing`], [`crate::algorithms::steps::climb`]); every
//! result is the evaluator's.
//!
//! A subnet has a setting for its resolution, and one for the kernel size and one for the expand ratio of every block
//! present. The guess is a weight for each setting, one for every pair of them, and one for each block's choice of both,
//! added up. A pair of settings is met more often than a pair of choices (nine times, with three sizes and three ratios),
//! so that its weight is known sooner. Each evaluation moves the weights towards what was said (normalised least mean
//! squares, Widrow & Hoff 1960), which costs about two thousand additions.
//!
//! To judge changes it is compiled ([`Compiled`]) to weights of choices and of pairs of choices: changing a block then
//! costs two rows of as many additions as there are blocks.

use pulp::{Arch, Simd, WithSimd};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::algorithms::steps::choices::{Choice, Choices, LANES};
use crate::space::genome::{Codec, Genes};

/// How much of an error one step takes away.
const RATE: f32 = 0.3;
/// How fast the weight of a pair moves, and that of a block's choice, compared with that of one setting.
const PAIR: f32 = 0.1;
const CHOICE: f32 = 0.3;
/// Latest evaluations that are learned from again.
const RECENT: usize = 2_000;
/// Rows of weights are filled up to a whole number of so many: four of the widest vectors.
const WIDTH: usize = 64;

/// The guess: the numbering of choices, what was learned of them, and that compiled.
pub(crate) struct Guess {
    pub(crate) choices: Choices,
    pub(crate) weights: Pairwise,
    pub(crate) compiled: Compiled,
}

impl Guess {
    /// Knows nothing but the mean of the scores in `entries`.
    pub(crate) fn new(codec: &Codec, entries: &[(Genes, f64)]) -> Guess {
        let choices = Choices::new(codec);
        let mean = entries.iter().map(|(_, score)| score).sum::<f64>() / entries.len().max(1) as f64;
        let weights = Pairwise::new(&choices, mean);
        Guess { choices, weights, compiled: Compiled::default() }
    }

    /// [`Pairwise::catch_up`], compiled.
    pub(crate) fn catch_up(&mut self, codec: &Codec, entries: &[(Genes, f64)], again: usize, seed: u64) {
        self.weights.catch_up(&self.choices, codec, entries, again, seed);
        self.weights.compile(&self.choices, &mut self.compiled);
    }
}

/// Weights of settings, of pairs of them, and of choices.
pub(crate) struct Pairwise {
    mean: f32,
    single: Vec<f32>,
    /// Symmetric, `[stride, stride]`; the diagonal means nothing.
    pair: Vec<f32>,
    choice: Vec<f32>,
    stride: usize,
    /// Entries of the search that were learned from.
    learned: usize,
    arch: Arch,
    settings: Vec<u16>,
    /// Scratch.
    present: Vec<f32>,
    sums: Vec<f32>,
    chosen: Vec<Choice>,
}

impl Pairwise {
    /// Knows nothing but the `mean` score.
    pub(crate) fn new(choices: &Choices, mean: f64) -> Pairwise {
        let stride = choices.count.next_multiple_of(WIDTH);
        Pairwise {
            mean: mean as f32,
            single: vec![0.0; stride],
            pair: vec![0.0; stride * stride],
            choice: vec![0.0; choices.len()],
            stride,
            learned: 0,
            arch: Arch::new(),
            settings: Vec::new(),
            present: vec![0.0; stride],
            sums: vec![0.0; stride],
            chosen: Vec::new(),
        }
    }

    /// Learns from the entries that are new, and from `again` of the latest ones once more.
    pub(crate) fn catch_up(
        &mut self,
        choices: &Choices,
        codec: &Codec,
        entries: &[(Genes, f64)],
        again: usize,
        seed: u64,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let recent = entries.len().saturating_sub(RECENT)..entries.len();
        let again = (0..again).map(|_| rng.random_range(recent.clone()));
        for at in (self.learned..entries.len()).chain(again) {
            let (genes, score) = &entries[at];
            self.learn(choices, codec, genes, *score);
        }
        self.learned = entries.len();
    }

    /// Moves towards `score` for `genes`.
    fn learn(&mut self, choices: &Choices, codec: &Codec, genes: &[u8], score: f64) {
        choices.of(codec, genes, &mut self.chosen);
        self.settings.clear();
        let (mut total, mut blocks) = (self.mean, 0_usize);
        for &choice in self.chosen.iter().filter(|choice| **choice != 0) {
            for setting in choices.settings[usize::from(choice)].into_iter().filter(|setting| *setting != 0) {
                self.settings.push(setting);
                total += self.single[usize::from(setting)];
            }
            blocks += usize::from(choices.settings[usize::from(choice)][1] != 0);
            total += self.choice[usize::from(choice)];
        }
        let arch = self.arch;
        arch.dispatch(Step { weights: self, error: score as f32 - total, blocks: blocks as f32 });
    }

    /// The guess as weights of choices and of pairs of choices.
    pub(crate) fn compile(&self, choices: &Choices, into: &mut Compiled) {
        self.arch.dispatch(Compilation { weights: self, choices, into });
    }
}

/// The part of [`Pairwise::learn`] that vector instructions are for.
struct Step<'a> {
    weights: &'a mut Pairwise,
    /// By how much the weights of settings and of choices miss the score.
    error: f32,
    blocks: f32,
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Pairwise { single, pair, choice, stride, settings, present, sums, chosen, .. } = self.weights;
        let stride = *stride;
        let row = |setting: u16| usize::from(setting) * stride..(usize::from(setting) + 1) * stride;
        // Sums of columns, which are the same whatever a vector holds.
        for (at, sums) in S::as_mut_simd_f32s(sums).0.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let mut totals = [simd.splat_f32s(0.0); 4];
            for &setting in settings.iter() {
                let weights = &S::as_simd_f32s(&pair[row(setting)]).0.as_chunks::<4>().0[at];
                for (total, weights) in totals.iter_mut().zip(weights) {
                    *total = simd.add_f32s(*total, *weights);
                }
            }
            *sums = totals;
        }
        // The sum over the symmetric matrix, less its diagonal.
        let mut twice = 0.0;
        for &setting in settings.iter() {
            twice += sums[usize::from(setting)] - pair[row(setting)][usize::from(setting)];
        }
        let error = self.error - twice / 2.0;
        let count = settings.len() as f32;
        let pairs = PAIR * count * (count - 1.0) / 2.0;
        let step = RATE * error / (count + CHOICE * self.blocks + pairs);
        // What the row of each setting grows by.
        present.fill(0.0);
        for &setting in settings.iter() {
            single[usize::from(setting)] += step;
            present[usize::from(setting)] = PAIR * step;
        }
        let growth = S::as_simd_f32s(present).0;
        for &setting in settings.iter() {
            let weights = S::as_mut_simd_f32s(&mut pair[row(setting)]).0;
            for (weights, growth) in weights.iter_mut().zip(growth) {
                *weights = simd.add_f32s(*weights, *growth);
            }
        }
        for &chosen in chosen[1..].iter().filter(|chosen| **chosen != 0) {
            choice[usize::from(chosen)] += CHOICE * step;
        }
    }
}

/// What [`Pairwise::compile`] does, with vector instructions.
struct Compilation<'a> {
    weights: &'a Pairwise,
    choices: &'a Choices,
    into: &'a mut Compiled,
}

impl WithSimd for Compilation<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Compilation { weights, choices, into } = self;
        let (stride, width) = (weights.stride, choices.settings.len());
        into.width = width;
        into.single.resize(width, 0.0);
        into.pair.resize(width * width, 0.0);
        into.sum.resize(stride, 0.0);
        for choice in 1..width {
            let [a, b] = choices.settings[choice].map(usize::from);
            let own = if b == 0 { 0.0 } else { weights.pair[a * stride + b] + weights.choice[choice] };
            into.single[choice] = weights.single[a] + weights.single[b] + own;
            let (of_a, of_b) = (&weights.pair[a * stride..][..stride], &weights.pair[b * stride..][..stride]);
            into.sum.iter_mut().zip(of_a.iter().zip(of_b)).for_each(|(sum, (a, b))| *sum = a + b);
            let row = &mut into.pair[choice * width..][..width];
            for (value, [a, b]) in row.iter_mut().zip(&choices.settings).skip(1) {
                *value = into.sum[usize::from(*a)] + into.sum[usize::from(*b)];
            }
            // Choices of one slot never meet.
            let slot = usize::from(choices.slots[choice]);
            let own = choices.offered(slot);
            row[usize::from(own.start)..usize::from(own.end)].fill(0.0);
        }
    }
}

/// A [`Pairwise`] guess at one moment, for judging many changes.
#[derive(Default)]
pub(crate) struct Compiled {
    width: usize,
    single: Vec<f32>,
    /// Symmetric, `[width, width]`; 0 for the absent and for pairs that never meet.
    pair: Vec<f32>,
    /// Scratch.
    sum: Vec<f32>,
}

impl Compiled {
    /// The guess for these choices, without the mean.
    pub(crate) fn score(&self, choices: &[Choice]) -> f32 {
        let mut total = 0.0;
        for (slot, &choice) in choices.iter().enumerate() {
            let row = self.row(choice);
            total += self.single[usize::from(choice)];
            total += choices[..slot].iter().map(|&other| row[usize::from(other)]).sum::<f32>();
        }
        total
    }

    /// What the guess grows by if the choice of a slot, `old` in `choices`, becomes `new`.
    pub(crate) fn change(&self, choices: &[Choice], old: Choice, new: Choice) -> f32 {
        let (old_row, new_row) = (self.row(old), self.row(new));
        let mut sums = [0.0_f32; LANES];
        for choices in choices.as_chunks::<LANES>().0 {
            for (sum, &other) in sums.iter_mut().zip(choices) {
                *sum += new_row[usize::from(other)] - old_row[usize::from(other)];
            }
        }
        let total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        total + self.single[usize::from(new)] - self.single[usize::from(old)]
    }

    /// What the guess grows by if two slots change, beside what either change alone is worth.
    pub(crate) fn together(&self, [old, new]: [Choice; 2], [other_old, other_new]: [Choice; 2]) -> f32 {
        let (old, new) = (self.row(old), self.row(new));
        let (other_old, other_new) = (usize::from(other_old), usize::from(other_new));
        (new[other_new] - new[other_old]) - (old[other_new] - old[other_old])
    }

    fn row(&self, choice: Choice) -> &[f32] {
        &self.pair[usize::from(choice) * self.width..][..self.width]
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::space::SearchSpace;

    fn draw(space: &SearchSpace, codec: &Codec, rng: &mut impl Rng) -> Genes {
        codec.encode(&space.sample(rng))
    }

    /// A score that is a sum over pairs of settings.
    fn truth(guess: &Guess, codec: &Codec, genes: &[u8], pairs: &[f64]) -> f64 {
        let mut chosen = Vec::new();
        guess.choices.of(codec, genes, &mut chosen);
        let settings = chosen.iter().flat_map(|choice| guess.choices.settings[usize::from(*choice)]);
        let settings: Vec<usize> = settings.filter(|setting| *setting != 0).map(usize::from).collect();
        let with = |at: usize| settings[..=at].iter().map(|other| pairs[settings[at] * 256 + other]).sum::<f64>();
        (0..settings.len()).map(with).sum()
    }

    #[test]
    fn pairs_are_learned() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let codec = Codec::new(&space, space.resolutions());
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let pairs: Vec<f64> = (0..256 * 256).map(|_| rng.random_range(-0.5..0.5)).collect();
        let mut guess = Guess::new(&codec, &[]);
        let mut errors = Vec::new();
        for _ in 0..60 {
            let entries: Vec<Genes> = (0..1_000).map(|_| draw(&space, &codec, &mut rng)).collect();
            let entries: Vec<(Genes, f64)> = entries
                .into_iter()
                .map(|genes| {
                    let score = truth(&guess, &codec, &genes, &pairs);
                    (genes, score)
                })
                .collect();
            let mut chosen = Vec::new();
            guess.weights.compile(&guess.choices, &mut guess.compiled);
            let error = |(genes, score): &(Genes, f64)| {
                guess.choices.of(&codec, genes, &mut chosen);
                (f64::from(guess.compiled.score(&chosen) + guess.weights.mean) - score).powi(2)
            };
            errors.push(entries.iter().map(error).sum::<f64>());
            guess.weights.learned = 0;
            guess.catch_up(&codec, &entries, 0, 0);
        }
        assert!(errors[59] < 0.1 * errors[0], "{} to {}", errors[0], errors[59]);
    }

    #[test]
    fn changes_add_up_one_by_one_and_together() {
        for name in SearchSpace::builtin_names() {
            let space = SearchSpace::builtin(name).unwrap();
            let codec = Codec::new(&space, space.resolutions());
            let mut rng = ChaCha8Rng::seed_from_u64(6);
            let entries: Vec<(Genes, f64)> =
                (0..500).map(|_| (draw(&space, &codec, &mut rng), rng.random_range(-1.0..1.0))).collect();
            let mut guess = Guess::new(&codec, &entries);
            guess.catch_up(&codec, &entries, 500, 1);
            let Guess { choices, compiled, .. } = &guess;
            let mut chosen = Vec::new();
            for (genes, _) in &entries[..100] {
                choices.of(&codec, genes, &mut chosen);
                let places: Vec<usize> = (0..chosen.len()).filter(|place| chosen[*place] != 0).collect();
                let mut change = || {
                    let place = places[rng.random_range(0..places.len())];
                    (place, chosen[place], rng.random_range(choices.offered(place)))
                };
                let ((one, one_old, one_new), (two, two_old, two_new)) = (change(), change());
                let before = compiled.score(&chosen);
                let first = compiled.change(&chosen, one_old, one_new);
                let second = compiled.change(&chosen, two_old, two_new);
                let both = first + second + compiled.together([one_old, one_new], [two_old, two_new]);
                chosen[one] = one_new;
                assert!((compiled.score(&chosen) - before - first).abs() < 1e-4, "{name}");
                if one != two {
                    chosen[two] = two_new;
                    assert!((compiled.score(&chosen) - before - both).abs() < 1e-4, "{name}");
                }
            }
        }
    }
}
