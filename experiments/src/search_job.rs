//! `ofa search`: from a target, a bundle and budgets to the subnets with the highest predicted top-1 that fit.
//!
//! No tensors here: weights are taken out afterwards, for the subnets found.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use hw_targets::budget::Budget;
use hw_targets::cost::NetworkCost;
use hw_targets::error::HwError;
use hw_targets::failure::FailureKind;
use hw_targets::files::write_atomically;
use hw_targets::target::Target;
use hw_targets::units::Quantity;
use hw_targets::workload::Op;
use predictors::ensemble::AccuracyPredictor;
use search::arch::ArchSpec;
use search::dense::{CostRange, CostTables, DeviceCost};
use search::error::ForeignError;
use search::evolution::{EvolutionSettings, evolve};
use search::history::{History, Scored};
use search::space::SearchSpace;
use serde_json::{Map, Value, json};

use crate::bundle::Bundle;
use crate::error::AppError;
use crate::{history_file, predictor_verbs, spaces, targets};

/// The bundle that is used where neither a target nor the command line says.
pub const FALLBACK_BUNDLE: &str = "mcu-cifar";

/// What is searched: a space and the predictor that judges its members.
#[derive(Clone, Debug)]
pub struct Candidates {
    /// The space.
    pub space: SearchSpace,
    /// Its predictor.
    pub predictor: AccuracyPredictor,
    /// The bundle both are from, if they are.
    pub bundle: Option<Bundle>,
    /// What the user should know about the choice.
    pub notes: Vec<String>,
}

/// What the command line says about the candidates; everything may be left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// A bundle, by name or path.
    pub supernet: Option<&'a str>,
    /// A space, by name or path.
    pub space: Option<&'a str>,
    /// A predictor's file, or a bundle that has one.
    pub predictor: Option<&'a str>,
}

impl Candidates {
    /// The bundle or the predictor that was asked for; else the first of the target's default bundles (for the space
    /// that was asked for) that exists.
    ///
    /// # Errors
    /// Unknown names, wrong content, and [`AppError::NoDefaultBundle`].
    pub fn choose(wish: &Wish<'_>, target: Option<&Target>) -> Result<Candidates> {
        if let Some(name) = wish.supernet {
            return Self::of_bundle(Bundle::find(name)?, Vec::new());
        }
        if let Some(name) = wish.predictor {
            let (space, predictor) = predictor_verbs::load(name, wish.space)?;
            return Ok(Candidates { space, predictor, bundle: None, notes: Vec::new() });
        }
        let space = wish.space.map(spaces::find).transpose()?;
        let of_space = |name: &str| space.as_ref().is_none_or(|space| *space.id().0 == *name);
        let mut wanted: Vec<String> = match target {
            Some(target) => {
                let entries = target.default_bundles().iter().filter(|entry| of_space(&entry.space));
                entries.map(|entry| entry.bundle.clone()).collect()
            }
            None => Vec::new(),
        };
        match &space {
            Some(space) => wanted.push(space.id().to_string()),
            None => wanted.push(FALLBACK_BUNDLE.to_owned()),
        }
        let mut seen = BTreeSet::new();
        wanted.retain(|name| seen.insert(name.clone()));
        let asked = target.map_or_else(|| "this search".to_owned(), |target| format!("target `{}`", target.name()));
        let Some((at, bundle)) = wanted.iter().enumerate().find_map(|(at, name)| Some((at, Bundle::find(name).ok()?)))
        else {
            return Err(AppError::NoDefaultBundle { asked, wanted, known: Bundle::names() }.into());
        };
        let mut notes = Vec::new();
        if at > 0 {
            notes.push(format!(
                "bundle `{}`, which {asked} prefers, is not in the zoo; using `{}`",
                wanted[0], wanted[at]
            ));
        } else if target.is_none() {
            notes.push(format!("using bundle `{}`; name another with --supernet", wanted[at]));
        }
        Self::of_bundle(bundle, notes)
    }

    fn of_bundle(bundle: Bundle, notes: Vec<String>) -> Result<Candidates> {
        Ok(Candidates { space: bundle.space()?, predictor: bundle.predictor()?, bundle: Some(bundle), notes })
    }
}

/// A search, ready to run.
#[derive(Clone, Debug)]
pub struct SearchJob {
    /// The device; without one, only MACs and parameters are known.
    pub target: Option<Target>,
    /// What is searched.
    pub candidates: Candidates,
    /// What must be kept.
    pub budget: Budget,
    /// Evaluations in all, each of a distinct subnet.
    pub evaluations: usize,
    /// Everything random follows from it.
    pub seed: u64,
    /// How many subnets to report, best first.
    pub top: usize,
}

/// One subnet found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The subnet.
    pub arch: ArchSpec,
    /// Predicted top-1, a fraction.
    pub top1: f64,
    /// Standard deviation between the predictor's members, if it has several.
    pub spread: Option<f64>,
    /// What it costs, as far as the target knows.
    pub cost: NetworkCost,
}

/// What became of one ceiling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitReport {
    /// What is limited.
    pub quantity: Quantity,
    /// The ceiling, in SI units or as a count.
    pub limit: f64,
    /// Cheapest and dearest subnet that was looked at.
    pub range: CostRange,
    /// Whether some subnet is above it.
    pub binds: bool,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct SearchReport {
    /// The best subnets, best first.
    pub found: Vec<Found>,
    /// Evaluations done, all of distinct subnets.
    pub evaluations: usize,
    /// Whether every subnet that fits was evaluated.
    pub exhaustive: bool,
    /// Seconds it took.
    pub seconds: f64,
    /// Resolutions that were looked at.
    pub resolutions: Vec<u32>,
    /// Ceilings, in order of [`Quantity::ALL`].
    pub limits: Vec<LimitReport>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Every evaluation in order.
    pub history: History,
}

impl SearchJob {
    /// Searches. `stop` ends it early, `progress` hears of the evaluations done.
    ///
    /// # Errors
    /// A ceiling on what the target does not know, an operator that it does not cover, nothing that fits
    /// ([`search::error::SearchError::Infeasible`]), a stop on request.
    pub fn run(&self, stop: &AtomicBool, progress: &mut dyn FnMut(usize)) -> Result<SearchReport> {
        let started = Instant::now();
        let mut notes = self.candidates.notes.clone();
        self.check_budget()?;
        let resolutions = self.resolutions(&mut notes)?;
        let tables = self.tables(&resolutions, &mut notes)?;
        let settings =
            EvolutionSettings { evaluations: self.evaluations, seed: self.seed, ..EvolutionSettings::default() };
        let predictor = &self.candidates.predictor;
        let mut done = 0;
        let mut evaluator = |archs: &[ArchSpec]| -> Result<Vec<f64>, ForeignError> {
            if stop.load(Ordering::Relaxed) {
                return Err(ForeignError::new(FailureKind::Io, AppError::Interrupted));
            }
            let scores = predictor.top1(archs).map_err(|error| ForeignError::new(error.kind(), error))?;
            done += archs.len();
            progress(done);
            Ok(scores)
        };
        let outcome = evolve(&tables, &self.budget, &mut evaluator, &settings)?;
        let limits = self.budget.limits().filter_map(|(quantity, limit)| {
            let binds = !outcome.slack.contains(&quantity);
            Some(LimitReport { quantity, limit, range: tables.range(quantity)?, binds })
        });
        let limits: Vec<LimitReport> = limits.collect();
        notes.extend(limits.iter().filter(|limit| !limit.binds).map(|limit| self.slack_note(limit)));
        let best = outcome.history.best(self.top.max(1));
        Ok(SearchReport {
            found: best.into_iter().map(|scored| self.found(scored, &tables)).collect::<Result<_>>()?,
            evaluations: outcome.history.len(),
            exhaustive: outcome.exhaustive,
            seconds: started.elapsed().as_secs_f64(),
            resolutions,
            limits,
            notes,
            history: outcome.history,
        })
    }

    fn check_budget(&self) -> Result<()> {
        match &self.target {
            Some(target) => Ok(self.budget.check_known(target)?),
            None if self.budget.is_empty() => Err(AppError::NothingToSearchFor.into()),
            None => {
                let of_device = |quantity: &Quantity| matches!(quantity, Quantity::Energy | Quantity::Latency);
                match self.budget.limits().map(|(quantity, _)| quantity).find(of_device) {
                    Some(quantity) => Err(AppError::NeedsTarget { quantity }.into()),
                    None => Ok(()),
                }
            }
        }
    }

    /// Resolutions that space, predictor and target all know.
    fn resolutions(&self, notes: &mut Vec<String>) -> Result<Vec<u32>> {
        let Candidates { space, predictor, .. } = &self.candidates;
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
        let Some(target) = &self.target else { return Ok(CostTables::counts_only(space, resolutions)?) };
        let constant = |quantity| target.knows(quantity).then(|| target.constant(quantity));
        let constants = DeviceCost { energy: constant(Quantity::Energy), latency: constant(Quantity::Latency) };
        let mut left_out = BTreeSet::new();
        let mut ask = |quantity, op: &Op, resolution| -> Result<Option<f64>, ForeignError> {
            if !target.knows(quantity) {
                return Ok(None);
            }
            match target.cost_in(quantity, op, resolution) {
                Ok(estimate) => Ok(Some(estimate.value)),
                Err(HwError::MissingOperator { .. }) if self.budget.limit(quantity).is_none() => {
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
        Ok(tables)
    }

    fn found(&self, scored: Scored, tables: &CostTables) -> Result<Found> {
        let workload = self.candidates.space.lower(&scored.arch);
        let value = |quantity| match &self.target {
            Some(target) if tables.knows(quantity) => targets::value_in(target, quantity, &workload).map(Some),
            _ => Ok(None),
        };
        let cost = NetworkCost {
            energy: value(Quantity::Energy)?,
            latency: value(Quantity::Latency)?,
            macs: workload.macs(),
            params: workload.params(),
        };
        let prediction = self.candidates.predictor.predict([&scored.arch])?;
        let spread = prediction.first().and_then(|prediction| prediction.spread);
        Ok(Found { arch: scored.arch, top1: scored.score, spread, cost })
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

impl SearchReport {
    /// One subnet found, as `ofa search --format json` prints it.
    pub fn json(&self, job: &SearchJob, found: &Found) -> Value {
        let space = &job.candidates.space;
        let limits = self.limits.iter().map(|report| {
            let scale = report.quantity.json_scale();
            let limit = json!({
                "limit": report.limit * scale,
                "binds": report.binds,
                "cheapest": report.range.min * scale,
                "dearest": report.range.max * scale,
            });
            (report.quantity.json_key().to_owned(), limit)
        });
        json!({
            "subnet": space.to_subnet_json(&found.arch),
            "genome": space.to_genome_json(&found.arch),
            "top1": found.top1,
            "top1_is": "predicted",
            "top1_spread": found.spread,
            "costs": targets::cost_json(&found.cost),
            "target": job.target.as_ref().map(Target::name),
            "bundle": job.candidates.bundle.as_ref().map(Bundle::name),
            "budgets": limits.collect::<Map<String, Value>>(),
            "resolutions": self.resolutions,
            "exhaustive": self.exhaustive,
            "evaluations": self.evaluations,
            "distinct": self.evaluations,
            "seconds": self.seconds,
            "seed": job.seed,
        })
    }

    /// Writes `result.json`, `subnet.json` and `history.parquet` into `folder`, and `top.jsonl` if several subnets were
    /// asked for.
    ///
    /// # Errors
    /// [`AppError::Write`].
    pub fn save(&self, job: &SearchJob, folder: &Path) -> Result<()> {
        let space = &job.candidates.space;
        let write = |name: &str, text: String| {
            write_atomically(&folder.join(name), |file| file.write_all(text.as_bytes()))
                .map_err(|source| AppError::Write { source })
        };
        let Some(best) = self.found.first() else { return Ok(()) };
        history_file::write(&folder.join("history.parquet"), space, &self.history)?;
        if job.top > 1 {
            write("top.jsonl", self.found.iter().map(|found| format!("{}\n", self.json(job, found))).collect())?;
        }
        write("subnet.json", format!("{:#}\n", space.to_subnet_json(&best.arch)))?;
        write("result.json", format!("{:#}\n", self.json(job, best)))?;
        Ok(())
    }
}
