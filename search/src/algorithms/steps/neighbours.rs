//! The neighbours of a subnet, one or two moves away, in the order in which a linear guess would have them evaluated.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::algorithms::history::Explorer;
use crate::algorithms::steps::surrogate::Surrogate;
use crate::cost::costs::CostRow;
use crate::cost::feasible::Feasible;
use crate::space::genome::{Gene, Genes};

/// The best neighbour of entry `current` that is known and better, and the `wanted` unknown fitting ones with the highest
/// guess, highest first.
///
/// Two moves of blocks add up, in guess and in cost, so nearly all pairs are judged by two additions; a move of depth or
/// resolution changes what the others are worth, and theirs are looked at anew after it.
pub(super) fn neighbours<E>(
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
            codec.set(&mut single, first.gene, first.option);
            single
        });
        if matches!(codec.gene(first.gene), Gene::Block { .. }) {
            for second in base.all[index + 1..].iter().filter(|second| second.gene != first.gene) {
                let guess = base.guess + first.guess + second.guess;
                if best.is_worth(guess) && base.may_fit(&explorer.feasible, [first, second]) {
                    best.offer(guess, || {
                        let mut pair = genes.clone();
                        codec.set(&mut pair, first.gene, first.option);
                        codec.set(&mut pair, second.gene, second.option);
                        pair
                    });
                }
            }
        } else {
            let mut single = genes.clone();
            codec.set(&mut single, first.gene, first.option);
            let after = Moves::of(explorer, surrogate, &single, first.gene + 1);
            for second in &after.all {
                let guess = after.guess + second.guess;
                if best.is_worth(guess) && after.may_fit(&explorer.feasible, [second]) {
                    best.offer(guess, || {
                        let mut pair = single.clone();
                        codec.set(&mut pair, second.gene, second.option);
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
            if codec.is_absent(genes, gene) {
                continue;
            }
            for option in (0..codec.options(gene) as u8).filter(|option| *option != genes[gene]) {
                moved.copy_from_slice(genes);
                codec.set(&mut moved, gene, option);
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
