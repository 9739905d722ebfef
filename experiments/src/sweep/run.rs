//! Computes the points of a sweep that are not there yet, on all cores, beside other processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use search::arch::ArchSpec;
use search::dense::CostTables;
use search::history::Scored;
use search::nsga2::Objective;
use serde_json::{Value, json};
use storage::failure::{Failure, FailureKind};

use crate::error::{Error, Result};
use crate::search::algorithm::{Algorithm, Plan};
use crate::search::run::Search;
use crate::shard::Shard;
use crate::sweep::baseline::{Baseline, DRAWS, affordable, uniform};
use crate::sweep::claim::{self, HEARTBEAT};
use crate::sweep::folder::{Record, Status, SweepFolder};
use crate::sweep::plan::{Planned, State, SweepPlan};
use crate::sweep::point::Method;

/// How often points that other processes compute are looked at.
const WAIT: Duration = Duration::from_millis(300);

/// What a run tells while it runs.
#[derive(Clone, Debug)]
pub enum Event {
    /// A point is computed: its place, how it ended, and seconds.
    Computed(usize, Status, f64),
    /// A point was computed by another process.
    Elsewhere(usize),
    /// So many points are left, all under way in other processes: told once.
    Waiting(usize),
}

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Points of this shard.
    pub points: usize,
    /// Points that were there before.
    pub cached: usize,
    /// Points that this process computed.
    pub computed: usize,
    /// Points that others computed meanwhile.
    pub elsewhere: usize,
    /// Points for which nothing fits, in all.
    pub infeasible: usize,
    /// Points that failed, with why.
    pub failed: Vec<(String, String)>,
    /// Seconds of the run.
    pub seconds: f64,
}

/// Computes all points of `shard` whose results are not in `folder` yet, `threads` at a time, each on one thread. `stop`
/// ends it early: what is computed stays.
///
/// # Errors
/// A folder that cannot be read or written, a stop on request. Points that fail are told in the summary.
pub fn run(
    plan: &SweepPlan,
    folder: &SweepFolder,
    shard: Shard,
    threads: usize,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&Event),
) -> Result<Summary> {
    let started = Instant::now();
    let states = plan.states(folder)?;
    let own: Vec<usize> = (0..plan.points.len()).filter(|place| shard.has(*place)).collect();
    let todo: Vec<usize> = own.iter().copied().filter(|place| !matches!(states[*place], State::There(_))).collect();
    let mut summary = Summary { points: own.len(), cached: own.len() - todo.len(), ..Summary::default() };
    let crew = Crew { plan, folder, stop, held: Mutex::default(), is_over: AtomicBool::new(false) };
    let (mut left, mut is_told) = (todo, false);
    while !left.is_empty() && !stop.load(Ordering::Relaxed) {
        let waiting = crew.pass(&left, threads.clamp(1, left.len()), &mut |event| {
            match event {
                Event::Computed(..) => summary.computed += 1,
                Event::Elsewhere(_) => summary.elsewhere += 1,
                Event::Waiting(_) => {}
            }
            progress(event);
        })?;
        if waiting.len() == left.len() {
            if !is_told {
                progress(&Event::Waiting(waiting.len()));
                is_told = true;
            }
            std::thread::sleep(WAIT);
        }
        left = waiting;
    }
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    let is_done = |key: &str| folder.record(key).is_some_and(|record| record.status != Status::Failed);
    claim::clear(&folder.claims(), is_done).map_err(|source| Error::Write { source })?;
    for place in own {
        let planned = &plan.points[place];
        match folder.record(&planned.key) {
            Some(Record { status: Status::Infeasible, .. }) => summary.infeasible += 1,
            Some(Record { status: Status::Failed, message, .. }) => {
                summary.failed.push((planned.point.to_string(), message));
            }
            _ => {}
        }
    }
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

/// Threads that compute points together.
struct Crew<'p> {
    plan: &'p SweepPlan,
    folder: &'p SweepFolder,
    stop: &'p AtomicBool,
    /// Claims under way.
    held: Mutex<Vec<PathBuf>>,
    is_over: AtomicBool,
}

impl Crew<'_> {
    /// Goes once through `places`; those that others are computing come back.
    fn pass(&self, places: &[usize], threads: usize, progress: &mut dyn FnMut(&Event)) -> Result<Vec<usize>> {
        let (next, (events, heard)) = (AtomicUsize::new(0), mpsc::channel());
        self.is_over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let heart = scope.spawn(|| self.beat());
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    let events = events.clone();
                    scope.spawn(|| self.work(places, &next, events))
                })
                .collect();
            drop(events);
            heard.iter().for_each(|event| progress(&event));
            // Nobody sends any more: all workers are done, or one has panicked, and the heart must not beat on for it.
            self.is_over.store(true, Ordering::Relaxed);
            heart.thread().unpark();
            let mut waiting = Ok(Vec::new());
            for worker in workers {
                match worker.join() {
                    Ok(Ok(more)) => {
                        if let Ok(waiting) = &mut waiting {
                            waiting.extend(more);
                        }
                    }
                    Ok(Err(error)) => waiting = Err(error),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            waiting.map(|mut waiting: Vec<usize>| {
                waiting.sort_unstable();
                waiting
            })
        })
    }

    /// Touches the claims under way until the pass is over.
    fn beat(&self) {
        let mut last = Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            std::thread::park_timeout(HEARTBEAT);
            if last.elapsed() >= HEARTBEAT {
                last = Instant::now();
                self.held.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|path| claim::touch(path));
            }
        }
    }

    /// Computes points until none is left; gives those that others have.
    fn work(&self, places: &[usize], next: &AtomicUsize, events: mpsc::Sender<Event>) -> Result<Vec<usize>> {
        // Everything in a point runs on this thread: points side by side need all cores already.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|error| Error::Io(std::io::Error::other(error)))?;
        let mut searches: BTreeMap<usize, Search> = BTreeMap::new();
        let mut waiting = Vec::new();
        while let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let planned = &self.plan.points[place];
            let cannot = |source| Error::Write { source };
            let Some(claim) = claim::take(&self.folder.claims(), &planned.key).map_err(cannot)? else {
                waiting.push(place);
                continue;
            };
            // Others may have ended it between the look at the folder and now.
            if self.folder.record(&planned.key).is_some_and(|record| record.status != Status::Failed) {
                claim.release();
                let _ = events.send(Event::Elsewhere(place));
                continue;
            }
            let path = claim.path().to_path_buf();
            self.held.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
            let search = searches.entry(planned.ground).or_insert_with(|| self.search(planned));
            let record = pool.install(|| self.record(search, planned));
            self.held.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != path);
            let written = record.and_then(|record| match &record {
                Some(whole) => {
                    self.folder.write(&planned.key, whole)?;
                    self.folder.log(&planned.key).map_err(cannot)?;
                    Ok(record)
                }
                None => Ok(None),
            });
            claim.release();
            match written? {
                Some(record) => {
                    let _ = events.send(Event::Computed(place, record.status, record.seconds));
                }
                None => break,
            }
        }
        Ok(waiting)
    }

    /// A search on the ground of a point, to be set for each point.
    fn search(&self, planned: &Planned) -> Search {
        let ground = &self.plan.grounds[planned.ground];
        let (inputs, target) = (ground.inputs.clone(), Some(ground.target.clone()));
        Search {
            target,
            inputs,
            budget: planned.budget,
            algorithm: Algorithm::Random,
            objectives: vec![Objective::Score],
            plan: Plan::Front(Vec::new()),
            evaluations: 0,
            time: None,
            confidence: self.plan.file.confidence,
            seed: 0,
            top: 1,
        }
    }

    /// Computes a point; nothing if that was stopped on request.
    fn record(&self, search: &mut Search, planned: &Planned) -> Result<Option<Record>> {
        let started = Instant::now();
        let ground = &self.plan.grounds[planned.ground];
        let done = |status, result, message| Record {
            status,
            point: planned.point.json(),
            inputs: json!(planned.inputs),
            result,
            message,
            seconds: started.elapsed().as_secs_f64(),
        };
        Ok(Some(match self.found(search, planned, &ground.tables) {
            Ok(Some(result)) => done(Status::Found, result, String::new()),
            Ok(None) => {
                let message = format!("no subnet of baseline {} keeps the budget", planned.point.method.name());
                done(Status::Infeasible, Value::Null, message)
            }
            Err(error) if error.is_interruption() => return Ok(None),
            Err(error) => {
                let status = match error.kind() {
                    FailureKind::Infeasible => Status::Infeasible,
                    _ => Status::Failed,
                };
                done(status, Value::Null, error.to_string())
            }
        }))
    }

    fn found(&self, search: &mut Search, planned: &Planned, tables: &CostTables) -> Result<Option<Value>> {
        let (algorithm, evaluations) = match planned.point.method {
            Method::Search(algorithm) => (algorithm, usize::try_from(self.plan.file.evaluations).unwrap_or(usize::MAX)),
            Method::Baseline(Baseline::Random) => (Algorithm::Random, DRAWS),
            Method::Baseline(Baseline::Uniform) => {
                let subnets = uniform(&search.inputs.space, tables.resolutions())?;
                return best(search, planned, tables, affordable(subnets, tables, &planned.budget));
            }
            Method::Baseline(Baseline::Largest) => {
                let space = &search.inputs.space;
                let largest = tables.resolutions().iter().rev().map(|resolution| space.largest(*resolution));
                let largest = largest.collect::<std::result::Result<Vec<ArchSpec>, _>>()?;
                let first = affordable(largest, tables, &planned.budget).into_iter().take(1).collect();
                return best(search, planned, tables, first);
            }
        };
        search.algorithm = algorithm;
        search.plan = Plan::new(algorithm, &search.objectives, Vec::new(), &search.inputs.predictor, &planned.budget)?;
        (search.budget, search.evaluations, search.seed) = (planned.budget, evaluations, planned.point.seed);
        let mut report = search.run_on(tables, self.stop, None, &mut |_| {})?;
        // Equal inputs give equal files.
        report.seconds = 0.0;
        Ok(report.found.first().map(|found| report.json(found)))
    }
}

/// The best of `subnets` by the predictor.
fn best(search: &Search, planned: &Planned, tables: &CostTables, subnets: Vec<ArchSpec>) -> Result<Option<Value>> {
    let scores = search.inputs.predictor.top1(&subnets)?;
    let first = (0..subnets.len()).reduce(|best, at| if scores[at] > scores[best] { at } else { best });
    let Some(at) = first else { return Ok(None) };
    let scored = Scored { arch: subnets[at].clone(), score: scores[at], costs: tables.cost(&subnets[at]) };
    let mut value = search.found(scored, tables)?.json(&search.inputs.space);
    value["target"] = search.target.as_ref().map(hw_targets::target::Target::name).into();
    value["bundle"] = search.inputs.bundle.as_ref().map(|bundle| bundle.name()).into();
    value["evaluations"] = subnets.len().into();
    value["algorithm"] = planned.point.method.name().into();
    Ok(Some(value))
}
