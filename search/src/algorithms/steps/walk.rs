//! A walk from one subnet to another by random changes, each judged by the guess.
//!
//! A change gives one to three genes another value, swaps two blocks, inserts a block or deletes one, and now and then moves
//! to a neighbouring resolution. It is taken by the Metropolis rule on what the guess thinks of it, less a penalty for what
//! costs above the budget: a walk may pass through subnets that cost a little too much, which is how it gets from one
//! resolution to another.

use rand::{Rng, RngExt};

use crate::algorithms::steps::choices::{Choice, Choices};
use crate::algorithms::steps::pairwise::Compiled;
use crate::cost::costs::RULED_OUT;
use crate::cost::feasible::Feasible;
use crate::space::genome::{Codec, Genes};

/// Changes that a walk takes, and how many it tries at most.
const LENGTH: usize = 18;
const TRIES: usize = 48;
/// What costs above a budget take from the guess, in standard deviations of the scores of random subnets for each time the
/// budget over; and how far above it a walk may go.
const PENALTY: f64 = 20.0;
const OVER: f64 = 0.1;
/// How often a change begins with a step to a neighbouring resolution.
const RESOLUTION: f64 = 0.03;
/// A gain, in units of the temperature, that is not taken once in a million times.
const IMPOSSIBLE: f64 = -14.0;

/// What walks know of a space: what every choice costs, as parts of the ceilings.
pub(crate) struct Ground {
    /// Ceilings.
    ceilings: usize,
    /// `[resolution, choice, ceiling]`; infinite for what is ruled out.
    parts: Vec<f64>,
    /// `[resolution, ceiling]`.
    fixed: Vec<f64>,
    choices: usize,
    /// For every stage the depths offered, the number of choices of a block, and the first stage that offers the same.
    stages: Vec<(Vec<usize>, usize, usize)>,
    /// Genes that change: every block's slot, and for every stage its depth.
    genes: usize,
}

impl Ground {
    pub(crate) fn new(feasible: &Feasible<'_>, choices: &Choices) -> Ground {
        let (tables, limits) = (feasible.tables, &feasible.limits);
        let limited: Vec<usize> = (0..limits.len()).filter(|&of| limits[of] < f64::INFINITY).collect();
        let resolutions = tables.resolutions().len();
        let mut this = Ground {
            ceilings: limited.len(),
            parts: vec![0.0; resolutions * choices.len() * limited.len()],
            fixed: Vec::new(),
            choices: choices.len(),
            stages: Vec::new(),
            genes: choices.slot_count() - 1 + tables.codec.stages.len(),
        };
        let part = |cost: f64, of: usize| if of == RULED_OUT { cost } else { cost / limits[of].max(1e-300) };
        for resolution in 0..resolutions {
            this.fixed.extend(limited.iter().map(|&of| part(tables.fixed(resolution)[of], of)));
            for stage in 0..tables.codec.stages.len() {
                for (place, slot) in choices.stage(stage).enumerate() {
                    for (option, row) in tables.block(resolution, stage, place == 0).iter().enumerate() {
                        let at = this.at(resolution, choices.choice(slot, option));
                        for (part_of, &of) in this.parts[at..].iter_mut().zip(&limited) {
                            *part_of = part(row[of], of);
                        }
                    }
                }
            }
        }
        let stages = tables.codec.space.stages();
        for (stage, code) in stages.iter().zip(&tables.codec.stages) {
            let same = stages.iter().position(|other| other.kernels == stage.kernels && other.expands == stage.expands);
            this.stages.push((code.depths.clone(), code.choices, same.expect("a stage offers what it offers")));
        }
        this
    }

    fn at(&self, resolution: usize, choice: Choice) -> usize {
        (resolution * self.choices + usize::from(choice)) * self.ceilings
    }
}

/// What all walks of a round have in common.
pub(crate) struct Walk<'a> {
    pub(crate) feasible: &'a Feasible<'a>,
    pub(crate) ground: &'a Ground,
    pub(crate) choices: &'a Choices,
    pub(crate) guess: &'a Compiled,
    /// Standard deviation of the scores of random subnets.
    pub(crate) scale: f64,
    pub(crate) temperature: f64,
}

/// Where a walk ended.
pub(crate) struct Proposal {
    pub(crate) genes: Genes,
    /// By how much the guess thinks it better than where the walk began.
    pub(crate) guessed: f64,
}

/// The Metropolis rule for a gain in units of the temperature; one that is no number is refused.
pub(crate) fn accepts(gain: f64, rng: &mut impl Rng) -> bool {
    gain >= 0.0 || (gain > IMPOSSIBLE && rng.random_bool(gain.exp()))
}

impl Walk<'_> {
    /// Walks from `origin`, through subnets a little above the budget if need be, to one that fits; `None` if the walk
    /// leads nowhere else.
    pub(crate) fn from(&self, origin: &Genes, places: &mut Places, rng: &mut impl Rng) -> Option<Proposal> {
        let Places { here, next, kept } = places;
        here.look(self, origin);
        next.clone_from(here);
        kept.clone_from(here);
        let start = here.guess;
        let mut taken = 0;
        for _ in 0..TRIES {
            if !next.change(self, rng) {
                continue;
            }
            next.over = self.over(&next.parts);
            let gain = f64::from(next.guess - here.guess) - PENALTY * self.scale * (next.over - here.over);
            // What is ruled out is infinitely above, or no number once it has been taken back.
            if !(next.over <= OVER && accepts(gain / self.temperature, rng)) {
                next.clone_from(here);
                continue;
            }
            here.clone_from(next);
            taken += 1;
            if here.over == 0.0 {
                kept.clone_from(here);
                if taken >= LENGTH {
                    break;
                }
            }
        }
        let genes = self.choices.genes(self.codec(), &kept.choices);
        // Parts are rounded, and peak memory is not a sum.
        (genes != *origin && self.feasible.fits(&genes))
            .then(|| Proposal { guessed: f64::from(kept.guess - start), genes })
    }

    /// The largest part by which a ceiling is exceeded, but for what rounding adds.
    fn over(&self, parts: &[f64]) -> f64 {
        let mut over = 0.0;
        for part in parts {
            let above = part - (1.0 + 1e-12);
            // No number is the worst.
            if above > over || above.is_nan() {
                over = above;
            }
        }
        over
    }

    fn codec(&self) -> &Codec {
        &self.feasible.tables.codec
    }
}

/// Memory for a walk.
#[derive(Default)]
pub(crate) struct Places {
    here: Place,
    next: Place,
    kept: Place,
}

/// A subnet with its guess and costs, changed in place.
#[derive(Default)]
struct Place {
    choices: Vec<Choice>,
    guess: f32,
    /// What it costs, as parts of the ceilings.
    parts: Vec<f64>,
    over: f64,
    /// Scratch.
    options: Vec<usize>,
}

impl Clone for Place {
    fn clone(&self) -> Place {
        let mut copy = Place::default();
        copy.clone_from(self);
        copy
    }

    /// Without new memory.
    fn clone_from(&mut self, other: &Place) {
        self.choices.clone_from(&other.choices);
        self.parts.clone_from(&other.parts);
        (self.guess, self.over) = (other.guess, other.over);
    }
}

impl Place {
    /// Works everything out from the genes.
    fn look(&mut self, walk: &Walk<'_>, genes: &[u8]) {
        walk.choices.of(walk.codec(), genes, &mut self.choices);
        self.guess = walk.guess.score(&self.choices);
        self.price(walk);
        self.over = walk.over(&self.parts);
    }

    /// Works out what it costs.
    fn price(&mut self, walk: &Walk<'_>) {
        let ground = walk.ground;
        let resolution = self.resolution(walk);
        self.parts.clear();
        self.parts.extend_from_slice(&ground.fixed[resolution * ground.ceilings..][..ground.ceilings]);
        for &choice in &self.choices[1..] {
            let at = ground.at(resolution, choice);
            self.parts.iter_mut().zip(&ground.parts[at..]).for_each(|(sum, part)| *sum += part);
        }
    }

    fn resolution(&self, walk: &Walk<'_>) -> usize {
        walk.choices.option(0, self.choices[0])
    }

    /// Blocks present in a stage.
    fn depth(&self, walk: &Walk<'_>, stage: usize) -> usize {
        self.choices[walk.choices.stage(stage)].iter().take_while(|choice| **choice != 0).count()
    }

    /// Makes one random change; false if it changes nothing.
    fn change(&mut self, walk: &Walk<'_>, rng: &mut impl Rng) -> bool {
        let mut is_changed = false;
        if rng.random_bool(RESOLUTION) {
            is_changed |= self.step_resolution(walk, rng);
        }
        match rng.random_range(0..10_u32) {
            0 => is_changed |= self.swap(walk, rng, true),
            1 => is_changed |= self.swap(walk, rng, false),
            _ => {
                for _ in 0..[1, 1, 1, 2, 2, 2, 3, 3][rng.random_range(0..8_usize)] {
                    is_changed |= self.change_gene(walk, rng);
                }
            }
        }
        is_changed
    }

    fn step_resolution(&mut self, walk: &Walk<'_>, rng: &mut impl Rng) -> bool {
        let old = self.resolution(walk);
        let new = if rng.random_bool(0.5) { old + 1 } else { old.wrapping_sub(1) };
        if new >= walk.codec().resolutions.len() {
            return false;
        }
        self.set(walk, 0, walk.choices.choice(0, new));
        self.price(walk);
        true
    }

    /// Swaps the choices of two blocks, of one stage or of any two whose stages offer the same.
    fn swap(&mut self, walk: &Walk<'_>, rng: &mut impl Rng, is_within: bool) -> bool {
        let stages = &walk.ground.stages;
        let stage = rng.random_range(0..stages.len());
        let other = if is_within { stage } else { rng.random_range(0..stages.len()) };
        if stages[stage].2 != stages[other].2 {
            return false;
        }
        let mut slot = |stage: usize| walk.choices.stage(stage).start + rng.random_range(0..self.depth(walk, stage));
        let (a, b) = (slot(stage), slot(other));
        let (of_a, of_b) = (walk.choices.option(a, self.choices[a]), walk.choices.option(b, self.choices[b]));
        if of_a == of_b {
            return false;
        }
        self.put(walk, a, walk.choices.choice(a, of_b));
        self.put(walk, b, walk.choices.choice(b, of_a));
        true
    }

    /// Changes one block, or inserts one into a stage or deletes one.
    fn change_gene(&mut self, walk: &Walk<'_>, rng: &mut impl Rng) -> bool {
        let slots = walk.choices.slot_count();
        let slot = loop {
            let gene = 1 + rng.random_range(0..walk.ground.genes);
            if gene >= slots {
                return rng.random_bool(0.5) && self.change_depth(walk, gene - slots, rng);
            }
            // Absent blocks are drawn again.
            if self.choices[gene] != 0 {
                break gene;
            }
        };
        let new = rng.random_range(walk.choices.offered(slot));
        if new == self.choices[slot] {
            return false;
        }
        self.put(walk, slot, new);
        true
    }

    /// Inserts random blocks at random places of a stage, or deletes some, until the next depth offered.
    fn change_depth(&mut self, walk: &Walk<'_>, stage: usize, rng: &mut impl Rng) -> bool {
        let (depths, count, _) = &walk.ground.stages[stage];
        let mut depth = self.depth(walk, stage);
        let at = depths.iter().position(|&offered| offered == depth).expect("a depth that is offered");
        let new = if rng.random_bool(0.5) { at + 1 } else { at.wrapping_sub(1) };
        let Some(&wanted) = depths.get(new) else { return false };
        let slots = walk.choices.stage(stage);
        let mut options = std::mem::take(&mut self.options);
        options.clear();
        options.extend(slots.clone().take(depth).map(|slot| walk.choices.option(slot, self.choices[slot])));
        while depth < wanted {
            let place = rng.random_range(0..=depth);
            options.insert(place, rng.random_range(0..*count));
            depth += 1;
        }
        while depth > wanted {
            let place = rng.random_range(0..depth);
            options.remove(place);
            depth -= 1;
        }
        for (place, slot) in slots.enumerate() {
            let new = if place < depth { walk.choices.choice(slot, options[place]) } else { 0 };
            if new != self.choices[slot] {
                self.put(walk, slot, new);
            }
        }
        self.options = options;
        true
    }

    /// Gives a block another choice.
    fn put(&mut self, walk: &Walk<'_>, slot: usize, new: Choice) {
        let ground = walk.ground;
        let resolution = self.resolution(walk);
        let (added, gone) = (ground.at(resolution, new), ground.at(resolution, self.choices[slot]));
        for (at, sum) in self.parts.iter_mut().enumerate() {
            *sum += ground.parts[added + at] - ground.parts[gone + at];
        }
        self.set(walk, slot, new);
    }

    fn set(&mut self, walk: &Walk<'_>, slot: usize, new: Choice) {
        self.guess += walk.guess.change(&self.choices, self.choices[slot], new);
        self.choices[slot] = new;
    }
}

#[cfg(test)]
mod tests {
    use hw_targets::budget::Budget;
    use hw_targets::table_op::TableOp;
    use network::units::Quantity;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::algorithms::steps::pairwise::Guess;
    use crate::cost::dense::{CostTables, DeviceCost};
    use crate::space::SearchSpace;

    fn tables() -> CostTables {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        CostTables::compile(&space, space.resolutions(), DeviceCost::default(), |op, _| {
            let op = TableOp::of(op).unwrap();
            let latency = 1e-3 / f64::from(op.kernel * op.mid_channels.max(1)) + 1e-6;
            Ok(DeviceCost { energy: Some(1e-9 * op.macs().0 as f64 + 1e-7), latency: Some(latency) })
        })
        .unwrap()
    }

    /// Budgets in the middle of the ranges.
    fn budget(tables: &CostTables, of: &[Quantity]) -> Budget {
        of.iter().fold(Budget::default(), |budget, &quantity| {
            let range = tables.range(quantity).unwrap();
            budget.with(quantity, range.min + 0.5 * (range.max - range.min)).unwrap()
        })
    }

    #[test]
    fn walks_end_within_every_budget_and_the_guess_keeps_its_word() {
        let tables = tables();
        let quantities = [Quantity::Energy, Quantity::Latency, Quantity::PeakMemory];
        for of in [&quantities[..0], &quantities[..1], &quantities[..2], &quantities[2..], &quantities[..]] {
            let budget = budget(&tables, of);
            let tables = &*tables.within(&budget);
            let feasible = Feasible::new(tables, &budget).unwrap();
            let codec = &tables.codec;
            let mut rng = ChaCha8Rng::seed_from_u64(3);
            let mut genes = |_| feasible.fitted(codec.encode(&codec.space.sample(&mut rng)), &mut rng);
            let entries: Vec<Genes> = (0..300).map(&mut genes).collect();
            let score = |genes: &Genes| genes.iter().map(|gene| f64::from(*gene)).sum::<f64>();
            let entries: Vec<(Genes, f64)> = entries.into_iter().map(|genes| (genes.clone(), score(&genes))).collect();
            let mut guess = Guess::new(codec, &entries);
            guess.catch_up(codec, &entries, 300, 1);
            let ground = Ground::new(&feasible, &guess.choices);
            let Guess { choices, compiled, .. } = &guess;
            let walk =
                Walk { feasible: &feasible, ground: &ground, choices, guess: compiled, scale: 1.0, temperature: 0.3 };
            let (mut places, mut ends, mut resolutions) = (Places::default(), 0, 0);
            let (mut from, mut to) = (Vec::new(), Vec::new());
            for (origin, _) in &entries {
                let Some(end) = walk.from(origin, &mut places, &mut rng) else { continue };
                ends += 1;
                resolutions += usize::from(end.genes[0] != origin[0]);
                assert!(feasible.fits(&end.genes) && end.genes != *origin);
                choices.of(codec, origin, &mut from);
                choices.of(codec, &end.genes, &mut to);
                let gain = compiled.score(&to) - compiled.score(&from);
                assert!((f64::from(gain) - end.guessed).abs() < 1e-3, "{gain} and {}", end.guessed);
            }
            assert!(ends > 200 && resolutions > 10, "{of:?}: {ends} ends, {resolutions} at other resolutions");
        }
    }

    #[test]
    fn what_a_place_costs_is_what_its_network_costs() {
        let tables = tables();
        let budget = budget(&tables, &[Quantity::Energy, Quantity::Latency]);
        let feasible = Feasible::new(&tables, &budget).unwrap();
        let guess = Guess::new(&tables.codec, &[]);
        let mut compiled = Compiled::default();
        guess.weights.compile(&guess.choices, &mut compiled);
        let ground = Ground::new(&feasible, &guess.choices);
        let (choices, guess) = (&guess.choices, &compiled);
        let walk = Walk { feasible: &feasible, ground: &ground, choices, guess, scale: 1.0, temperature: 1.0 };
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut place = Place::default();
        place.look(&walk, &tables.codec.encode(&tables.space().sample(&mut rng)));
        for _ in 0..3_000 {
            place.change(&walk, &mut rng);
            let genes = choices.genes(&tables.codec, &place.choices);
            let mut again = Place::default();
            again.look(&walk, &genes);
            assert_eq!(again.choices, place.choices);
            let row = tables.row(&genes);
            for (at, (part, other)) in place.parts.iter().zip(&again.parts).enumerate() {
                assert!((part - other).abs() < 1e-9 && (part - row[at] / feasible.limits[at]).abs() < 1e-9);
            }
        }
    }
}
