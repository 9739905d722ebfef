//! Population annealing: many subnets walk at once, at a falling temperature, and the good ones multiply.
//!
//! In go the members of a population, all evaluated, and a number of evaluations; out comes where the members end. It is
//! the middle of [`crate::algorithms::evolution`], between drawing a population and climbing from its best.
//!
//! A member moves by a walk under the guess of [`crate::algorithms::steps::pairwise`]: a few random changes, each judged
//! by the guess. Where the walk ends is evaluated, and the member goes there or stays (the Metropolis rule, on what the
//! guess got wrong: delayed acceptance, Christen & Fox 2005). So the evaluator is asked about changes that look good and go
//! far; walks get longer while they are taken and shorter while they are refused.
//!
//! At temperature T a subnet is met in proportion to exp(score / T); as T falls, members are drawn again by how much more
//! likely that makes them (Hukushima & Iba 2003; Machta 2010). That keeps several basins in play for as long as it is
//! open which is the deepest, where a population that breeds from its best quarter settles in the first.

use std::collections::VecDeque;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::algorithms::history::Explorer;
use crate::algorithms::objective::Evaluator;
use crate::algorithms::steps::pairwise::Pairwise;
use crate::cost::costs::{CostRow, add, subtract};
use crate::cost::feasible::Feasible;
use crate::error::SearchError;
use crate::space::genome::{Gene, Genes};

/// First and last temperature, in standard deviations of the scores of random subnets.
const HOT: f64 = 0.07;
const COLD: f64 = 0.03;
/// Rounds from one drawing of members to the next.
const DRAW_EVERY: usize = 4;
/// Part of the proposals that is to be taken.
const TAKEN: f64 = 0.3;
/// Changes in the longest walk.
const LONGEST: f64 = 30.0;
/// Latest evaluations that the guess is refreshed with, and how many for each member in every round.
const RECENT: usize = 2_000;
const REFRESH: usize = 4;
/// Rounds over which too little news ends a run, and how little: a part of the population.
const NEWS: usize = 20;
const LITTLE: f64 = 0.2;

/// What is learned in one run and kept for the next.
pub(crate) struct Annealing {
    guess: Pairwise,
    /// Entries that the guess has learned from.
    learned: usize,
    /// Standard deviation of the scores of random subnets.
    scale: f64,
}

impl Annealing {
    /// Knows nothing but the scores of random subnets, which are all that was evaluated so far.
    pub(crate) fn new<E>(explorer: &Explorer<'_, E>) -> Annealing {
        let scores = explorer.entries.iter().map(|(_, score)| score);
        let count = explorer.entries.len().max(1) as f64;
        let mean = scores.clone().sum::<f64>() / count;
        let variance = scores.map(|score| (score - mean).powi(2)).sum::<f64>() / count;
        let guess = Pairwise::new(&explorer.feasible.tables.codec, mean);
        Annealing { guess, learned: 0, scale: variance.sqrt().max(1e-12) }
    }

    /// Anneals the entries `members` for `share` evaluations, less where little new is met; returns where they end.
    pub(crate) fn run<E: Evaluator>(
        &mut self,
        explorer: &mut Explorer<'_, E>,
        mut members: Vec<usize>,
        share: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<usize>, SearchError> {
        let size = members.len();
        let rounds = share / size.max(1);
        let mut length = 1.0_f64;
        let mut before = 1.0 / (HOT * self.scale);
        let mut news = VecDeque::new();
        for round in 0..rounds {
            if explorer.left() == 0 {
                break;
            }
            self.learn(explorer, size, rng);
            let temperature = self.scale * HOT * (COLD / HOT).powf(round as f64 / rounds as f64);
            if round % DRAW_EVERY == DRAW_EVERY - 1 {
                members = draw(explorer, &members, 1.0 / temperature - before, rng);
                before = 1.0 / temperature;
            }
            let seeds: Vec<u64> = members.iter().map(|_| rng.random()).collect();
            let walks: Vec<Option<Proposal>> = members
                .par_iter()
                .zip(&seeds)
                .with_min_len(8)
                .map_init(<[Walker; 2]>::default, |walkers, (&at, &seed)| {
                    let mut rng = ChaCha8Rng::seed_from_u64(seed);
                    let steps = length as usize + usize::from(rng.random_bool(length.fract()));
                    let origin = &explorer.entries[at].0;
                    self.walk(&explorer.feasible, origin, walkers, steps, temperature, &mut rng)
                })
                .collect();
            let mut batch = Vec::new();
            walks.iter().flatten().for_each(|walk| {
                explorer.queue(&mut batch, walk.genes.clone());
            });
            news.push_back(batch.len());
            explorer.evaluate(batch)?;
            let (mut taken, mut all) = (0, 0);
            for (member, walk) in members.iter_mut().zip(&walks) {
                let Some((walk, at)) = walk.as_ref().and_then(|walk| Some((walk, explorer.find(&walk.genes)?))) else {
                    continue;
                };
                all += 1;
                let surprise = explorer.entries[at].1 - explorer.entries[*member].1 - walk.guessed;
                if accepts(surprise / temperature, rng) {
                    *member = at;
                    taken += 1;
                }
            }
            let rate = f64::from(taken) / f64::from(all.max(1));
            length = (length * (0.2 * (rate - TAKEN)).exp()).clamp(1.0, LONGEST);
            if news.len() > NEWS {
                news.pop_front();
                if (news.iter().sum::<usize>() as f64) < LITTLE * (NEWS * size) as f64 {
                    break;
                }
            }
        }
        Ok(members)
    }

    /// Takes in what is new and refreshes what is recent.
    fn learn<E>(&mut self, explorer: &Explorer<'_, E>, size: usize, rng: &mut ChaCha8Rng) {
        let entries = &explorer.entries;
        let recent = entries.len().saturating_sub(RECENT)..entries.len();
        let again = (0..REFRESH * size).map(|_| rng.random_range(recent.clone()));
        let mut features = Vec::new();
        for at in (self.learned..entries.len()).chain(again) {
            let (genes, score) = &entries[at];
            self.guess.features(&explorer.feasible.tables.codec, genes, &mut features);
            self.guess.learn(&features, *score);
        }
        self.learned = entries.len();
    }

    /// `steps` changes of `origin` that the guess accepts, or as many as are met; `None` if that leads nowhere.
    fn walk(
        &self,
        feasible: &Feasible<'_>,
        origin: &Genes,
        [here, next]: &mut [Walker; 2],
        steps: usize,
        temperature: f64,
        rng: &mut ChaCha8Rng,
    ) -> Option<Proposal> {
        here.genes.clear();
        here.genes.extend_from_slice(origin);
        here.look(feasible, &self.guess);
        next.clone_from(here);
        let start = here.score;
        let mut taken = 0;
        for _ in 0..20 + 2 * steps {
            if next.change(feasible, &self.guess, rng) && accepts(f64::from(next.score - here.score) / temperature, rng)
            {
                here.clone_from(next);
                taken += 1;
                if taken == steps {
                    break;
                }
            } else {
                next.clone_from(here);
            }
        }
        // Peak memory is not a sum.
        (here.genes[..] != origin[..] && feasible.fits(&here.genes))
            .then(|| Proposal { guessed: f64::from(here.score - start), genes: here.genes[..].into() })
    }
}

/// Where a walk ended.
struct Proposal {
    genes: Genes,
    /// By how much the guess thinks it better than where the walk began.
    guessed: f64,
}

/// The Metropolis rule for a gain in units of the temperature; one that is no number is refused.
fn accepts(gain: f64, rng: &mut impl Rng) -> bool {
    gain >= 0.0 || rng.random_bool(gain.exp().max(0.0))
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

/// A subnet with its guess and costs, changed in place.
#[derive(Default)]
struct Walker {
    genes: Vec<u8>,
    features: Vec<u32>,
    /// Place of each block gene in `features`, which begin with the resolution; 0 for a block that is absent.
    places: Vec<u16>,
    score: f32,
    costs: CostRow,
}

impl Clone for Walker {
    fn clone(&self) -> Walker {
        let mut copy = Walker::default();
        copy.clone_from(self);
        copy
    }

    /// Without new memory.
    fn clone_from(&mut self, other: &Walker) {
        self.genes.clone_from(&other.genes);
        self.features.clone_from(&other.features);
        self.places.clone_from(&other.places);
        (self.score, self.costs) = (other.score, other.costs);
    }
}

impl Walker {
    /// Works everything out from the genes.
    fn look(&mut self, feasible: &Feasible<'_>, guess: &Pairwise) {
        let codec = &feasible.tables.codec;
        guess.features(codec, &self.genes, &mut self.features);
        self.places.clear();
        self.places.resize(codec.len, 0);
        for (place, gene) in codec.blocks(&self.genes).flatten().enumerate() {
            self.places[gene] = place as u16 + 1;
        }
        self.score = guess.score(&self.features);
        self.costs = feasible.tables.row(&self.genes);
    }

    /// Changes one to three genes at random; false if that changes nothing or no longer fits.
    fn change(&mut self, feasible: &Feasible<'_>, guess: &Pairwise, rng: &mut impl Rng) -> bool {
        let codec = &feasible.tables.codec;
        let mut changed = false;
        for _ in 0..[1, 2, 2, 3][rng.random_range(0..4)] {
            let gene = rng.random_range(0..codec.len);
            let is_left_out = match codec.gene(gene) {
                Gene::Block { .. } => self.places[gene] == 0,
                // Depths change half as often: there is more to them.
                Gene::Depth(_) => rng.random_bool(0.5),
                Gene::Resolution => false,
            };
            if is_left_out {
                continue;
            }
            let (old, new) = (self.genes[gene], rng.random_range(0..codec.options(gene)) as u8);
            if new == old {
                continue;
            }
            changed = true;
            let Gene::Block { stage, place } = codec.gene(gene) else {
                codec.set(&mut self.genes, gene, new);
                self.look(feasible, guess);
                continue;
            };
            let rows = feasible.tables.block(usize::from(self.genes[0]), stage, place == 0);
            add(&mut self.costs, &rows[usize::from(new)]);
            subtract(&mut self.costs, &rows[usize::from(old)]);
            let (place, feature) = (usize::from(self.places[gene]), guess.feature(gene, new));
            self.score += guess.change(&self.features, place, feature);
            self.features[place] = feature;
            self.genes[gene] = new;
        }
        changed && self.costs.iter().zip(&feasible.limits).all(|(cost, limit)| cost <= limit)
    }
}
