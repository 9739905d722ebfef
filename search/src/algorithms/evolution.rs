//! Evolutionary search under ceilings: populations of subnets that anneal, each ended by local search.
//!
//! In go compiled costs, a budget, an evaluator and how often it may be asked; out comes every evaluation in order, the
//! best of them one that fits. It is what a search for one best subnet uses unless told otherwise; several objectives are
//! for [`crate::algorithms::nsga2`], additive predictors for [`crate::algorithms::exact`].
//!
//! A population is some random subnets and those to start from. It neither breeds nor crosses over: its members walk at a
//! falling temperature and are drawn again in proportion to what they are worth there (population annealing,
//! `steps/annealing.rs`: walks in `steps/walk.rs`, under the guess of `steps/pairwise.rs`), and climbs from its best end it
//! (`steps/climb.rs`). Four populations anneal side by side: small ones first, for what a short search can have, then
//! larger and slower ones, again and again. Where no more subnets fit than may be evaluated, all of them are.
//!
//! The published EvolutionFinder (Cai et al. 2020, arXiv:1908.09791; `once-for-all` §6.1) breeds one population from its
//! best quarter for 500 generations. Departures, each for a weakness measured there: candidates are repaired, not
//! rejected, so an impossible or tight budget cannot loop for ever; no network is evaluated twice (81 % of the published
//! evaluations are repeats); the last children count; annealing finds deeper optima from any seed than breeding does; and
//! climbs end each population.
//!
//! On the published predictor local optima lie far apart, and it is chance which of them a population ends in. What that
//! chance depends on is how many walks there are in all and how long they are: at equal walks populations of 4 to 48
//! members, cooled in 250 to 1,500 rounds, could not be told apart, nor could hotter, colder or more frequently drawn
//! ones. Stages taken from other members make it worse; members that are exchanged between fixed temperatures (parallel
//! tempering) do no better.
//!
//! A search of N evaluations is the beginning of every longer one with the same seed: populations come in a fixed order.

use hw_targets::budget::Budget;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::algorithms::history::Explorer;
use crate::algorithms::objective::Evaluator;
use crate::algorithms::outcome::SearchOutcome;
use crate::algorithms::steps::annealing::Annealing;
use crate::algorithms::steps::climb::{climb, restart};
use crate::algorithms::steps::pairwise::Guess;
use crate::cost::dense::CostTables;
use crate::error::SearchError;
use crate::space::arch::ArchSpec;
use crate::space::genome::Genes;

/// Settings of [`evolve`]; the default makes as many evaluations as the published search.
#[derive(Clone, Debug, PartialEq)]
pub struct EvolutionSettings {
    /// Evaluations in all, each of a distinct subnet.
    pub evaluations: usize,
    /// Whether populations anneal; without it, each is only climbed from (local search with restarts).
    pub anneals: bool,
    /// Subnets that are evaluated first, belong to every population and are climbed from; those that do not fit are
    /// repaired, those at other resolutions than the tables' left out.
    pub start: Vec<ArchSpec>,
    /// Everything random follows from it.
    pub seed: u64,
}

impl Default for EvolutionSettings {
    fn default() -> Self {
        EvolutionSettings { evaluations: 50_100, anneals: true, start: Vec::new(), seed: 0 }
    }
}

/// Members of a population, and the rounds that it anneals for; the last one comes again and again. The first two are
/// small, since the guess that they walk under has seen little.
const POPULATIONS: [(usize, usize); 3] = [(16, 50), (10, 500), (24, 700)];
/// Populations of a side; there are two sides.
const SIDE: usize = 2;
/// After so many walks for each evaluation that may be made, no more large populations begin after the first: most walks
/// have ended at what is known, and more would take time for little.
const WALKS: f64 = 1.0;
/// Turns of populations without a better subnet after which a search ends.
const STALLED: u32 = 4;
/// Members that a climb starts from at a population's end.
const CLIMBS: usize = 2;
/// Subnets that are evaluated together where all of what fits is.
const BATCH: usize = 96;

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
    SearchOutcome::of(tables, budget, evaluator, settings.evaluations, BATCH, |explorer| explore(explorer, settings))
}

/// Populations in their order, each followed by climbs from its best members.
fn explore<E: Evaluator>(explorer: &mut Explorer<'_, E>, settings: &EvolutionSettings) -> Result<(), SearchError> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let start = given(explorer, &settings.start, &mut rng);
    let start = enter(explorer, start)?;
    let mut sides = populations(explorer, POPULATIONS[0].0, &start, &mut rng)?;
    let mut guess = Guess::new(&explorer.feasible.tables.codec, &explorer.entries);
    let mut annealing = Annealing::new(explorer, &guess);
    let mut optima = Vec::new();
    for &at in &start {
        optima.push(climb(explorer, &mut guess, at, &mut rng)?);
    }
    if !settings.anneals {
        for member in sides.into_iter().flatten().flatten() {
            optima.push(climb(explorer, &mut guess, member, &mut rng)?);
        }
        return restart(explorer, &mut guess, &mut optima, &mut rng);
    }
    let walks = WALKS * settings.evaluations as f64;
    let (mut turn, mut stalled) = (0, 0);
    let goes_on = |turn: usize, annealing: &Annealing| turn < POPULATIONS.len() || (annealing.walks as f64) < walks;
    while explorer.left() > 0 && stalled < STALLED && goes_on(turn, &annealing) {
        let _span = tracing::debug_span!("round", turn).entered();
        let best = best_score(explorer, &optima);
        for mut members in
            annealing.run(explorer, &mut guess, sides, POPULATIONS[turn.min(POPULATIONS.len() - 1)].1, &mut rng)?
        {
            members.sort_by(|&a, &b| explorer.entries[b].1.total_cmp(&explorer.entries[a].1).then(a.cmp(&b)));
            members.dedup();
            members.truncate(CLIMBS);
            for member in members {
                optima.push(climb(explorer, &mut guess, member, &mut rng)?);
            }
        }
        stalled = if best_score(explorer, &optima) > best { 0 } else { stalled + 1 };
        turn += 1;
        let evaluations = explorer.entries.len();
        tracing::debug!(
            turn,
            evaluations,
            best = best_score(explorer, &optima),
            "populations annealed and climbed from"
        );
        sides = populations(explorer, POPULATIONS[turn.min(POPULATIONS.len() - 1)].0, &start, &mut rng)?;
    }
    Ok(())
}

/// New populations for both sides, each of `size` random subnets and what search starts from.
fn populations<E: Evaluator>(
    explorer: &mut Explorer<'_, E>,
    size: usize,
    start: &[usize],
    rng: &mut ChaCha8Rng,
) -> Result<[Vec<Vec<usize>>; 2], SearchError> {
    let mut sides = [vec![Vec::new(); SIDE], vec![Vec::new(); SIDE]];
    for members in sides.iter_mut().flatten() {
        let fresh = sample(explorer, size, rng);
        *members = enter(explorer, fresh)?;
        members.extend(start);
    }
    Ok(sides)
}

fn best_score<E>(explorer: &Explorer<'_, E>, entries: &[usize]) -> f64 {
    entries.iter().map(|&at| explorer.entries[at].1).fold(f64::NEG_INFINITY, f64::max)
}

/// The subnets to start from, as far as the tables know their resolution.
fn given<E>(explorer: &Explorer<'_, E>, start: &[ArchSpec], rng: &mut ChaCha8Rng) -> Vec<Genes> {
    let codec = &explorer.feasible.tables.codec;
    let known = start.iter().filter(|arch| codec.resolutions.contains(&arch.resolution()));
    known.map(|arch| explorer.feasible.fitted(codec.encode(arch), rng)).collect()
}

/// `size` random subnets, evenly over the resolutions.
fn sample<E>(explorer: &Explorer<'_, E>, size: usize, rng: &mut ChaCha8Rng) -> Vec<Genes> {
    let feasible = &explorer.feasible;
    let draw = |member: usize| {
        let resolution = feasible.resolutions[member % feasible.resolutions.len()];
        let candidate = feasible.tables.codec.sample_at(resolution, rng);
        feasible.fitted(candidate, rng)
    };
    (0..size).map(draw).collect()
}

/// Evaluates what is not known yet; where in the entries all of it is, as far as the evaluations reached.
fn enter<E: Evaluator>(explorer: &mut Explorer<'_, E>, all: Vec<Genes>) -> Result<Vec<usize>, SearchError> {
    let mut new = Vec::new();
    all.iter().for_each(|genes| {
        explorer.queue(&mut new, genes.clone());
    });
    explorer.evaluate(new)?;
    Ok(all.iter().filter_map(|genes| explorer.find(genes)).collect())
}

#[cfg(test)]
mod tests {
    use hw_targets::table_op::TableOp;
    use std::collections::HashSet;

    use network::units::{Joules, Macs, Quantity};
    use rand::RngExt;
    use storage::failure::{Failure, FailureKind};

    use super::*;
    use crate::cost::dense::DeviceCost;
    use crate::error::ForeignError;
    use crate::space::SearchSpace;
    use crate::space::arch::BlockSpec;

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
            let op = TableOp::of(op).unwrap();
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
        let budget = Budget::new(None, None, Some(Macs(120_000_000)), Some(network::units::Params(5_000_000))).unwrap();
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
    fn a_search_is_the_beginning_of_every_longer_one() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tables = tables(&space);
        let budget = &budgets(&tables, 4)[1];
        let run = |evaluations: usize, anneals: bool| {
            let settings = EvolutionSettings { anneals, ..settings(evaluations, 5) };
            evolve(&tables, budget, &mut Synthetic::new(3), &settings).unwrap().history
        };
        for anneals in [true, false] {
            let long = run(12_000, anneals);
            for evaluations in [1, 17, 1_000, 4_321] {
                assert!(run(evaluations, anneals).iter().eq(long.iter().take(evaluations)));
            }
        }
    }

    #[test]
    fn a_start_is_evaluated_first_and_never_lost() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let tables = tables(&space);
        let budget = &budgets(&tables, 4)[1];
        let good = evolve(&tables, budget, &mut Synthetic::new(3), &settings(5_000, 1)).unwrap().best();
        let start = vec![good.arch.clone(), space.largest(32).unwrap()];
        for anneals in [true, false] {
            let settings = EvolutionSettings { start: start.clone(), anneals, ..settings(400, 2) };
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
