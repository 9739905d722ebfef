//! Search for several objectives at once: the subnets that nothing dominates.
//!
//! NSGA-II (Deb et al. 2002): parents by tournaments of rank and crowding, survivors layer by layer. Three departures.
//! Candidates are repaired into the budget and never evaluated twice, as in [`crate::algorithms::evolution`]. The front is taken
//! from every evaluation, not from the last population. And every few generations a linear guess of the score, fitted to
//! recent evaluations, is maximised for all costs at once ([`crate::algorithms::exact`]), which proposes a whole front at a stroke.

use hw_targets::budget::Budget;
use network::units::Quantity;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::algorithms::history::Explorer;
use crate::algorithms::objective::Evaluator;
use crate::algorithms::outcome::SearchOutcome;
use crate::algorithms::pareto::{crowding, front, layers};
use crate::algorithms::steps::crossover::crossover;
use crate::algorithms::steps::mutate::{MutationRates, mutate};
use crate::algorithms::steps::rough_front::rough_front;
use crate::algorithms::steps::surrogate::Surrogate;
use crate::cost::costs::{CostRow, column_of};
use crate::cost::dense::CostTables;
use crate::cost::feasible::Feasible;
use crate::error::SearchError;
use crate::space::genome::Genes;

/// What is to be made good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// The evaluator's score, to be large.
    Score,
    /// A cost that is a sum over operators (not peak memory), to be small.
    Cost(Quantity),
}

/// Settings of [`nsga2`].
#[derive(Clone, Debug, PartialEq)]
pub struct Nsga2Settings {
    /// Evaluations in all, each of a distinct subnet.
    pub evaluations: usize,
    /// Subnets in a population, and children per generation.
    pub population: usize,
    /// How likely each gene of a child changes.
    pub rates: MutationRates,
    /// Part of the children that have two parents.
    pub crossovers: f64,
    /// Generations from one guessed front to the next.
    pub guess_every: usize,
    /// Everything random follows from it.
    pub seed: u64,
}

impl Default for Nsga2Settings {
    fn default() -> Self {
        Nsga2Settings {
            evaluations: 50_100,
            population: 100,
            rates: MutationRates { gene: 0.05, resolution: 0.05 },
            crossovers: 0.8,
            guess_every: 5,
            seed: 0,
        }
    }
}

/// Evaluations that the guess is fitted to, the latest ones.
const FITTED: usize = 3_000;
/// Draws after which a child that is always known already is given up.
const TRIES: usize = 10;

/// Looks for the subnets within `budget` that no other dominates in `objectives`; [`pareto_front`] takes them out of the
/// result's history. The same arguments give the same result, whatever the evaluator does in parallel.
///
/// # Errors
/// As [`crate::algorithms::evolution::evolve`]; [`SearchError::UnknownQuantity`] also for an objective that the device does not know.
pub fn nsga2(
    tables: &CostTables,
    budget: &Budget,
    objectives: &[Objective],
    evaluator: &mut impl Evaluator,
    settings: &Nsga2Settings,
) -> Result<SearchOutcome, SearchError> {
    for objective in objectives {
        if let Objective::Cost(quantity) = objective
            && (!tables.knows(*quantity) || column_of(*quantity).is_none())
        {
            return Err(SearchError::UnknownQuantity(*quantity));
        }
    }
    SearchOutcome::of(tables, budget, evaluator, settings.evaluations, settings.population, |explorer| {
        generations(explorer, objectives, settings)
    })
}

/// Positions in the history of the evaluations that no other dominates, by the first objective.
pub fn pareto_front(outcome: &SearchOutcome, objectives: &[Objective]) -> Vec<usize> {
    let points = outcome.history.rows().map(|(score, costs)| point(objectives, score, &costs));
    front(&points.collect::<Vec<_>>())
}

fn generations<E: Evaluator>(
    explorer: &mut Explorer<'_, E>,
    objectives: &[Objective],
    settings: &Nsga2Settings,
) -> Result<(), SearchError> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let size = settings.population.max(4);
    let mut offspring = Vec::new();
    let resolutions = explorer.feasible.resolutions.clone();
    for index in 0..size {
        let candidate = explorer.feasible.tables.codec.sample_at(resolutions[index % resolutions.len()], &mut rng);
        propose(explorer, &mut offspring, candidate, &mut rng);
    }
    let mut population: Vec<usize> = explorer.evaluate(offspring)?.collect();
    let mut generation = 0;
    while explorer.left() > 0 && !population.is_empty() {
        let _span = tracing::debug_span!("round", generation).entered();
        let ranked = Ranked::new(explorer, &population, objectives);
        let mut offspring = Vec::new();
        if generation % settings.guess_every.max(1) == 1 {
            guess(explorer, objectives, &mut offspring, size / 2, &mut rng);
        }
        for _ in offspring.len()..size {
            for _ in 0..TRIES {
                let mother = explorer.entries[ranked.tournament(&mut rng)].0.clone();
                let codec = &explorer.feasible.tables.codec;
                let child = if rng.random_bool(settings.crossovers) {
                    let father = &explorer.entries[ranked.tournament(&mut rng)].0;
                    crossover(codec, &mother, father, &mut rng)
                } else {
                    mother
                };
                let child = mutate(codec, &child, settings.rates, &mut rng);
                if propose(explorer, &mut offspring, child, &mut rng) {
                    break;
                }
            }
        }
        let children = explorer.evaluate(offspring)?;
        if children.is_empty() {
            // Everything near is known: begin elsewhere, or end if that is known too.
            let mut fresh = Vec::new();
            for _ in 0..TRIES {
                let resolution = resolutions[rng.random_range(0..resolutions.len())];
                let candidate = explorer.feasible.tables.codec.sample_at(resolution, &mut rng);
                propose(explorer, &mut fresh, candidate, &mut rng);
            }
            if fresh.is_empty() {
                return Ok(());
            }
            population.extend(explorer.evaluate(fresh)?);
        }
        population.extend(children);
        population = survivors(explorer, &population, objectives, size);
        generation += 1;
        tracing::debug!(generation, evaluations = explorer.entries.len(), "the best of parents and children stay");
    }
    Ok(())
}

/// Puts `candidate`, or the nearest that fits, on `offspring`; false if it is known already.
fn propose<E>(
    explorer: &mut Explorer<'_, E>,
    offspring: &mut Vec<Genes>,
    candidate: Genes,
    rng: &mut ChaCha8Rng,
) -> bool {
    let genes = explorer.feasible.fitted(candidate, rng);
    explorer.queue(offspring, genes)
}

/// Puts up to `most` subnets from the front of a linear guess on `offspring`, evenly along one of the costs.
fn guess<E>(
    explorer: &mut Explorer<'_, E>,
    objectives: &[Objective],
    offspring: &mut Vec<Genes>,
    most: usize,
    rng: &mut ChaCha8Rng,
) {
    let costs: Vec<Quantity> = objectives
        .iter()
        .filter_map(|objective| if let Objective::Cost(quantity) = objective { Some(*quantity) } else { None })
        .collect();
    if costs.is_empty() || !objectives.contains(&Objective::Score) {
        return;
    }
    let quantity = costs[rng.random_range(0..costs.len())];
    let Feasible { tables, limits, .. } = &explorer.feasible;
    let latest = &explorer.entries[explorer.entries.len().saturating_sub(FITTED)..];
    let surrogate = Surrogate::fit(&tables.codec, latest.iter().map(|(genes, score)| (&genes[..], *score)));
    let scores = surrogate.scores(&tables.codec, &surrogate.draw(rng));
    let mut found =
        rough_front(tables, &scores, quantity, column_of(quantity).map_or(f64::INFINITY, |column| limits[column]));
    found.retain(|genes| explorer.find(genes).is_none());
    let stride = found.len().div_ceil(most.max(1)).max(1);
    let start = rng.random_range(0..stride);
    for genes in found.into_iter().skip(start).step_by(stride) {
        propose(explorer, offspring, genes, rng);
    }
}

/// Values of the objectives, all to be small.
fn point(objectives: &[Objective], score: f64, costs: &CostRow) -> Vec<f64> {
    let value = |objective: &Objective| match objective {
        Objective::Score => -score,
        Objective::Cost(quantity) => column_of(*quantity).map_or(0.0, |column| costs[column]),
    };
    objectives.iter().map(value).collect()
}

/// A population with what tournaments ask.
struct Ranked {
    /// Entry, layer, crowding.
    members: Vec<(usize, usize, f64)>,
}

impl Ranked {
    fn new<E>(explorer: &Explorer<'_, E>, population: &[usize], objectives: &[Objective]) -> Ranked {
        let tables = explorer.feasible.tables;
        let entries = population.iter().map(|&at| &explorer.entries[at]);
        let points: Vec<Vec<f64>> =
            entries.map(|(genes, score)| point(objectives, *score, &tables.row(genes))).collect();
        let mut members = Vec::with_capacity(population.len());
        for (rank, layer) in layers(&points).iter().enumerate() {
            let distances = crowding(&points, layer);
            members.extend(layer.iter().zip(distances).map(|(&at, distance)| (population[at], rank, distance)));
        }
        Ranked { members }
    }

    /// The better of two members drawn at random.
    fn tournament(&self, rng: &mut ChaCha8Rng) -> usize {
        let mut draw = || self.members[rng.random_range(0..self.members.len())];
        let (a, b) = (draw(), draw());
        let order = a.1.cmp(&b.1).then(b.2.total_cmp(&a.2)).then(a.0.cmp(&b.0));
        if order.is_le() { a.0 } else { b.0 }
    }
}

/// The `size` best: whole layers, and of the first that does not fit the least crowded.
fn survivors<E>(explorer: &Explorer<'_, E>, population: &[usize], objectives: &[Objective], size: usize) -> Vec<usize> {
    let mut members = Ranked::new(explorer, population, objectives).members;
    members.sort_by(|a, b| a.1.cmp(&b.1).then(b.2.total_cmp(&a.2)).then(a.0.cmp(&b.0)));
    members.truncate(size);
    members.into_iter().map(|(at, _, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use network::units::{Joules, Macs};

    use super::*;
    use crate::algorithms::outcome::SearchOutcome;
    use crate::algorithms::pareto::{dominates, hypervolume};
    use crate::cost::dense::DeviceCost;
    use crate::error::ForeignError;
    use crate::space::SearchSpace;
    use crate::space::arch::ArchSpec;

    const OBJECTIVES: [Objective; 2] = [Objective::Score, Objective::Cost(Quantity::Energy)];

    fn tables() -> CostTables {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        CostTables::compile(&space, space.resolutions(), DeviceCost::default(), |op, _| {
            Ok(DeviceCost { energy: Some(1e-9 * op.macs().0 as f64 + 1e-7), latency: None })
        })
        .unwrap()
    }

    fn score(arch: &ArchSpec) -> f64 {
        let blocks = arch.stages().iter().flat_map(|stage| &stage.blocks);
        let gains: Vec<f64> = blocks.map(|block| f64::from(block.kernel).sqrt() * f64::from(block.expand)).collect();
        let pairs: f64 = gains.windows(2).map(|pair| (pair[0] * pair[1]).sqrt()).sum();
        0.1 * f64::from(arch.resolution()) + pairs
    }

    fn run(evaluations: usize, seed: u64, budget: &Budget) -> SearchOutcome {
        let mut evaluator =
            |archs: &[ArchSpec]| -> Result<Vec<f64>, ForeignError> { Ok(archs.iter().map(score).collect()) };
        let settings = Nsga2Settings { evaluations, seed, ..Nsga2Settings::default() };
        nsga2(&tables(), budget, &OBJECTIVES, &mut evaluator, &settings).unwrap()
    }

    fn volume(outcome: &SearchOutcome) -> f64 {
        let points: Vec<Vec<f64>> = outcome.history.rows().map(|(score, costs)| vec![-score, costs[0]]).collect();
        hypervolume(&points, &[0.0, 0.02])
    }

    #[test]
    fn the_front_is_not_dominated_and_better_than_chance() {
        let outcome = run(3_000, 1, &Budget::default());
        assert_eq!(outcome.history.len(), 3_000);
        let front = pareto_front(&outcome, &OBJECTIVES);
        assert!(front.len() > 30, "{}", front.len());
        let rows: Vec<(f64, f64)> = outcome.history.rows().map(|(score, costs)| (score, costs[0])).collect();
        for pair in front.windows(2) {
            let (a, b) = (rows[pair[0]], rows[pair[1]]);
            assert!(a.0 > b.0 && a.1 > b.1, "by falling score and cost");
        }
        for row in &rows {
            let point = [-row.0, row.1];
            assert!(!front.iter().any(|&at| dominates(&point, &[-rows[at].0, rows[at].1])));
        }
        // As many random subnets dominate less.
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let tables = tables();
        let random: Vec<Vec<f64>> = (0..3_000)
            .map(|_| space.sample(&mut rng))
            .map(|arch| vec![-score(&arch), tables.cost(&arch).get(Quantity::Energy).unwrap()])
            .collect();
        assert!(volume(&outcome) > 1.02 * hypervolume(&random, &[0.0, 0.02]));
    }

    #[test]
    fn the_seed_decides_all_and_the_budget_is_kept() {
        let budget = Budget::new(Some(Joules(4e-3)), None, Some(Macs(5_000_000)), None).unwrap();
        let (one, again, other) = (run(1_000, 1, &budget), run(1_000, 1, &budget), run(1_000, 2, &budget));
        assert!(one.history.iter().eq(again.history.iter()));
        assert!(!one.history.iter().eq(other.history.iter()));
        for (_, costs) in one.history.rows() {
            assert!(costs[0] <= 4e-3 && costs[2] <= 5e6);
        }
    }

    #[test]
    fn an_objective_that_the_device_does_not_know_is_refused() {
        let mut evaluator =
            |archs: &[ArchSpec]| -> Result<Vec<f64>, ForeignError> { Ok(archs.iter().map(score).collect()) };
        let objectives = [Objective::Score, Objective::Cost(Quantity::Latency)];
        let settings = Nsga2Settings::default();
        let refused = nsga2(&tables(), &Budget::default(), &objectives, &mut evaluator, &settings);
        assert!(matches!(refused, Err(SearchError::UnknownQuantity(Quantity::Latency))));
    }
}
