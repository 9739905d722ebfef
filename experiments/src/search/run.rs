//! One search, run: tables, the algorithm, and the report of what it found. No tensors here: weights are taken out
//! afterwards, for the subnets found.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hw_targets::budget::Budget;
use hw_targets::cost::NetworkCost;
use hw_targets::target::Target;
use network::units::{PerMeasured, Quantity};
use predictors::ensemble::AccuracyPredictor;
use predictors::saved;
use search::arch::ArchSpec;
use search::dense::CostTables;
use search::error::ForeignError;
use search::evolution::{EvolutionSettings, evolve};
use search::exact::ExactFront;
use search::history::Scored;
use search::nsga2::{Nsga2Settings, Objective, nsga2, pareto_front};
use search::objective::Evaluator;
use search::outcome::SearchOutcome;
use search::pareto::hypervolume;
use search::random::random;
use storage::digest::{Digest, Digester};
use storage::failure::Setting;

use crate::error::{Error, Result};
use crate::folders::search_journal::{self, Journal};
use crate::search::algorithm::{Algorithm, Plan, Single};
use crate::search::confidence::{Confidence, keep_with};
use crate::search::inputs::SearchInputs;
use crate::search::report::{AdditivePart, FoundSubnet, Front, LimitReport, SearchHeader, SearchReport};
use crate::search::tables::{common_resolutions, compile};
use crate::target::cost::value_in;

/// Objectives up to which the volume that a front dominates is told: for more it may take minutes.
const MOST_FOR_VOLUME: usize = 4;

/// A search, checked and ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// The device; without one, only what follows from the network alone is known.
    pub(crate) target: Option<Target>,
    /// What is searched.
    pub(crate) inputs: SearchInputs,
    /// What must be kept.
    pub(crate) budget: Budget,
    /// The algorithm by its name.
    pub(crate) algorithm: Algorithm,
    /// Objectives to optimise.
    pub(crate) objectives: Vec<Objective>,
    /// The algorithm with what it needs.
    pub(crate) plan: Plan,
    /// Evaluations in all, each of a distinct subnet.
    pub(crate) evaluations: usize,
    /// When to end whatever was evaluated by then, counted from the start of each search.
    pub(crate) time: Option<Duration>,
    /// With what probability a subnet is to keep the budget on the device, whose costs have errors; without it, its
    /// expected costs are to keep it.
    pub(crate) confidence: Option<Confidence>,
    /// Everything random follows from it.
    pub(crate) seed: u64,
    /// How many subnets to report, best first; with several objectives it is the whole front.
    pub(crate) top: usize,
}

impl Search {
    /// Searches. `stop` ends it early, `progress` hears of the evaluations done. What is evaluated is recorded in
    /// `folder` until [`SearchReport::save`], so that a killed search goes on there.
    ///
    /// # Errors
    /// An operator that the target does not cover, nothing that fits ([`search::error::SearchError::Infeasible`]), a stop
    /// on request.
    pub(crate) fn run(
        &self,
        stop: &AtomicBool,
        folder: Option<&Path>,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<SearchReport> {
        // On one of rayon's own threads, which then need not be woken for every batch.
        rayon::scope(|_| {
            let started = Instant::now();
            let SearchInputs { space, predictor, .. } = &self.inputs;
            let mut notes = Vec::new();
            let target = self.target.as_ref();
            let resolutions = common_resolutions(space, predictor, target, &mut notes)?;
            let needed = |quantity| self.budget.limit(quantity).is_some() || self.plan.optimises(quantity);
            let tables = compile(space, target, &resolutions, needed, &mut notes)?;
            let mut report = self.run_on(&tables, stop, folder, progress)?;
            notes.append(&mut report.notes);
            Ok(SearchReport { notes, seconds: started.elapsed().as_secs_f64(), ..report })
        })
    }

    /// The same on tables that are compiled already, and hold all that the budget limits.
    ///
    /// # Errors
    /// As [`Search::run`].
    pub(crate) fn run_on(
        &self,
        tables: &CostTables,
        stop: &AtomicBool,
        folder: Option<&Path>,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<SearchReport> {
        let started = Instant::now();
        let tables = tables.within(&self.budget);
        let mut search = |budget: &Budget| self.search(budget, &tables, stop, folder, progress);
        let report = match self.confidence {
            None => search(&self.budget)?,
            // Each search has a record of its own.
            Some(confidence) => {
                keep_with(confidence, &self.budget, &mut search, &|| folder.map_or(Ok(()), search_journal::remove))?
            }
        };
        Ok(SearchReport { seconds: started.elapsed().as_secs_f64(), ..report })
    }

    fn search(
        &self,
        budget: &Budget,
        tables: &CostTables,
        stop: &AtomicBool,
        folder: Option<&Path>,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<SearchReport> {
        let started = Instant::now();
        let mut notes = Vec::new();
        let predictor = &self.inputs.predictor;
        let journal = folder.map(|folder| Journal::open(folder, self.identity(budget, tables))).transpose()?;
        // A time beyond what clocks count is no limit.
        let over = self.time.and_then(|time| started.checked_add(time));
        let mut evaluator = Recorded { predictor, journal, over, stop, done: 0, progress };
        let (outcome, exact) = self.explore(budget, tables, &mut evaluator)?;
        if let Some(reused) = evaluator.journal.as_ref().map(Journal::reused).filter(|reused| *reused > 0) {
            notes.push(format!("goes on after the {reused} evaluations of a search that was ended there"));
        }
        if let Some(error) = evaluator.journal.as_ref().and_then(|journal| journal.given_up.as_ref()) {
            notes.push(format!("could not be recorded ({error}); if it were killed, it would have to begin anew"));
        }
        if over.is_some_and(|over| Instant::now() >= over) && !outcome.exhaustive && exact.is_none() {
            notes.push(match outcome.listed {
                true => "the time is up before all the few subnets that fit were evaluated; give more".to_owned(),
                false => {
                    format!("the time is up; {} {} repeats this search", Setting("evaluations"), outcome.history.len())
                }
            });
        }
        let limits = budget.limits().filter_map(|(quantity, limit)| {
            let binds = !outcome.slack.contains(&quantity);
            Some(LimitReport { quantity, limit, range: tables.range(quantity)?, binds })
        });
        let limits: Vec<LimitReport> = limits.collect();
        notes.extend(limits.iter().filter(|limit| !limit.binds).map(|limit| self.slack_note(limit)));
        let front = self.front(budget, &outcome, &limits, tables);
        let best = match &front {
            Some(front) => front.positions.iter().map(|&at| outcome.history.at(at)).collect(),
            None => outcome.history.best(self.top.max(1)),
        };
        let mut found = best.into_iter().map(|scored| self.found(scored, tables)).collect::<Result<Vec<_>>>()?;
        self.bound(budget, tables, exact.as_ref(), &mut found)?;
        Ok(SearchReport {
            header: self.header(),
            found,
            front,
            grid_step: exact.map(|exact| (exact.quantity(), exact.step())),
            evaluations: outcome.history.len(),
            exhaustive: outcome.exhaustive,
            seconds: started.elapsed().as_secs_f64(),
            resolutions: tables.resolutions().to_vec(),
            limits,
            notes,
            history: outcome.history,
        })
    }

    /// Of all that decides which subnets are evaluated, in which order and to which score. When the search ends does not:
    /// a short one is the beginning of a long one.
    fn identity(&self, budget: &Budget, tables: &CostTables) -> Digest {
        let limits: Vec<f64> = Quantity::ALL.iter().map(|of| budget.limit(*of).unwrap_or(f64::INFINITY)).collect();
        Digester::new("search")
            .digest(&saved::digest(&self.inputs.predictor))
            .text(&self.inputs.space.to_yaml())
            .digest(&tables.digest())
            .numbers(limits.into_iter())
            .text(self.algorithm.name())
            .text(&format!("{:?}", self.plan))
            .number(self.seed)
            .finish()
    }

    fn header(&self) -> SearchHeader {
        SearchHeader {
            space: self.inputs.space.clone(),
            target: self.target.clone(),
            bundle: self.inputs.bundle.as_ref().map(|bundle| bundle.name()),
            images: self.inputs.bundle.as_ref().and_then(|bundle| bundle.data_set()),
            has_calibration: self.inputs.bundle.as_ref().is_some_and(|bundle| bundle.calibration().is_ok()),
            budget: self.budget,
            objectives: self.objectives.clone(),
            algorithm: self.algorithm,
            confidence: self.confidence.map(Confidence::probability),
            seed: self.seed,
        }
    }

    /// What the algorithm saw; of an exact search, also what it certifies.
    fn explore(
        &self,
        budget: &Budget,
        tables: &CostTables,
        evaluator: &mut impl Evaluator,
    ) -> Result<(SearchOutcome, Option<ExactFront>)> {
        let (evaluations, seed) = (self.evaluations, self.seed);
        let outcome = match &self.plan {
            Plan::Single(Single::Random) => random(tables, budget, evaluator, evaluations, seed)?,
            Plan::Single(Single::Evolve { anneals, start }) => {
                let settings = EvolutionSettings { evaluations, anneals: *anneals, start: start.clone(), seed };
                evolve(tables, budget, evaluator, &settings)?
            }
            Plan::Front(objectives) => {
                let settings = Nsga2Settings { evaluations, seed, ..Nsga2Settings::default() };
                nsga2(tables, budget, objectives, evaluator, &settings)?
            }
            Plan::Exact { along, .. } => {
                let Some(scores) = self.inputs.predictor.additive_scores(tables) else {
                    return Err(Error::NotExact { additive: false });
                };
                let exact = ExactFront::solve(tables, &scores?, *along, budget.limit(*along))?;
                return Ok((exact.outcome(tables, budget, evaluator)?, Some(exact)));
            }
        };
        Ok((outcome, None))
    }

    /// What is not dominated, where that is what was asked for.
    fn front(
        &self,
        budget: &Budget,
        outcome: &SearchOutcome,
        limits: &[LimitReport],
        tables: &CostTables,
    ) -> Option<Front> {
        let (objectives, positions) = match &self.plan {
            Plan::Single(_) => return None,
            Plan::Front(objectives) => (objectives.clone(), pareto_front(outcome, objectives)),
            Plan::Exact { objectives, .. } => {
                let mut objectives = objectives.clone();
                if objectives.len() < 2 {
                    objectives.extend(limits.first().map(|limit| Objective::Cost(limit.quantity)));
                }
                // From the cheapest up, as budgets are read.
                let positions = pareto_front(outcome, &objectives).into_iter().rev().collect();
                (objectives, positions)
            }
        };
        let reference = objectives.iter().filter_map(|objective| match objective {
            Objective::Score => Some((*objective, 0.0)),
            Objective::Cost(quantity) => {
                Some((*objective, budget.limit(*quantity).or(Some(tables.range(*quantity)?.max))?))
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
        let is_quick = corner.len() <= MOST_FOR_VOLUME;
        Some(Front { hypervolume: is_quick.then(|| hypervolume(&points, &corner)), reference, positions })
    }

    /// Sets what the additive part of the predictor says of each subnet found beside what it can be at most.
    fn bound(
        &self,
        budget: &Budget,
        tables: &CostTables,
        exact: Option<&ExactFront>,
        found: &mut [FoundSubnet],
    ) -> Result<()> {
        let Some(scores) = self.inputs.predictor.additive_scores(tables) else { return Ok(()) };
        let scores = scores?;
        if let Some(exact) = exact {
            for found in found {
                let cost = tables.cost(&found.arch).get(exact.quantity());
                let bound = cost.and_then(|cost| exact.bound(cost));
                found.additive = bound.map(|bound| AdditivePart { score: scores.score(tables, &found.arch), bound });
            }
            return Ok(());
        }
        if matches!(self.plan, Plan::Front(_)) {
            return Ok(());
        }
        // Each ceiling alone bounds what all together allow.
        let mut bounds = Vec::new();
        for (quantity, limit) in budget.limits().filter(|(quantity, _)| quantity.is_sum()) {
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

    /// A subnet with all that is known of it.
    pub(crate) fn found(&self, scored: Scored, tables: &CostTables) -> Result<FoundSubnet> {
        let workload = self.inputs.space.lower(&scored.arch);
        let PerMeasured { energy, latency } = PerMeasured::try_from_fn(|quantity| match &self.target {
            Some(target) if tables.knows(quantity.into()) => value_in(target, quantity, &workload).map(Some),
            _ => Ok(None),
        })?;
        let cost = NetworkCost { energy, latency, ..NetworkCost::exact(&workload) };
        let prediction = self.inputs.predictor.predict([&scored.arch])?;
        let spread = prediction.first().and_then(|prediction| prediction.spread);
        let error = self.inputs.predictor.error_of(scored.score);
        Ok(FoundSubnet { arch: scored.arch, top1: scored.score, error, spread, cost, additive: None, verified: None })
    }

    fn slack_note(&self, limit: &LimitReport) -> String {
        let LimitReport { quantity, limit, range, .. } = limit;
        let [low, high, limit] = [range.min, range.max, *limit].map(|value| quantity.format(value));
        let place = self.target.as_ref().map_or(String::new(), |target| format!(" on {}", target.name()));
        format!(
            "no need to economise: every network of space `{}`{place} fits {limit} of {quantity}; budgets that matter here are \
             {low} to {high}",
            self.inputs.space.id(),
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
            return Err(Error::Interrupted.foreign());
        }
        let ask = |archs: &[ArchSpec]| self.predictor.top1(archs).map_err(|error| Error::from(error).foreign());
        let scores = match &mut self.journal {
            Some(journal) => journal.scores(archs, ask)?,
            None => ask(archs)?,
        };
        self.done += archs.len();
        (self.progress)(self.done);
        Ok(scores)
    }

    fn is_over(&mut self) -> bool {
        // However little time there is, something is looked at.
        self.done > 0 && self.over.is_some_and(|over| Instant::now() >= over)
    }
}
