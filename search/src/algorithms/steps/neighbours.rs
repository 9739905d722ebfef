//! The neighbours of a subnet, in the order in which the guess would have them evaluated.
//!
//! A neighbour is one or two changes of blocks away, or a block inserted, a block deleted or the next resolution, with up to
//! one change of a block after it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::algorithms::history::Explorer;
use crate::algorithms::steps::choices::{Choice, Choices};
use crate::algorithms::steps::pairwise::{Compiled, Guess};
use crate::cost::costs::{CostRow, add, subtract};
use crate::space::genome::{Gene, Genes};

/// One slot's other choice, and what that adds to the guess and to the costs.
struct Move {
    gene: usize,
    option: u8,
    old: Choice,
    new: Choice,
    guess: f32,
    costs: CostRow,
}

struct Neighbours<'e, 'a, E> {
    explorer: &'e Explorer<'a, E>,
    current: usize,
    wanted: usize,
    heap: BinaryHeap<Reverse<Candidate>>,
    better: Option<usize>,
}

/// The best neighbour of entry `current` that is known and better, and the `wanted` unknown fitting ones with the highest
/// guess, highest first.
pub(super) fn neighbours<E>(
    explorer: &Explorer<'_, E>,
    guess: &Guess,
    current: usize,
    wanted: usize,
) -> (Option<usize>, Vec<Genes>) {
    let Guess { choices, compiled: guess, .. } = guess;
    let codec = &explorer.feasible.tables.codec;
    let genes = &explorer.entries[current].0;
    let mut found = Neighbours { explorer, current, wanted, heap: BinaryHeap::new(), better: None };
    let mut chosen = Vec::new();
    choices.of(codec, genes, &mut chosen);
    let start = guess.score(&chosen);
    found.around(choices, guess, genes, 0.0, true);
    let mut other = |genes: Genes| {
        choices.of(codec, &genes, &mut chosen);
        let gain = guess.score(&chosen) - start;
        found.around(choices, guess, &genes, gain, false);
    };
    for resolution in 0..codec.resolutions.len() as u8 {
        if resolution.abs_diff(genes[0]) == 1 {
            let mut near = genes.clone();
            near[0] = resolution;
            other(near);
        }
    }
    for (stage, code) in codec.stages.iter().enumerate() {
        let depth = codec.depth(genes, stage);
        let at = genes[code.depth_gene];
        if code.depths.get(usize::from(at) + 1) == Some(&(depth + 1)) {
            for place in 0..=depth {
                for option in 0..code.choices as u8 {
                    let mut near = genes.clone();
                    near[code.depth_gene] = at + 1;
                    near[code.first_block..=code.first_block + depth][place..].rotate_right(1);
                    near[code.first_block + place] = option;
                    other(near);
                }
            }
        }
        if at > 0 && code.depths[usize::from(at) - 1] == depth - 1 {
            for place in 0..depth {
                let mut near = genes.clone();
                near[code.depth_gene] = at - 1;
                near[code.first_block..code.first_block + depth][place..].rotate_left(1);
                near[code.first_block + depth - 1] = 0;
                other(near);
            }
        }
    }
    let mut all: Vec<Candidate> = found.heap.into_iter().map(|Reverse(candidate)| candidate).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.dedup_by(|a, b| a.genes == b.genes);
    (found.better, all.into_iter().map(|candidate| candidate.genes).collect())
}

impl<E> Neighbours<'_, '_, E> {
    /// `genes` itself and what is one change of a block away from it, or up to two; `gain` is what the guess thinks it
    /// better than where the climb is.
    fn around(&mut self, choices: &Choices, guess: &Compiled, genes: &Genes, gain: f32, is_double: bool) {
        let tables = self.explorer.feasible.tables;
        let codec = &tables.codec;
        let base = tables.row(genes);
        let mut chosen = Vec::new();
        choices.of(codec, genes, &mut chosen);
        let mut moves: Vec<Move> = Vec::new();
        for gene in codec.blocks(genes).flatten() {
            let Gene::Block { stage, place } = codec.gene(gene) else { continue };
            let rows = tables.block(usize::from(genes[0]), stage, place == 0);
            let slot = choices.stage(stage).start + place;
            for option in (0..codec.options(gene) as u8).filter(|option| *option != genes[gene]) {
                let (old, new) = (chosen[slot], choices.choice(slot, usize::from(option)));
                let mut costs = rows[usize::from(option)];
                subtract(&mut costs, &rows[usize::from(genes[gene])]);
                moves.push(Move { gene, option, old, new, guess: guess.change(&chosen, old, new), costs });
            }
        }
        self.offer(gain, &base, || genes.clone());
        for (at, first) in moves.iter().enumerate() {
            let mut costs = base;
            add(&mut costs, &first.costs);
            let gain = gain + first.guess;
            self.offer(gain, &costs, || {
                let mut near = genes.clone();
                near[first.gene] = first.option;
                near
            });
            if !is_double {
                continue;
            }
            for second in moves[at + 1..].iter().filter(|second| second.gene != first.gene) {
                let gain = gain + second.guess + guess.together([first.old, first.new], [second.old, second.new]);
                if self.is_worth(gain) {
                    let mut costs = costs;
                    add(&mut costs, &second.costs);
                    self.offer(gain, &costs, || {
                        let mut near = genes.clone();
                        near[first.gene] = first.option;
                        near[second.gene] = second.option;
                        near
                    });
                }
            }
        }
    }

    fn is_worth(&self, gain: f32) -> bool {
        self.heap.len() < self.wanted || self.heap.peek().is_none_or(|worst| gain > worst.0.gain)
    }

    fn offer(&mut self, gain: f32, costs: &CostRow, candidate: impl FnOnce() -> Genes) {
        let limits = &self.explorer.feasible.limits;
        if !self.is_worth(gain) || costs.iter().zip(limits).any(|(cost, limit)| *cost > limit * (1.0 + 1e-9)) {
            return;
        }
        let genes = candidate();
        if let Some(at) = self.explorer.find(&genes) {
            let score = |at: usize| self.explorer.entries[at].1;
            if score(at) > self.better.map_or(score(self.current), score) {
                self.better = Some(at);
            }
        } else if self.explorer.feasible.fits(&genes) {
            self.heap.push(Reverse(Candidate { gain, genes }));
            if self.heap.len() > self.wanted {
                self.heap.pop();
            }
        }
    }
}

struct Candidate {
    gain: f32,
    genes: Genes,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.gain.total_cmp(&other.gain).then_with(|| self.genes.cmp(&other.genes))
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
