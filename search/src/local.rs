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

use crate::error::SearchError;
use crate::exact::roughly_best;
use crate::feasible::Feasible;
use crate::genome::Genes;
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
/// How often a restart is where a draw from the guess is best, instead of near a summit.
const THOMPSON: f64 = 0.5;
/// Draws of which the best is a restart.
const GUESSES: usize = 16;

/// Climbs, with a guess that is fitted again once there is enough news.
pub(crate) struct Climber {
    size: usize,
    surrogate: Option<Surrogate>,
    fitted_at: usize,
}

impl Climber {
    /// Evaluates `size` subnets at a time.
    pub(crate) fn new(size: usize) -> Self {
        Climber { size: size.max(1), surrogate: None, fitted_at: 0 }
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

    /// Spends what is left of the budget on climbs from disturbed copies of `summits`.
    pub(crate) fn polish<E: Evaluator>(
        &mut self,
        explorer: &mut Explorer<'_, E>,
        mut summits: Vec<usize>,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), SearchError> {
        while explorer.left() > 0 && !summits.is_empty() {
            summits.sort_by(|&a, &b| explorer.entries[b].1.total_cmp(&explorer.entries[a].1).then(a.cmp(&b)));
            summits.dedup();
            // The best half of the time, the others in falling proportion.
            let mut origin = 0;
            while origin + 1 < summits.len() && rng.random_bool(0.5) {
                origin += 1;
            }
            let start = if rng.random_bool(THOMPSON) { self.guess(explorer, rng)? } else { None };
            let start = match start {
                Some(start) => Some(start),
                None => disturb(explorer, summits[origin], self.size.div_ceil(2), rng)?,
            };
            match start {
                Some(start) => summits.push(self.climb(explorer, start)?),
                // Everything around it is known.
                None => drop(summits.remove(origin)),
            }
        }
        Ok(())
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
                let genes = if explorer.feasible.fits(&genes) { genes } else { explorer.feasible.repair(&genes, rng) };
                explorer.queue(&mut batch, genes);
            }
        }
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
        let genes = if explorer.feasible.fits(&wish) { wish } else { explorer.feasible.repair(&wish, rng) };
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
fn neighbours<E: Evaluator>(
    explorer: &Explorer<'_, E>,
    surrogate: &Surrogate,
    current: usize,
    wanted: usize,
) -> (Option<usize>, Vec<Genes>) {
    let feasible = &explorer.feasible;
    let codec = &feasible.tables.codec;
    let (genes, score) = &explorer.entries[current];
    let mut heap: BinaryHeap<Reverse<Candidate>> = BinaryHeap::new();
    let mut better: Option<usize> = None;
    let mut offer = |candidate: &Genes| {
        let guess = surrogate.score(codec, candidate);
        let full = heap.len() >= wanted;
        if full && heap.peek().is_some_and(|worst| guess <= worst.0.guess) {
            return;
        }
        if let Some(at) = explorer.find(candidate) {
            let known = explorer.entries[at].1;
            if known > *score && better.is_none_or(|better| known > explorer.entries[better].1) {
                better = Some(at);
            }
            return;
        }
        if !feasible.fits(candidate) {
            return;
        }
        heap.push(Reverse(Candidate { guess, genes: candidate.clone() }));
        if full {
            heap.pop();
        }
    };
    let mut pair = genes.clone();
    for (site, single) in singles(feasible, genes) {
        offer(&single);
        for_each_single(feasible, &single, site + 1, |gene, option| {
            pair.copy_from_slice(&single);
            apply(feasible, &mut pair, gene, option);
            offer(&pair);
        });
    }
    let mut found: Vec<Candidate> = heap.into_iter().map(|Reverse(candidate)| candidate).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.dedup_by(|a, b| a.genes == b.genes);
    (better, found.into_iter().map(|candidate| candidate.genes).collect())
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

/// All one-move neighbours with the gene that moved.
fn singles(feasible: &Feasible<'_>, genes: &Genes) -> Vec<(usize, Genes)> {
    let mut all = Vec::new();
    for_each_single(feasible, genes, 0, |gene, option| {
        let mut next = genes.clone();
        apply(feasible, &mut next, gene, option);
        all.push((gene, next));
    });
    all
}

/// Visits the one-move changes of `genes` in genes `from`…
fn for_each_single(feasible: &Feasible<'_>, genes: &[u8], from: usize, mut visit: impl FnMut(usize, u8)) {
    let codec = &feasible.tables.codec;
    for gene in from..codec.len {
        if gene > codec.stages.len() {
            let stage = codec.stage_of_block(gene);
            if gene - codec.stages[stage].first_block >= codec.depth(genes, stage) {
                continue;
            }
        }
        for option in 0..codec.options(gene) as u8 {
            if option != genes[gene] {
                visit(gene, option);
            }
        }
    }
}

/// Sets one gene; blocks that appear repeat the stage's last one.
fn apply(feasible: &Feasible<'_>, genes: &mut Genes, gene: usize, option: u8) {
    let codec = &feasible.tables.codec;
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
