//! `ofa search`: from a target, a bundle and budgets to the subnets with the highest predicted top-1 that fit.
//!
//! No tensors here: weights are taken out afterwards, for the subnets found.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use hw_targets::budget::Budget;
use hw_targets::cost::NetworkCost;
use hw_targets::error::HwError;
use hw_targets::target::Target;
use network::op::Op;
use network::units::Quantity;
use predictors::ensemble::AccuracyPredictor;
use search::arch::ArchSpec;
use search::dense::{CostTables, DeviceCost};
use search::error::ForeignError;
use search::evolution::{EvolutionSettings, evolve};
use search::exact::ExactFront;
use search::history::Scored;
use search::nsga2::{Nsga2Settings, Objective, nsga2, pareto_front};
use search::objective::Evaluator;
use search::outcome::SearchOutcome;
use search::pareto::hypervolume;
use search::random::random;
use storage::failure::{Failure, FailureKind};

use crate::error::AppError;
use crate::folders::search_journal::Journal;
use crate::search::confidence::Confidence;
use crate::search::inputs::SearchInputs;
use crate::search::report::{AdditivePart, Found, Front, LimitReport, SearchReport};
use crate::target::cost::value_in;

/// Search algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Populations and climbs ([`search::evolution`]).
    Evolution,
    /// Climbs from random subnets.
    Local,
    /// Random subnets.
    Random,
    /// Several objectives ([`search::nsga2`]).
    Nsga2,
    /// The certified front of an additive predictor ([`search::exact`]).
    Exact,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Algorithm; 5] =
        [Algorithm::Evolution, Algorithm::Local, Algorithm::Random, Algorithm::Nsga2, Algorithm::Exact];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Evolution => "evolution",
            Algorithm::Local => "local",
            Algorithm::Random => "random",
            Algorithm::Nsga2 => "nsga2",
            Algorithm::Exact => "exact",
        }
    }
}

/// An objective by its name: `accuracy`, or the name of a quantity that is a sum over operators.
pub fn objective(name: &str) -> Option<Objective> {
    if name == "accuracy" {
        return Some(Objective::Score);
    }
    let sums = Quantity::ALL.into_iter().filter(|quantity| quantity.is_sum());
    sums.into_iter().find(|quantity| quantity.name() == name).map(Objective::Cost)
}

/// A search, ready to run.
#[derive(Clone, Debug)]
pub struct SearchJob {
    /// The device; without one, only what follows from the network alone is known.
    pub target: Option<Target>,
    /// What is searched.
    pub candidates: SearchInputs,
    /// What must be kept.
    pub budget: Budget,
    /// The search algorithm.
    pub algorithm: Algorithm,
    /// Objectives to optimise; [`Algorithm::Nsga2`] takes several, [`Algorithm::Exact`] accuracy and one cost, the
    /// others accuracy alone.
    pub objectives: Vec<Objective>,
    /// Evaluations in all, each of a distinct subnet.
    pub evaluations: usize,
    /// When to end whatever was evaluated by then, counted from the start of [`SearchJob::run`].
    pub time: Option<Duration>,
    /// With what probability a subnet is to keep the budget on the device, whose costs have errors; without it, its
    /// expected costs are to keep it.
    pub confidence: Option<Confidence>,
    /// Subnets to begin with; only [`Algorithm::Evolution`] and [`Algorithm::Local`] begin anywhere.
    pub start: Vec<ArchSpec>,
    /// Everything random follows from it.
    pub seed: u64,
    /// How many subnets to report, best first; with several objectives it is the whole front.
    pub top: usize,
}

impl SearchJob {
    /// Searches. `stop` ends it early, `progress` hears of the evaluations done. What is evaluated is recorded in
    /// `folder` until [`SearchReport::save`], so that a killed search goes on there.
    ///
    /// # Errors
    /// A ceiling or objective on what the target does not know, an operator that it does not cover, objectives that the
    /// algorithm does not take, nothing that fits ([`search::error::SearchError::Infeasible`]), a stop on request.
    pub fn run(
        &self,
        stop: &AtomicBool,
        folder: Option<&Path>,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<SearchReport> {
        // On one of rayon's own threads, which then need not be woken for every batch.
        rayon::scope(|_| match self.confidence {
            None => self.search(stop, folder, progress),
            Some(confidence) => self.search_confidently(confidence, stop, folder, progress),
        })
    }

    pub(crate) fn search(
        &self,
        stop: &AtomicBool,
        folder: Option<&Path>,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<SearchReport> {
        let started = Instant::now();
        let mut notes = self.candidates.notes.clone();
        self.check_budget()?;
        self.check_objectives()?;
        let resolutions = self.resolutions(&mut notes)?;
        let tables = self.tables(&resolutions, &mut notes)?;
        let predictor = &self.candidates.predictor;
        let journal = folder.map(Journal::open).transpose()?;
        // A time beyond what clocks count is no limit.
        let over = self.time.and_then(|time| started.checked_add(time));
        let mut evaluator = Recorded { predictor, journal, over, stop, done: 0, progress };
        let exact = if self.algorithm == Algorithm::Exact { Some(self.exact_front(&tables)?) } else { None };
        let outcome = self.explore(&tables, exact.as_ref(), &mut evaluator)?;
        if let Some(reused) = evaluator.journal.as_ref().map(Journal::reused).filter(|reused| *reused > 0) {
            notes.push(format!("goes on after the {reused} evaluations of a search that was ended there"));
        }
        if let Some(error) = evaluator.journal.as_ref().and_then(|journal| journal.given_up.as_ref()) {
            notes.push(format!("could not be recorded ({error}); if it were killed, it would have to begin anew"));
        }
        if over.is_some_and(|over| Instant::now() >= over) && !outcome.exhaustive && exact.is_none() {
            notes.push(match outcome.listed {
                true => "the time is up before all the few subnets that fit were evaluated; give more".to_owned(),
                false => format!("the time is up; --evaluations {} repeats this search", outcome.history.len()),
            });
        }
        let limits = self.budget.limits().filter_map(|(quantity, limit)| {
            let binds = !outcome.slack.contains(&quantity);
            Some(LimitReport { quantity, limit, range: tables.range(quantity)?, binds })
        });
        let limits: Vec<LimitReport> = limits.collect();
        notes.extend(limits.iter().filter(|limit| !limit.binds).map(|limit| self.slack_note(limit)));
        let front = self.front(&outcome, &limits, &tables);
        let best = match &front {
            Some(front) => front.positions.iter().map(|&at| outcome.history.at(at)).collect(),
            None => outcome.history.best(self.top.max(1)),
        };
        let mut found = best.into_iter().map(|scored| self.found(scored, &tables)).collect::<Result<Vec<_>>>()?;
        self.bound(&tables, exact.as_ref(), &mut found)?;
        Ok(SearchReport {
            found,
            front,
            grid_step: exact.map(|exact| (exact.quantity(), exact.step())),
            evaluations: outcome.history.len(),
            exhaustive: outcome.exhaustive,
            seconds: started.elapsed().as_secs_f64(),
            resolutions,
            limits,
            notes,
            history: outcome.history,
        })
    }

    /// Dense tables of what this job searches.
    ///
    /// # Errors
    /// As [`SearchJob::run`].
    pub(crate) fn cost_tables(&self) -> Result<CostTables> {
        let mut notes = Vec::new();
        let resolutions = self.resolutions(&mut notes)?;
        self.tables(&resolutions, &mut notes)
    }

    /// The best subnets alone, best first, out of tables that are at hand.
    pub(crate) fn best(&self, tables: &CostTables, stop: &AtomicBool) -> Result<Vec<ArchSpec>> {
        let predictor = &self.candidates.predictor;
        let mut evaluator = Recorded { predictor, journal: None, over: None, stop, done: 0, progress: &mut |_| () };
        let outcome = self.explore(tables, None, &mut evaluator)?;
        Ok(outcome.history.best(self.top).into_iter().map(|scored| scored.arch).collect())
    }

    fn explore(
        &self,
        tables: &CostTables,
        exact: Option<&ExactFront>,
        evaluator: &mut impl Evaluator,
    ) -> Result<SearchOutcome> {
        let (evaluations, seed) = (self.evaluations, self.seed);
        let outcome = match (self.algorithm, exact) {
            (_, Some(exact)) => exact.outcome(tables, &self.budget, evaluator),
            (Algorithm::Random, _) => random(tables, &self.budget, evaluator, evaluations, seed),
            (Algorithm::Nsga2, _) => {
                let settings = Nsga2Settings { evaluations, seed, ..Nsga2Settings::default() };
                nsga2(tables, &self.budget, &self.objectives, evaluator, &settings)
            }
            (algorithm, _) => {
                let anneals = algorithm == Algorithm::Evolution;
                let start = self.start.clone();
                let settings = EvolutionSettings { evaluations, anneals, start, seed };
                evolve(tables, &self.budget, evaluator, &settings)
            }
        };
        Ok(outcome?)
    }

    /// The certified front along the one cost that is an objective or limited.
    fn exact_front(&self, tables: &CostTables) -> Result<ExactFront> {
        let predictor = &self.candidates.predictor;
        let costs = self.objectives.iter().filter_map(|objective| match objective {
            Objective::Cost(quantity) => Some(*quantity),
            Objective::Score => None,
        });
        // Peak memory rules out choices instead of adding up.
        let limited = self.budget.limits().map(|(quantity, _)| quantity).filter(|of| of.is_sum());
        let wanted: BTreeSet<Quantity> = costs.chain(limited).collect();
        let one = if wanted.len() == 1 { wanted.first() } else { None };
        let (Some(&quantity), true) = (one, predictor.is_additive()) else {
            return Err(AppError::NotExact { additive: predictor.is_additive() }.into());
        };
        let Some(scores) = predictor.additive_scores(tables) else {
            return Err(AppError::NotExact { additive: false }.into());
        };
        Ok(ExactFront::solve(tables, &scores?, quantity, self.budget.limit(quantity))?)
    }

    /// What is not dominated, where that is what was asked for.
    fn front(&self, outcome: &SearchOutcome, limits: &[LimitReport], tables: &CostTables) -> Option<Front> {
        if !matches!(self.algorithm, Algorithm::Nsga2 | Algorithm::Exact) {
            return None;
        }
        let mut objectives = self.objectives.clone();
        if self.algorithm == Algorithm::Exact && objectives.len() < 2 {
            objectives.extend(limits.first().map(|limit| Objective::Cost(limit.quantity)));
        }
        let mut positions = pareto_front(outcome, &objectives);
        if self.algorithm == Algorithm::Exact {
            // From the cheapest up, as budgets are read.
            positions.reverse();
        }
        let reference = objectives.iter().filter_map(|objective| match objective {
            Objective::Score => Some((*objective, 0.0)),
            Objective::Cost(quantity) => {
                Some((*objective, self.budget.limit(*quantity).or(Some(tables.range(*quantity)?.max))?))
            }
        });
        let reference: Vec<(Objective, f64)> = reference.collect();
        let point = |&at: &usize| {
            let scored = outcome.history.at(at);
            let value = |(objective, reference): &(Objective, f64)| match objective {
                Objective::Score => -scored.score,
                Objective::Cost(quantity) => scored.costs.get(*quantity).unwrap_or(*reference) / reference,
            };
            reference.iter().map(value).collect()
        };
        let points: Vec<Vec<f64>> = positions.iter().map(point).collect();
        let corner = |(objective, _): &(Objective, f64)| if *objective == Objective::Score { 0.0 } else { 1.0 };
        let corner: Vec<f64> = reference.iter().map(corner).collect();
        Some(Front { hypervolume: hypervolume(&points, &corner), reference, positions })
    }

    /// Sets what the additive part of the predictor says of each subnet found beside what it can be at most.
    fn bound(&self, tables: &CostTables, exact: Option<&ExactFront>, found: &mut [Found]) -> Result<()> {
        let Some(scores) = self.candidates.predictor.additive_scores(tables) else { return Ok(()) };
        let scores = scores?;
        if let Some(exact) = exact {
            for found in found {
                let cost = tables.cost(&found.arch).get(exact.quantity());
                let bound = cost.and_then(|cost| exact.bound(cost));
                found.additive = bound.map(|bound| AdditivePart { score: scores.score(tables, &found.arch), bound });
            }
            return Ok(());
        }
        if self.algorithm == Algorithm::Nsga2 {
            return Ok(());
        }
        // Each ceiling alone bounds what all together allow.
        let mut bounds = Vec::new();
        for (quantity, limit) in self.budget.limits().filter(|(quantity, _)| quantity.is_sum()) {
            bounds.extend(ExactFront::solve(tables, &scores, quantity, Some(limit))?.bound(limit));
        }
        if bounds.is_empty() {
            let free = ExactFront::solve(tables, &scores, Quantity::Macs, None)?;
            bounds.extend(free.bound(f64::INFINITY));
        }
        let Some(bound) = bounds.into_iter().reduce(f64::min) else { return Ok(()) };
        for found in found {
            found.additive = Some(AdditivePart { score: scores.score(tables, &found.arch), bound });
        }
        Ok(())
    }

    fn check_objectives(&self) -> Result<()> {
        if !self.start.is_empty() && !matches!(self.algorithm, Algorithm::Evolution | Algorithm::Local) {
            return Err(AppError::NoStart { algorithm: self.algorithm.name() }.into());
        }
        let accuracy_alone = self.objectives == [Objective::Score];
        if self.objectives.is_empty()
            || (!accuracy_alone && !matches!(self.algorithm, Algorithm::Nsga2 | Algorithm::Exact))
        {
            return Err(AppError::Objectives { algorithm: self.algorithm.name() }.into());
        }
        let of_device = |objective: &&Objective| matches!(objective, Objective::Cost(of) if !of.is_exact());
        match (&self.target, self.objectives.iter().find(of_device)) {
            (None, Some(Objective::Cost(quantity))) => Err(AppError::NeedsTarget { quantity: *quantity }.into()),
            _ => Ok(()),
        }
    }

    fn check_budget(&self) -> Result<()> {
        match &self.target {
            Some(target) => Ok(self.budget.check_known(target)?),
            None if self.budget.is_empty() && self.objectives.len() < 2 => Err(AppError::NothingToSearchFor.into()),
            None => {
                let of_device = |quantity: &Quantity| !quantity.is_exact();
                match self.budget.limits().map(|(quantity, _)| quantity).find(of_device) {
                    Some(quantity) => Err(AppError::NeedsTarget { quantity }.into()),
                    None => Ok(()),
                }
            }
        }
    }

    /// Resolutions that space, predictor and target all know.
    fn resolutions(&self, notes: &mut Vec<String>) -> Result<Vec<u32>> {
        let SearchInputs { space, predictor, .. } = &self.candidates;
        let mut common = predictor.common_resolutions(space.resolutions());
        let of_target = self.target.as_ref().and_then(Target::network_resolutions);
        if let Some(known) = &of_target {
            common.retain(|resolution| known.contains(resolution));
        }
        if common.is_empty() {
            return Err(AppError::NoCommonResolution {
                space: space.id().to_string(),
                offered: space.resolutions().to_vec(),
                predicted: predictor.resolutions().to_vec(),
                target: of_target,
            }
            .into());
        }
        if common.len() < space.resolutions().len() {
            let words: Vec<String> = common.iter().map(u32::to_string).collect();
            notes.push(format!(
                "only resolutions that the predictor and the target know too are searched: {}",
                words.join(", ")
            ));
        }
        Ok(common)
    }

    /// Dense tables of the target for the space. A quantity that is not limited may be covered in part: it is then left
    /// out, and said so.
    fn tables(&self, resolutions: &[u32], notes: &mut Vec<String>) -> Result<CostTables> {
        let space = &self.candidates.space;
        let Some(target) = &self.target else {
            return Ok(CostTables::counts_only(space, resolutions)?.within(&self.budget).into_owned());
        };
        let constant = |quantity| target.knows(quantity).then(|| target.constant(quantity));
        let constants = DeviceCost { energy: constant(Quantity::Energy), latency: constant(Quantity::Latency) };
        let mut left_out = BTreeSet::new();
        let mut ask = |quantity, op: &Op, resolution| -> Result<Option<f64>, ForeignError> {
            if !target.knows(quantity) {
                return Ok(None);
            }
            match target.cost_in(quantity, op, resolution) {
                Ok(estimate) => Ok(Some(estimate.value)),
                Err(HwError::MissingOperator { .. }) if !self.needs(quantity) => {
                    left_out.insert(quantity);
                    Ok(None)
                }
                Err(error) => Err(ForeignError::new(error.kind(), error)),
            }
        };
        let tables = CostTables::compile(space, resolutions, constants, |op, resolution| {
            let energy = ask(Quantity::Energy, op, resolution)?;
            Ok(DeviceCost { energy, latency: ask(Quantity::Latency, op, resolution)? })
        })?;
        let (target, space) = (target.name(), space.id());
        notes.extend(left_out.iter().map(|quantity| {
            format!("{target} does not cover every operator of space `{space}` in {quantity}, which is left out")
        }));
        Ok(tables.within(&self.budget).into_owned())
    }

    /// Whether `quantity` is limited or an objective.
    fn needs(&self, quantity: Quantity) -> bool {
        self.budget.limit(quantity).is_some() || self.objectives.contains(&Objective::Cost(quantity))
    }

    fn found(&self, scored: Scored, tables: &CostTables) -> Result<Found> {
        let workload = self.candidates.space.lower(&scored.arch);
        let value = |quantity| match &self.target {
            Some(target) if tables.knows(quantity) => value_in(target, quantity, &workload).map(Some),
            _ => Ok(None),
        };
        let cost = NetworkCost {
            energy: value(Quantity::Energy)?,
            latency: value(Quantity::Latency)?,
            ..NetworkCost::exact(&workload)
        };
        let prediction = self.candidates.predictor.predict([&scored.arch])?;
        let spread = prediction.first().and_then(|prediction| prediction.spread);
        Ok(Found { arch: scored.arch, top1: scored.score, spread, cost, additive: None, verified: None })
    }

    fn slack_note(&self, limit: &LimitReport) -> String {
        let LimitReport { quantity, limit, range, .. } = limit;
        let dearest = quantity.format(range.max);
        let place = self.target.as_ref().map_or(String::new(), |target| format!(" on {}", target.name()));
        format!(
            "the budget does not bind: the dearest subnet of space `{}`{place} has {quantity} {dearest}, the budget is {}",
            self.candidates.space.id(),
            quantity.format(*limit)
        )
    }
}

/// The predictor, with a record of what it said.
struct Recorded<'a> {
    predictor: &'a AccuracyPredictor,
    journal: Option<Journal>,
    over: Option<Instant>,
    stop: &'a AtomicBool,
    done: usize,
    progress: &'a mut (dyn FnMut(usize) + Send),
}

impl Evaluator for Recorded<'_> {
    fn evaluate(&mut self, archs: &[ArchSpec]) -> Result<Vec<f64>, ForeignError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(ForeignError::new(FailureKind::Io, AppError::Interrupted));
        }
        let ask =
            |archs: &[ArchSpec]| self.predictor.top1(archs).map_err(|error| ForeignError::new(error.kind(), error));
        let scores = match &mut self.journal {
            Some(journal) => journal.scores(archs, ask)?,
            None => ask(archs)?,
        };
        self.done += archs.len();
        (self.progress)(self.done);
        Ok(scores)
    }

    fn is_over(&mut self) -> bool {
        self.over.is_some_and(|over| Instant::now() >= over)
    }
}
