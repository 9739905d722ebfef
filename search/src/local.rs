//! Local search with restarts: from a good subnet to the best of its neighbours, until none is better.
//!
//! A neighbour differs in one or two moves: another resolution, another depth, other settings of one block. Two moves
//! together can pay for each other, which matters because good subnets use up their budget. There are thousands, so a
//! linear guess fitted to the best subnets so far ([`crate::surrogate`]) decides the order in which they are evaluated.
//! Where that ends, a new start is a random disturbance of one of the best (iterated local search, Lourenço et al. 2003) or
//! what a draw from the guess's posterior says is best ([`crate::exact`]; Thompson sampling).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::dense::CostRow;
use crate::error::SearchError;
use crate::exact::roughly_best;
use crate::feasible::Feasible;
use crate::genome::{Codec, Genes};
use crate::history::Explorer;
use crate::objective::Evaluator;
use crate::surrogate::Surrogate;

/// Best subnets that the guess is fitted to.
const FITTED: usize = 1_500;
/// Latest evaluations that it is fitted to as well.
const RECENT: usize = 300;
/// Batches without improvement after which a start is given up.
const PATIENCE: usize = 4;
/// New evaluations after which the guess is fitted again.
const REFIT: usize = 400;
/// Restarts in a row that found little new and nothing better, after which a search ends.
const BARREN: u32 = 60;
/// Best ends of climbs that restarts begin near.
const SUMMITS: usize = 32;
/// How often a restart is where a draw from the guess is best, instead of near a summit.
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

    /// Spends `share` evaluations on climbs from disturbed copies of `summits`, and keeps where they end. Stops early,
    /// and returns true, where restart after restart finds nearly everything around known already and nothing better.
    pub(crate) fn polish<E: Evaluator>(
        &mut self,
        explorer: &mut Explorer<'_, E>,
        summits: &mut Vec<usize>,
        share: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<bool, SearchError> {
        let mut barren = 0;
        let floor = explorer.left().saturating_sub(share);
        while explorer.left() > floor && !summits.is_empty() {
            if barren == BARREN {
                return Ok(true);
            }
            summits.sort_by(|&a, &b| explorer.entries[b].1.total_cmp(&explorer.entries[a].1).then(a.cmp(&b)));
            summits.dedup();
            summits.truncate(SUMMITS);
            // The best half of the time, the others in falling proportion.
            let mut origin = 0;
            while origin + 1 < summits.len() && rng.random_bool(0.5) {
                origin += 1;
            }
            self.waited += 1;
            let draws = rng.random_bool(THOMPSON) && self.waited > self.pause;
            let start = if draws { self.guess(explorer, rng)? } else { None };
            let start = match start {
                Some(start) => Some(start),
                None => disturb(explorer, summits[origin], self.size.div_ceil(2), rng)?,
            };
            let (known, best) = (explorer.entries.len(), explorer.entries[summits[0]].1);
            match start {
                Some(start) => {
                    let summit = self.climb(explorer, start)?;
                    let few = explorer.entries.len() - known < self.size / 2;
                    barren = if few && explorer.entries[summit].1 <= best { barren + 1 } else { 0 };
                    summits.push(summit);
                }
                // Everything around it is known.
                None => drop(summits.remove(origin)),
            }
        }
        Ok(summits.is_empty())
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
        let mut wish = explorer.entries[origin].0.clone();
        for _ in 0..rng.random_range(3..=8) {
            let gene = rng.random_range(0..codec.len);
            wish[gene] = rng.random_range(0..codec.options(gene)) as u8;
        }
        codec.canonicalise(&mut wish);
        let genes = explorer.feasible.fitted(wish, rng);
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

/// The best neighbour of entry `current` that is known and better, and the `wanted` unknown fitting ones with the highest
/// guess, highest first.
///
/// Two moves of blocks add up, in guess and in cost, so nearly all pairs are judged by two additions; a move of depth or
/// resolution changes what the others are worth, and theirs are looked at anew after it.
fn neighbours<E: Evaluator>(
    explorer: &Explorer<'_, E>,
    surrogate: &Surrogate,
    current: usize,
    wanted: usize,
) -> (Option<usize>, Vec<Genes>) {
    let codec = &explorer.feasible.tables.codec;
    let genes = &explorer.entries[current].0;
    let mut best = Best { explorer, current, wanted, heap: BinaryHeap::new(), better: None };
    let base = Moves::of(explorer, surrogate, genes, 0);
    for (index, first) in base.all.iter().enumerate() {
        best.offer(base.guess + first.guess, || {
            let mut single = genes.clone();
            apply(codec, &mut single, first.gene, first.option);
            single
        });
        if first.gene > codec.stages.len() {
            for second in base.all[index + 1..].iter().filter(|second| second.gene != first.gene) {
                let guess = base.guess + first.guess + second.guess;
                if best.is_worth(guess) && base.may_fit(&explorer.feasible, [first, second]) {
                    best.offer(guess, || {
                        let mut pair = genes.clone();
                        apply(codec, &mut pair, first.gene, first.option);
                        apply(codec, &mut pair, second.gene, second.option);
                        pair
                    });
                }
            }
        } else {
            let mut single = genes.clone();
            apply(codec, &mut single, first.gene, first.option);
            let after = Moves::of(explorer, surrogate, &single, first.gene + 1);
            for second in &after.all {
                let guess = after.guess + second.guess;
                if best.is_worth(guess) && after.may_fit(&explorer.feasible, [second]) {
                    best.offer(guess, || {
                        let mut pair = single.clone();
                        apply(codec, &mut pair, second.gene, second.option);
                        pair
                    });
                }
            }
        }
    }
    let mut found: Vec<Candidate> = best.heap.into_iter().map(|Reverse(candidate)| candidate).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.dedup_by(|a, b| a.genes == b.genes);
    (best.better, found.into_iter().map(|candidate| candidate.genes).collect())
}

/// The best so far of what is offered.
struct Best<'e, 'a, E> {
    explorer: &'e Explorer<'a, E>,
    current: usize,
    wanted: usize,
    heap: BinaryHeap<Reverse<Candidate>>,
    better: Option<usize>,
}

impl<E> Best<'_, '_, E> {
    fn is_worth(&self, guess: f64) -> bool {
        self.heap.len() < self.wanted || self.heap.peek().is_none_or(|worst| guess > worst.0.guess)
    }

    fn offer(&mut self, guess: f64, candidate: impl FnOnce() -> Genes) {
        if !self.is_worth(guess) {
            return;
        }
        let genes = candidate();
        if let Some(at) = self.explorer.find(&genes) {
            let score = |at: usize| self.explorer.entries[at].1;
            if score(at) > self.better.map_or(score(self.current), score) {
                self.better = Some(at);
            }
        } else if self.explorer.feasible.fits(&genes) {
            self.heap.push(Reverse(Candidate { guess, genes }));
            if self.heap.len() > self.wanted {
                self.heap.pop();
            }
        }
    }
}

/// One gene set to another value, and what that adds to the guess and to the costs.
struct Move {
    gene: usize,
    option: u8,
    guess: f64,
    costs: CostRow,
}

/// A subnet's guess and costs, and its moves.
struct Moves {
    guess: f64,
    costs: CostRow,
    all: Vec<Move>,
}

impl Moves {
    /// Moves of `genes` in genes `from`…
    fn of<E>(explorer: &Explorer<'_, E>, surrogate: &Surrogate, genes: &Genes, from: usize) -> Moves {
        let tables = explorer.feasible.tables;
        let codec = &tables.codec;
        let mut this = Moves { guess: surrogate.score(codec, genes), costs: tables.row(genes), all: Vec::new() };
        let mut moved = genes.clone();
        for gene in from..codec.len {
            if gene > codec.stages.len() {
                let stage = codec.stage_of_block(gene);
                if gene - codec.stages[stage].first_block >= codec.depth(genes, stage) {
                    continue;
                }
            }
            for option in (0..codec.options(gene) as u8).filter(|option| *option != genes[gene]) {
                moved.copy_from_slice(genes);
                apply(codec, &mut moved, gene, option);
                let (guess, costs) = (surrogate.score(codec, &moved) - this.guess, tables.row(&moved));
                let costs = std::array::from_fn(|of| costs[of] - this.costs[of]);
                this.all.push(Move { gene, option, guess, costs });
            }
        }
        this
    }

    /// Whether the costs after `moves` are within the limits, but for the last bits.
    fn may_fit<const N: usize>(&self, feasible: &Feasible<'_>, moves: [&Move; N]) -> bool {
        (0..self.costs.len()).all(|of| {
            let total = moves.iter().fold(self.costs[of], |total, one| total + one.costs[of]);
            total <= feasible.limits[of] * (1.0 + 1e-9)
        })
    }
}

struct Candidate {
    guess: f64,
    genes: Genes,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.guess.total_cmp(&other.guess).then_with(|| self.genes.cmp(&other.genes))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// Sets one gene; blocks that appear repeat the stage's last one.
pub(crate) fn apply(codec: &Codec, genes: &mut [u8], gene: usize, option: u8) {
    if (1..=codec.stages.len()).contains(&gene) {
        let code = &codec.stages[gene - 1];
        let before = codec.depth(genes, gene - 1);
        genes[gene] = option;
        let after = codec.depth(genes, gene - 1);
        let last = genes[code.first_block + before - 1];
        genes[code.first_block + before.min(after)..code.first_block + after].fill(last);
        let end = code.first_block + before.max(after);
        genes[code.first_block + after..end].fill(0);
    } else {
        genes[gene] = option;
    }
}
