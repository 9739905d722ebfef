//! Local search with restarts: from a good subnet to the best of its neighbours, until none is better.
//!
//! In goes an evaluated subnet; out comes where the climb ends, better or the same. A neighbour differs in one or two
//! moves: another resolution, another depth, other settings of one block. Two moves together can pay for each other, which
//! matters because good subnets use up their budget. There are thousands, so a linear guess fitted to the best subnets so
//! far ([`crate::algorithms::steps::surrogate`]) decides the order in which they are evaluated.
//!
//! Where that ends, a new start is a random disturbance of one of the best (iterated local search, Lourenço et al. 2003) or
//! what a draw from the guess's posterior says is best (Thompson sampling).

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::algorithms::history::Explorer;
use crate::algorithms::objective::Evaluator;
use crate::algorithms::steps::neighbours::neighbours;
use crate::algorithms::steps::rough_optimum::roughly_best;
use crate::algorithms::steps::surrogate::Surrogate;
use crate::error::SearchError;

/// Best subnets that the guess is fitted to.
const FITTED: usize = 1_500;
/// Latest evaluations that it is fitted to as well.
const RECENT: usize = 300;
/// Batches without improvement after which a start is given up.
const PATIENCE: usize = 4;
/// New evaluations after which the guess is fitted again.
const REFIT: usize = 400;
/// Restarts in a row that found little new and nothing better, after which a search ends.
const STALLED: u32 = 60;
/// Best ends of climbs that restarts begin near.
const OPTIMA: usize = 32;
/// How often a restart is where a draw from the guess is best, instead of near an optimum.
const THOMPSON: f64 = 0.5;
/// Draws of which the best is a restart.
const GUESSES: usize = 16;

/// Climbs, with a guess that is fitted again once there is enough news.
pub(crate) struct Climber {
    size: usize,
    surrogate: Option<Surrogate>,
    fitted_at: usize,
    /// Restarts to let pass before the next draws, because the last ones were mostly known: so few subnets fit, or the
    /// guess is so sure, that drawing would cost more than evaluating.
    pause: u32,
    waited: u32,
}

impl Climber {
    /// Evaluates `size` subnets at a time.
    pub(crate) fn new(size: usize) -> Self {
        Climber { size: size.max(1), surrogate: None, fitted_at: 0, pause: 0, waited: 0 }
    }

    /// Follows better neighbours from entry `current` until `PATIENCE` batches bring none; returns where it ends.
    pub(crate) fn climb<E: Evaluator>(
        &mut self,
        explorer: &mut Explorer<'_, E>,
        mut current: usize,
    ) -> Result<usize, SearchError> {
        loop {
            let news = explorer.entries.len() - self.fitted_at;
            if news >= REFIT || self.surrogate.is_none() {
                self.surrogate = Some(fit(explorer));
                self.fitted_at = explorer.entries.len();
            }
            let surrogate = self.surrogate.as_ref().expect("just fitted");
            let (known, mut candidates) = neighbours(explorer, surrogate, current, self.size * PATIENCE);
            if let Some(better) = known {
                current = better;
                continue;
            }
            candidates.reverse();
            let from = current;
            while !candidates.is_empty() && current == from && explorer.left() > 0 {
                let mut batch = Vec::new();
                while batch.len() < self.size
                    && let Some(genes) = candidates.pop()
                {
                    explorer.queue(&mut batch, genes);
                }
                let range = explorer.evaluate(batch)?;
                let best = best_of(explorer, range);
                if explorer.entries[best].1 > explorer.entries[current].1 {
                    current = best;
                }
            }
            if current == from {
                return Ok(current);
            }
        }
    }

    /// Spends `share` evaluations on climbs from disturbed copies of `optima`, and keeps where they end. Stops early,
    /// and returns true, where restart after restart finds nearly everything around known already and nothing better.
    pub(crate) fn polish<E: Evaluator>(
        &mut self,
        explorer: &mut Explorer<'_, E>,
        optima: &mut Vec<usize>,
        share: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<bool, SearchError> {
        let mut stalled = 0;
        let floor = explorer.left().saturating_sub(share);
        while explorer.left() > floor && !optima.is_empty() {
            if stalled == STALLED {
                return Ok(true);
            }
            optima.sort_by(|&a, &b| explorer.entries[b].1.total_cmp(&explorer.entries[a].1).then(a.cmp(&b)));
            optima.dedup();
            optima.truncate(OPTIMA);
            // The best half of the time, the others in falling proportion.
            let mut origin = 0;
            while origin + 1 < optima.len() && rng.random_bool(0.5) {
                origin += 1;
            }
            self.waited += 1;
            let draws = rng.random_bool(THOMPSON) && self.waited > self.pause;
            let start = if draws { self.guess(explorer, rng)? } else { None };
            let start = match start {
                Some(start) => Some(start),
                None => disturb(explorer, optima[origin], self.size.div_ceil(2), rng)?,
            };
            let (known, best) = (explorer.entries.len(), explorer.entries[optima[0]].1);
            match start {
                Some(start) => {
                    let optimum = self.climb(explorer, start)?;
                    let few = explorer.entries.len() - known < self.size / 2;
                    stalled = if few && explorer.entries[optimum].1 <= best { stalled + 1 } else { 0 };
                    optima.push(optimum);
                }
                // Everything around it is known.
                None => drop(optima.remove(origin)),
            }
        }
        Ok(optima.is_empty())
    }

    /// The best of a few subnets that maximise draws from the guess's posterior (Thompson sampling); `None` if all are known.
    fn guess<E: Evaluator>(
        &mut self,
        explorer: &mut Explorer<'_, E>,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<usize>, SearchError> {
        let surrogate = self.surrogate.get_or_insert_with(|| fit(explorer));
        let tables = explorer.feasible.tables;
        let mut batch = Vec::new();
        for _ in 0..GUESSES {
            let weights = surrogate.draw(rng);
            let scores = surrogate.scores(&tables.codec, &weights);
            if let Some(genes) = roughly_best(tables, &scores, &explorer.feasible.limits, rng) {
                let genes = explorer.feasible.fitted(genes, rng);
                explorer.queue(&mut batch, genes);
            }
        }
        self.pause = if 2 * batch.len() < GUESSES { (2 * self.pause).clamp(1, 1 << 16) } else { 0 };
        self.waited = 0;
        let range = explorer.evaluate(batch)?;
        Ok((!range.is_empty()).then(|| best_of(explorer, range)))
    }
}

/// The best of a range of entries that is not empty, the first of equals.
fn best_of<E>(explorer: &Explorer<'_, E>, range: Range<usize>) -> usize {
    let start = range.start;
    range.fold(start, |best, at| if explorer.entries[at].1 > explorer.entries[best].1 { at } else { best })
}

/// The best of up to `count` disturbed copies of entry `origin`, evaluated together; `None` if all are known.
fn disturb<E: Evaluator>(
    explorer: &mut Explorer<'_, E>,
    origin: usize,
    count: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Option<usize>, SearchError> {
    let mut batch = Vec::new();
    for _ in 0..2 * count {
        if batch.len() == count {
            break;
        }
        let codec = &explorer.feasible.tables.codec;
        let mut candidate = explorer.entries[origin].0.clone();
        for _ in 0..rng.random_range(3..=8) {
            let gene = rng.random_range(0..codec.len);
            candidate[gene] = rng.random_range(0..codec.options(gene)) as u8;
        }
        codec.canonicalise(&mut candidate);
        let genes = explorer.feasible.fitted(candidate, rng);
        explorer.queue(&mut batch, genes);
    }
    let range = explorer.evaluate(batch)?;
    Ok((!range.is_empty()).then(|| best_of(explorer, range)))
}

/// Indices of the `count` best entries, best first.
fn top<E>(explorer: &Explorer<'_, E>, count: usize) -> Vec<usize> {
    let entries = &explorer.entries;
    let order = |a: &usize, b: &usize| entries[*b].1.total_cmp(&entries[*a].1).then(a.cmp(b));
    let mut all: Vec<usize> = (0..entries.len()).collect();
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all
}

fn fit<E>(explorer: &Explorer<'_, E>) -> Surrogate {
    let best = top(explorer, FITTED);
    let recent = explorer.entries.len().saturating_sub(RECENT)..explorer.entries.len();
    let samples = best.into_iter().chain(recent).collect::<Vec<_>>();
    let entries = &explorer.entries;
    Surrogate::fit(&explorer.feasible.tables.codec, samples.iter().map(|&at| (&entries[at].0[..], entries[at].1)))
}
