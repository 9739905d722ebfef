//! Population annealing: many subnets walk at once, at a falling temperature, and the good ones multiply.
//!
//! In go the members of some populations, all evaluated, and a number of rounds; out comes where the members end. It is
//! the middle of [`crate::algorithms::evolution`], between drawing populations and climbing from their best.
//!
//! A member moves by a walk under the guess ([`crate::algorithms::steps::walk`], [`crate::algorithms::steps::pairwise`]):
//! many random changes, each judged by the guess. Where the walk ends is evaluated, and the member goes there or stays (the
//! Metropolis rule, on what the guess got wrong: delayed acceptance, Christen & Fox 2005). So the evaluator is asked about
//! subnets that look good and lie far away.
//!
//! At temperature T a subnet is met in proportion to exp(score / T); as T falls, members are drawn again by how much more
//! likely that makes them (Hukushima & Iba 2003; Machta 2010). That keeps several basins in play for as long as it is
//! open which is the deepest, where a population that breeds from its best quarter settles in the first.
//!
//! Populations are of two sides: while the walks of one side are evaluated and learned from, the other side walks. What
//! comes out does not depend on how many threads there are for that.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::algorithms::history::Explorer;
use crate::algorithms::objective::Evaluator;
use crate::algorithms::steps::pairwise::{Compiled, Guess};
use crate::algorithms::steps::walk::{Ground, Places, Proposal, Walk, accepts};
use crate::error::SearchError;
use crate::space::genome::Genes;

/// First and last temperature, in standard deviations of the scores of random subnets.
const HOT: f64 = 0.07;
const COLD: f64 = 0.02;
/// Rounds from one drawing of members to the next.
const DRAW_EVERY: usize = 4;
/// Steps from one compilation of the guess to the next.
const COMPILE_EVERY: usize = 4;
/// Earlier evaluations that the guess learns from again for each new one.
const AGAIN: usize = 2;
/// Steps in a row with too little news that end a run, and how little: a part of the members.
const NEWS: usize = 40;
const LITTLE: f64 = 0.05;
/// Members that one thread takes at least.
const FEW: usize = 8;

/// What is kept from one run to the next.
pub(crate) struct Annealing {
    ground: Ground,
    /// The guess as it is compiled beside the use of the last one.
    spare: Compiled,
    /// Standard deviation of the scores of random subnets.
    scale: f64,
    /// Walks so far.
    pub(crate) walks: usize,
}

impl Annealing {
    /// Knows the scores of random subnets, which are all that was evaluated so far.
    pub(crate) fn new<E>(explorer: &Explorer<'_, E>, guess: &Guess) -> Annealing {
        let scores = explorer.entries.iter().map(|(_, score)| score);
        let count = explorer.entries.len().max(1) as f64;
        let mean = scores.clone().sum::<f64>() / count;
        let variance = scores.map(|score| (score - mean).powi(2)).sum::<f64>() / count;
        let ground = Ground::new(&explorer.feasible, &guess.choices);
        Annealing { ground, spare: Compiled::default(), scale: variance.sqrt().max(1e-12), walks: 0 }
    }

    /// Anneals the populations of both sides, entries all, for `rounds` rounds, less where little new is met; returns where
    /// they end.
    pub(crate) fn run<E: Evaluator>(
        &mut self,
        explorer: &mut Explorer<'_, E>,
        guess: &mut Guess,
        mut sides: [Vec<Vec<usize>>; 2],
        rounds: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<Vec<usize>>, SearchError> {
        let tables = explorer.feasible.tables;
        guess.catch_up(&tables.codec, &explorer.entries, 0, rng.random());
        let mut walks: [Vec<Option<Proposal>>; 2] = [Vec::new(), Vec::new()];
        let mut stale = 0;
        // In the first step nothing is there to be evaluated, and in the last one the walks are for nothing.
        for step in 0..2 * rounds + 1 {
            let (round, side, other) = (step / 2, step % 2, (step + 1) % 2);
            let temperature = self.temperature(round, rounds);
            if round % DRAW_EVERY == DRAW_EVERY - 1 {
                let colder = 1.0 / temperature - 1.0 / self.temperature(round.saturating_sub(DRAW_EVERY), rounds);
                for members in &mut sides[side] {
                    *members = draw(explorer, members, colder, rng);
                }
            }
            let origin = |&at: &usize| (explorer.entries[at].0.clone(), rng.random());
            let origins: Vec<(Genes, u64)> = sides[side].iter().flatten().map(origin).collect();
            if explorer.left() == 0 {
                break;
            }
            self.walks += origins.len();
            let mut batch = Vec::new();
            walks[other].iter().flatten().for_each(|walk| {
                explorer.queue(&mut batch, walk.genes.clone());
            });
            stale = if (batch.len() as f64) < LITTLE * origins.len() as f64 { stale + 1 } else { 0 };
            let (again, seed) = (AGAIN * batch.len(), rng.random());
            let Guess { choices, weights, compiled } = guess;
            let Annealing { ground, spare, scale, .. } = self;
            let is_to_compile = step % COMPILE_EVERY == 0;
            walks[side] = explorer.evaluate_beside(
                batch,
                |entries| {
                    weights.catch_up(choices, &tables.codec, entries, again, seed);
                    if is_to_compile {
                        weights.compile(choices, spare);
                    }
                },
                |feasible| {
                    let walk = Walk { feasible, ground, choices, guess: compiled, scale: *scale, temperature };
                    let origins = origins.par_iter().with_min_len(FEW);
                    let walks = origins.map_init(Places::default, |places, (origin, seed)| {
                        walk.from(origin, places, &mut ChaCha8Rng::seed_from_u64(*seed))
                    });
                    walks.collect()
                },
            )?;
            if is_to_compile {
                std::mem::swap(&mut guess.compiled, &mut self.spare);
            }
            let temperature = self.temperature(step.saturating_sub(1) / 2, rounds);
            for (member, walk) in sides[other].iter_mut().flatten().zip(&walks[other]) {
                let Some((walk, at)) = walk.as_ref().and_then(|walk| Some((walk, explorer.find(&walk.genes)?))) else {
                    continue;
                };
                let surprise = explorer.entries[at].1 - explorer.entries[*member].1 - walk.guessed;
                if accepts(surprise / temperature, rng) {
                    *member = at;
                }
            }
            if stale == NEWS {
                break;
            }
        }
        Ok(sides.into_iter().flatten().collect())
    }

    fn temperature(&self, round: usize, rounds: usize) -> f64 {
        self.scale * HOT * (COLD / HOT).powf(round as f64 / rounds as f64)
    }
}

/// Draws as many members again, each in proportion to exp(score × `colder`), with as little chance as possible
/// (systematic resampling).
fn draw<E>(explorer: &Explorer<'_, E>, members: &[usize], colder: f64, rng: &mut impl Rng) -> Vec<usize> {
    let score = |&at: &usize| explorer.entries[at].1;
    let best = members.iter().map(score).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = members.iter().map(|at| (colder * (score(at) - best)).exp()).collect();
    let unit = weights.iter().sum::<f64>() / members.len() as f64;
    let mut mark = rng.random_range(0.0..unit);
    let mut sum = 0.0;
    let mut drawn = Vec::with_capacity(members.len());
    for (&member, weight) in members.iter().zip(weights) {
        sum += weight;
        while mark < sum && drawn.len() < members.len() {
            drawn.push(member);
            mark += unit;
        }
    }
    drawn
}
