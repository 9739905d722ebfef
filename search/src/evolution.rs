//! Evolutionary search under ceilings, ended by local search.
//!
//! The published EvolutionFinder (Cai et al. 2020, arXiv:1908.09791; `once-for-all` §6.1): the best quarter of a
//! population are parents, half of the children mutants and half crossovers. Departures, each for a weakness measured
//! there: candidates are repaired, not rejected, so an impossible or tight budget cannot loop for ever; no network is
//! evaluated twice (81 % of the published evaluations are repeats); the last children count; and instead of one long
//! run, several short ones start at different resolutions, each ended by a climb ([`crate::local`]), which leaves less
//! between seeds. Where no more subnets fit than may be evaluated, all of them are.

use hw_targets::budget::Budget;
use hw_targets::units::Quantity;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::arch::ArchSpec;
use crate::crossover::crossover;
use crate::dense::CostTables;
use crate::error::SearchError;
use crate::feasible::Feasible;
use crate::genome::Genes;
use crate::history::{Explorer, History, Scored};
use crate::local::Climber;
use crate::mutate::{MutationRates, mutate};
use crate::objective::Evaluator;

/// Settings of [`evolve`]; the default is the published one (100 + 500 generations of 100).
#[derive(Clone, Debug, PartialEq)]
pub struct EvolutionSettings {
    /// Evaluations in all, each of a distinct subnet.
    pub evaluations: usize,
    /// Subnets in a population, and children per generation.
    pub population: usize,
    /// Part of the population that become parents.
    pub parents: f64,
    /// Part of the children that are mutants; the others are crossovers.
    pub mutants: f64,
    /// How likely each gene changes in a mutant.
    pub rates: MutationRates,
    /// Populations bred one after the other, each ended by a climb; several, because one may end on a lesser summit.
    pub runs: usize,
    /// Part of the evaluations that is left for climbing again from disturbed copies of the best.
    pub polish: f64,
    /// Whether populations breed; without it, each run climbs from the best of its first population (local search with
    /// restarts).
    pub breeds: bool,
    /// Subnets that are evaluated first and climbed from; those that do not fit are repaired, those at other resolutions
    /// than the tables' left out.
    pub start: Vec<ArchSpec>,
    /// Everything random follows from it.
    pub seed: u64,
}

impl Default for EvolutionSettings {
    fn default() -> Self {
        EvolutionSettings {
            evaluations: 50_100,
            population: 100,
            parents: 0.25,
            mutants: 0.5,
            rates: MutationRates::default(),
            runs: 6,
            polish: 0.3,
            breeds: true,
            start: Vec::new(),
            seed: 0,
        }
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct SearchOutcome {
    /// Every evaluation in order.
    pub history: History,
    /// Whether every subnet that fits was evaluated, so that the best is the best there is.
    pub exhaustive: bool,
    /// Ceilings that every subnet of the space meets, so that they bind nothing.
    pub slack: Vec<Quantity>,
}

impl SearchOutcome {
    /// The best subnet.
    pub fn best(&self) -> Scored {
        self.history.best(1).remove(0)
    }

    /// Lets `explore` look among what fits `budget`, unless that is so little that all of it is evaluated.
    pub(crate) fn of<E: Evaluator>(
        tables: &CostTables,
        budget: &Budget,
        evaluator: &mut E,
        evaluations: usize,
        batch: usize,
        explore: impl FnOnce(&mut Explorer<'_, E>) -> Result<(), SearchError>,
    ) -> Result<SearchOutcome, SearchError> {
        let feasible = Feasible::new(tables, budget)?;
        let most = evaluations.max(1);
        let everything = feasible.enumerate(most);
        let exhaustive = everything.is_some();
        let mut explorer = Explorer::new(feasible, evaluator, most);
        match everything {
            Some(all) => {
                for chunk in all.chunks(batch.max(1)) {
                    let mut new = Vec::new();
                    for genes in chunk {
                        explorer.queue(&mut new, genes.clone());
                    }
                    explorer.evaluate(new)?;
                }
            }
            None => explore(&mut explorer)?,
        }
        Ok(SearchOutcome { history: explorer.into_history(), exhaustive, slack: slack(tables, budget) })
    }
}

/// Ceilings that every subnet meets.
pub(crate) fn slack(tables: &CostTables, budget: &Budget) -> Vec<Quantity> {
    let meets = |(quantity, ceiling): (Quantity, f64)| {
        tables.range(quantity).is_some_and(|range| range.max <= ceiling).then_some(quantity)
    };
    budget.limits().filter_map(meets).collect()
}

/// Looks for the subnets that `evaluator` scores highest among those of `tables`' space and resolutions that fit
/// `budget`. The same arguments give the same result, whatever the evaluator does in parallel.
///
/// # Errors
/// [`SearchError::Infeasible`] if nothing fits, with the nearest reachable values; [`SearchError::UnknownQuantity`] for
/// a ceiling on what the device does not know; what the evaluator says; [`SearchError::BadScore`].
pub fn evolve(
    tables: &CostTables,
    budget: &Budget,
    evaluator: &mut impl Evaluator,
    settings: &EvolutionSettings,
) -> Result<SearchOutcome, SearchError> {
    SearchOutcome::of(tables, budget, evaluator, settings.evaluations, settings.population, |explorer| {
        explore(explorer, settings)
    })
}

/// Populations from several resolutions, a climb from the best of each, and climbs from disturbed summits.
fn explore<E: Evaluator>(explorer: &mut Explorer<'_, E>, settings: &EvolutionSettings) -> Result<(), SearchError> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut climber = Climber::new(settings.population);
    let reserve = (explorer.left() as f64 * settings.polish.clamp(0.0, 1.0)) as usize;
    let runs = settings.runs.max(1);
    let share = (explorer.left() / runs).max(settings.population);
    let mut summits = Vec::new();
    if let Some(best) = evaluate_start(explorer, &settings.start, &mut rng)? {
        summits.push(climber.climb(explorer, best)?);
    }
    // Populations stagnate early in easy spaces; more of them take what is left then, up to a bound.
    for run in 0..4 * runs {
        if explorer.left() <= reserve && !summits.is_empty() {
            break;
        }
        // All resolutions in turn, or, where they are many, evenly spread ones.
        let resolutions = &explorer.feasible.resolutions;
        let turn = if resolutions.len() <= runs {
            run % resolutions.len()
        } else {
            (2 * (run % runs) + 1) * resolutions.len() / (2 * runs)
        };
        let resolution = resolutions[turn];
        let best = breed(explorer, settings, resolution, share, &mut rng)?;
        summits.push(climber.climb(explorer, best)?);
    }
    climber.polish(explorer, summits, &mut rng)
}

/// Evaluates the subnets to start from; the best of them.
fn evaluate_start<E: Evaluator>(
    explorer: &mut Explorer<'_, E>,
    start: &[ArchSpec],
    rng: &mut ChaCha8Rng,
) -> Result<Option<usize>, SearchError> {
    let mut brood = Brood::default();
    for arch in start {
        let codec = &explorer.feasible.tables.codec;
        if codec.resolutions.contains(&arch.resolution()) {
            let wish = codec.encode(arch);
            brood.propose(explorer, wish, rng);
        }
    }
    let all = brood.evaluate(explorer)?;
    Ok(all.into_iter().max_by(|&a, &b| explorer.entries[a].1.total_cmp(&explorer.entries[b].1).then(b.cmp(&a))))
}

/// Draws after which a candidate that is always known already is given up.
const TRIES: usize = 10;
/// Generations without a better best after which a population has converged.
const STAGNATION: usize = 12;

/// Breeds one population from scratch at `resolution` until it stagnates or `share` evaluations are spent; returns its best entry.
///
/// A child that an earlier population evaluated joins without being evaluated again.
fn breed<E: Evaluator>(
    explorer: &mut Explorer<'_, E>,
    settings: &EvolutionSettings,
    resolution: u8,
    share: usize,
    rng: &mut ChaCha8Rng,
) -> Result<usize, SearchError> {
    let size = settings.population.max(2);
    let kept = ((size as f64 * settings.parents) as usize).clamp(1, size);
    let floor = explorer.left().saturating_sub(share);
    let mut brood = Brood::default();
    for _ in 0..size {
        let codec = &explorer.feasible.tables.codec;
        let wish = codec.encode(&codec.space.sample_at(codec.resolutions[usize::from(resolution)], rng));
        brood.propose(explorer, wish, rng);
    }
    let mut population = brood.evaluate(explorer)?;
    let mut best = f64::NEG_INFINITY;
    let mut stagnant = 0;
    loop {
        population.sort_by(|&a, &b| explorer.entries[b].1.total_cmp(&explorer.entries[a].1).then(a.cmp(&b)));
        population.dedup();
        population.truncate(kept);
        let score = explorer.entries[population[0]].1;
        stagnant = if score > best { 0 } else { stagnant + 1 };
        best = best.max(score);
        if !settings.breeds || stagnant > STAGNATION || explorer.left() <= floor {
            return Ok(population[0]);
        }
        let parents: Vec<Genes> = population.iter().map(|&at| explorer.entries[at].0.clone()).collect();
        let mut brood = Brood::default();
        for child in 0..size {
            let is_mutant = (child as f64) < settings.mutants * size as f64;
            for _ in 0..TRIES {
                let mother = &parents[rng.random_range(0..parents.len())];
                let codec = &explorer.feasible.tables.codec;
                let wish = if is_mutant {
                    mutate(codec, mother, settings.rates, rng)
                } else {
                    let father = &parents[rng.random_range(0..parents.len())];
                    crossover(codec, mother, father, rng)
                };
                if brood.propose(explorer, wish, rng) {
                    break;
                }
            }
        }
        population.extend(brood.evaluate(explorer)?);
    }
}

/// Children of one generation: new ones to evaluate, and known ones that join as they are.
#[derive(Default)]
struct Brood {
    new: Vec<Genes>,
    known: Vec<usize>,
}

impl Brood {
    /// Adds `wish`, or the nearest that fits; false if it is in this brood already.
    fn propose<E: Evaluator>(&mut self, explorer: &mut Explorer<'_, E>, wish: Genes, rng: &mut ChaCha8Rng) -> bool {
        let genes = if explorer.feasible.fits(&wish) { wish } else { explorer.feasible.repair(&wish, rng) };
        match explorer.find(&genes) {
            Some(at) if at >= explorer.entries.len() => false,
            Some(at) => {
                self.known.push(at);
                false
            }
            None => explorer.queue(&mut self.new, genes),
        }
    }

    fn evaluate<E: Evaluator>(self, explorer: &mut Explorer<'_, E>) -> Result<Vec<usize>, SearchError> {
        let mut all = self.known;
        all.extend(explorer.evaluate(self.new)?);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use hw_targets::failure::FailureKind;
    use hw_targets::units::{Joules, Macs};

    use super::*;
    use crate::arch::BlockSpec;
    use crate::dense::DeviceCost;
    use crate::error::ForeignError;
    use crate::space::SearchSpace;

    /// A made-up accuracy: every block helps, larger ones more, by amounts that depend on the place and on every other
    /// block (pairs weigh as much as the blocks themselves).
    #[derive(Clone)]
    struct Synthetic {
        single: Vec<f64>,
        pair: Vec<f64>,
    }

    const PLACES: usize = 12 * 6;

    impl Synthetic {
        fn new(seed: u64) -> Self {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let single = (0..PLACES).map(|place| 0.01 + 0.0015 * (place % 6) as f64 + rng.random_range(0.0..0.008));
            let single = single.collect();
            Synthetic { single, pair: (0..PLACES * PLACES).map(|_| rng.random_range(-0.003..0.003)).collect() }
        }

        fn place(stage: usize, index: usize, block: &BlockSpec) -> usize {
            (3 * stage + index) * 6 + (block.kernel as usize - 3) / 2 * 3 + block.expand as usize - 2
        }

        fn score(&self, arch: &ArchSpec) -> f64 {
            let mut score = 0.6 + 0.002 * f64::from(arch.resolution());
            let mut before: Vec<usize> = Vec::new();
            for (stage, spec) in arch.stages().iter().enumerate() {
                for (index, block) in spec.blocks.iter().enumerate() {
                    let place = Self::place(stage, index, block);
                    score += self.single[place] + before.iter().map(|at| self.pair[at * PLACES + place]).sum::<f64>();
                    before.push(place);
                }
            }
            score
        }
    }

    impl Evaluator for Synthetic {
        fn evaluate(&mut self, archs: &[ArchSpec]) -> Result<Vec<f64>, ForeignError> {
            Ok(archs.iter().map(|arch| self.score(arch)).collect())
        }
    }

    fn tables(space: &SearchSpace) -> CostTables {
        CostTables::compile(space, space.resolutions(), DeviceCost::default(), |op, _| {
            let maps = f64::from(op.out_size * op.out_size * op.out_channels);
            let energy = 1e-9 * op.macs().0 as f64 + 1e-8 * maps + 2e-7 * f64::from(op.in_channels * op.kernel);
            Ok(DeviceCost { energy: Some(energy), latency: None })
        })
        .unwrap()
    }

    /// `count` budgets from just above the cheapest to just below the dearest subnet.
    fn budgets(tables: &CostTables, count: usize) -> Vec<Budget> {
        let range = tables.range(Quantity::Energy).unwrap();
        let at = |index: usize| range.min + (range.max - range.min) * (index as f64 + 0.5) / count as f64;
        (0..count).map(|index| Budget::new(Some(Joules(at(index))), None, None, None).unwrap()).collect()
    }

    fn settings(evaluations: usize, seed: u64) -> EvolutionSettings {
        EvolutionSettings { evaluations, seed, ..Default::default() }
    }

    #[test]
    fn the_true_optimum_is_found() {
        let mut space = SearchSpace::builtin("mcu-cifar").unwrap();
        space.stages.truncate(3);
        space.stages[2].expands = vec![2, 4];
        space.resolutions = vec![28];
        assert_eq!(space.count(), 846_720_u32.into());
        let tables = tables(&space);
        for seed in 0..2 {
            let synthetic = Synthetic::new(seed);
            let budgets = budgets(&tables, 4);
            let best = brute_force(&tables, &synthetic, &budgets);
            for (budget, best) in budgets.iter().zip(best) {
                let outcome = evolve(&tables, budget, &mut synthetic.clone(), &settings(8_000, seed)).unwrap();
                assert!((outcome.best().score - best).abs() < 1e-12, "{budget:?}: {} < {best}", outcome.best().score);
            }
        }
    }

    fn brute_force(tables: &CostTables, of: &Synthetic, budgets: &[Budget]) -> Vec<f64> {
        let mut best = vec![f64::NEG_INFINITY; budgets.len()];
        let codec = &tables.codec;
        let mut genes = vec![0_u8; codec.len];
        loop {
            let mut canonical = genes.clone();
            codec.canonicalise(&mut canonical);
            if canonical == genes {
                let (energy, score) = (tables.row(&genes)[0], of.score(&codec.decode(&genes)));
                for (best, budget) in best.iter_mut().zip(budgets) {
                    if energy <= budget.limit(Quantity::Energy).unwrap() && score > *best {
                        *best = score;
                    }
                }
            }
            // Counts up, the first gene fastest; the last digit to overflow ends it.
            let Some(gene) = (0..codec.len).find(|&gene| usize::from(genes[gene]) + 1 < codec.options(gene)) else {
                return best;
            };
            genes[..gene].fill(0);
            genes[gene] += 1;
        }
    }

    #[test]
    fn a_larger_budget_is_never_worse() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tables = tables(&space);
        for seed in 0..2 {
            let mut before = f64::NEG_INFINITY;
            for budget in budgets(&tables, 10) {
                let outcome = evolve(&tables, &budget, &mut Synthetic::new(7), &settings(20_000, seed)).unwrap();
                let best = outcome.best();
                assert!(best.score >= before, "{budget:?}: {} after {before}", best.score);
                assert!(best.costs.get(Quantity::Energy).unwrap() <= budget.limit(Quantity::Energy).unwrap());
                before = best.score;
            }
        }
    }

    #[test]
    fn every_evaluation_is_distinct_and_fits_and_the_seed_decides_all() {
        let space = SearchSpace::builtin("mbv3-w1.0").unwrap();
        let tables = CostTables::counts_only(&space, space.resolutions()).unwrap();
        let budget =
            Budget::new(None, None, Some(Macs(120_000_000)), Some(hw_targets::units::Params(5_000_000))).unwrap();
        let score = |arch: &ArchSpec| {
            let blocks = arch.stages().iter().flat_map(|stage| &stage.blocks);
            let sum: f64 = blocks.map(|block| f64::from(block.kernel).sqrt() + f64::from(block.expand).ln()).sum();
            sum + 0.1 * f64::from(arch.resolution())
        };
        let run = |seed: u64| {
            let mut evaluator =
                |archs: &[ArchSpec]| -> Result<Vec<f64>, ForeignError> { Ok(archs.iter().map(score).collect()) };
            evolve(&tables, &budget, &mut evaluator, &settings(5_000, seed)).unwrap()
        };
        let (one, again, other) = (run(1), run(1), run(2));
        assert_eq!(one.history.len(), 5_000);
        let archs: HashSet<ArchSpec> = one.history.iter().map(|scored| scored.arch).collect();
        assert_eq!(archs.len(), 5_000);
        for scored in one.history.iter() {
            let workload = space.lower(&scored.arch);
            assert!(workload.macs().0 <= 120_000_000 && workload.params().0 <= 5_000_000);
            assert_eq!(scored.score, score(&scored.arch));
        }
        assert!(one.history.iter().eq(again.history.iter()));
        assert!(!one.history.iter().eq(other.history.iter()));
        let top = one.history.best(10);
        assert!(top.windows(2).all(|pair| pair[0].score >= pair[1].score) && top[0] == one.best());
    }

    #[test]
    fn a_start_is_evaluated_first_and_never_lost() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tables = tables(&space);
        let budget = &budgets(&tables, 4)[1];
        let good = evolve(&tables, budget, &mut Synthetic::new(3), &settings(5_000, 1)).unwrap().best();
        let start = vec![good.arch.clone(), space.largest(32).unwrap()];
        for breeds in [true, false] {
            let settings = EvolutionSettings { start: start.clone(), breeds, ..settings(400, 2) };
            let outcome = evolve(&tables, budget, &mut Synthetic::new(3), &settings).unwrap();
            assert_eq!(outcome.history.at(0).arch, good.arch);
            // What does not fit was repaired.
            assert_ne!(outcome.history.at(1).arch, start[1]);
            assert!(outcome.best().score >= good.score && outcome.history.len() == 400);
        }
    }

    #[test]
    fn a_small_feasible_set_is_searched_in_full() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tables = tables(&space);
        let range = tables.range(Quantity::Energy).unwrap();
        let budget = Budget::new(Some(Joules(range.min * 1.06)), None, None, None).unwrap();
        let outcome = evolve(&tables, &budget, &mut Synthetic::new(1), &settings(50_100, 0)).unwrap();
        assert!(outcome.exhaustive && outcome.history.len() > 1 && outcome.history.len() < 50_100);
        let few = evolve(&tables, &budget, &mut Synthetic::new(1), &settings(outcome.history.len() - 1, 0)).unwrap();
        assert!(!few.exhaustive && few.best().score <= outcome.best().score);
    }

    #[test]
    fn a_budget_above_everything_is_said_to_bind_nothing() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tables = tables(&space);
        let budget = Budget::new(Some(Joules(1.0)), None, Some(Macs(4_000_000)), None).unwrap();
        let outcome = evolve(&tables, &budget, &mut Synthetic::new(1), &settings(500, 0)).unwrap();
        assert_eq!(outcome.slack, [Quantity::Energy]);
    }

    #[test]
    fn tiny_numbers_of_evaluations_are_kept() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tables = tables(&space);
        for evaluations in [1, 2, 7, 101, 150] {
            let outcome =
                evolve(&tables, &Budget::default(), &mut Synthetic::new(1), &settings(evaluations, 3)).unwrap();
            assert_eq!(outcome.history.len(), evaluations);
        }
    }

    #[test]
    fn failures_of_the_evaluator_end_the_search() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tables = tables(&space);
        let mut broken = |_: &[ArchSpec]| -> Result<Vec<f64>, ForeignError> {
            Err(ForeignError::new(FailureKind::Io, "no space left"))
        };
        let error = evolve(&tables, &Budget::default(), &mut broken, &settings(100, 0)).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Io);
        let mut nan = |archs: &[ArchSpec]| -> Result<Vec<f64>, ForeignError> { Ok(vec![f64::NAN; archs.len()]) };
        let error = evolve(&tables, &Budget::default(), &mut nan, &settings(100, 0)).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Content);
    }
}
