//! `ofa sweep`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use experiments::shard::Shard;
use experiments::stages::network::NetworkResult;
use experiments::stages::record::Record;
use experiments::sweep::error::SweepError;
use experiments::sweep::file::SweepFile;
use experiments::sweep::folder::{Status, SweepFolder};
use experiments::sweep::networks::{self, NetworkSummary};
use experiments::sweep::plan::{State, SweepPlan};
use experiments::sweep::prepare::{StageRequest, StageWatcher};
use experiments::sweep::run::{Event, Summary, run as run_sweep};
use experiments::sweep::script::script;
use experiments::sweep::table::{self, Row};
use serde_json::json;

use super::set_threads;
use crate::args::sweep::{SweepCommand, SweepRunArgs};
use crate::interrupt::stop_flag;
use crate::next;
use crate::output::{Output, as_text, duration, percent};
use crate::stage_progress::StageProgress;

/// Seconds of one evaluation on one thread, where nothing has been measured yet.
const EVALUATION: f64 = 1.5e-5;
/// Reasons for computing a point again that are shown, the most frequent first.
const REASONS: usize = 5;

pub(crate) fn run(command: SweepCommand, output: &mut Output) -> Result<()> {
    match command {
        SweepCommand::Plan { sweep, out, threads } => {
            set_threads(threads);
            plan(&sweep, out.as_deref(), cores(threads.threads), output)
        }
        SweepCommand::Run(args) => compute(&args, output),
        SweepCommand::Status { out } => status(&out, output),
        SweepCommand::Merge { out, others } => merge(&out, &others, output),
        SweepCommand::Script { scheduler, sweep, out, tasks } => {
            // It may be there on the cluster only; where it is here, what is wrong with it is better known now.
            if Path::new(&sweep).is_file() {
                SweepFile::read(Path::new(&sweep))?;
            }
            let name = Path::new(&sweep).file_stem().map_or("sweep".into(), |stem| stem.to_string_lossy());
            let text = script(scheduler.into(), &name, &sweep, &out, tasks);
            if output.is_json() {
                return output.json(&json!({"script": text}));
            }
            text.lines().try_for_each(|line| output.line(line))
        }
    }
}

fn cores(threads: Option<u32>) -> usize {
    threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |threads| threads as usize)
}

/// How many points are in which state, and why some are computed again.
struct Outlook {
    there: usize,
    missing: usize,
    changed: BTreeMap<String, usize>,
}

fn outlook(states: &[State]) -> Outlook {
    let mut outlook = Outlook { there: 0, missing: 0, changed: BTreeMap::new() };
    for state in states {
        match state {
            State::There(_) => outlook.there += 1,
            State::Missing => outlook.missing += 1,
            State::Changed(what) => *outlook.changed.entry(what.join(", ")).or_default() += 1,
        }
    }
    outlook
}

impl Outlook {
    fn to_compute(&self) -> usize {
        self.missing + self.changed.values().sum::<usize>()
    }

    /// Whose inputs changed: `12 points again: predictor changed`.
    fn reasons(&self) -> Vec<String> {
        let mut changed: Vec<_> = self.changed.iter().collect();
        changed.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let word = |(what, count): (&String, &usize)| format!("{count} again: {what} changed");
        changed.into_iter().take(REASONS).map(word).collect()
    }
}

fn plan(sweep: &Path, out: Option<&Path>, cores: usize, output: &mut Output) -> Result<()> {
    let plan = SweepPlan::new(sweep, out)?;
    let folder = out.map(SweepFolder::at);
    let states = match &folder {
        Some(folder) => plan.states(folder)?,
        None => vec![State::Missing; plan.points.len()],
    };
    let outlook = outlook(&states);
    let measured = match &folder {
        Some(folder) => folder.records()?.values().map(|record| record.seconds).collect(),
        None => Vec::new(),
    };
    let each = median(measured).unwrap_or(EVALUATION * plan.evaluations() as f64);
    let seconds = each * outlook.to_compute() as f64 / cores as f64;
    if output.is_json() {
        let point = |(planned, state): (&experiments::sweep::plan::Planned, &State)| {
            json!({
                "point": planned.point.to_string(), "key": planned.key,
                "state": match state {
                    State::There(status) => status.name(),
                    State::Missing => "missing",
                    State::Changed(_) => "changed",
                },
                "changed": if let State::Changed(what) = state { what.clone() } else { Vec::new() },
            })
        };
        let points: Vec<_> = plan.points.iter().zip(&states).map(point).collect();
        return output.json(&json!({
            "sweep": plan.name, "points": points, "to_compute": outlook.to_compute(), "estimated_seconds": seconds,
            "stages_before": plan.stages(),
        }));
    }
    output.rows(&[
        ("sweep".to_owned(), plan.name.clone()),
        ("points".to_owned(), plan.points.len().to_string()),
        ("there".to_owned(), outlook.there.to_string()),
        ("to compute".to_owned(), outlook.to_compute().to_string()),
        ("estimated time".to_owned(), format!("{} on {cores} threads", duration(seconds))),
    ])?;
    let stages = plan.stages();
    stages.iter().try_for_each(|stage| output.line(format!("before that: {stage}")))?;
    outlook.reasons().into_iter().try_for_each(|reason| output.line(reason))?;
    output.next(&next::sweep_run(sweep, out))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn compute(args: &SweepRunArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let stop = stop_flag();
    let request = StageRequest {
        data: args.data.clone(),
        revision: env!("OFA_REVISION"),
        device: args.compute.device,
        stop: &stop,
    };
    let shard = match args.shard {
        Some(shard) => shard,
        None => Shard::of_array(|name| std::env::var(name).ok())
            .map_err(experiments::error::Error::from)?
            .unwrap_or(Shard::WHOLE),
    };
    // All that can be wrong is told before anything is written.
    let mut plan = SweepPlan::new(&args.sweep, Some(&args.out))?;
    plan.check_data(&request)?;
    plan.check_folder(&SweepFolder::at(&args.out))?;
    let folder = SweepFolder::create(&args.out, &args.sweep)?;
    if plan.prepares() {
        plan.prepare(&folder, &request, &mut StageProgress::new(output))?;
        plan = SweepPlan::new(&args.sweep, Some(&args.out))?;
    }
    let outlook = outlook(&plan.states(&folder)?);
    outlook.reasons().iter().for_each(|reason| output.say(format!("note: {reason}")));
    let bar = output.progress(plan.points.len() as u64, "{bar:40} {pos}/{len} points, {msg}{eta} left");
    let mut seen = 0;
    let summary = run_sweep(&plan, &folder, shard, cores(args.compute.threads.threads), &stop, &mut |event| {
        match event {
            Event::Waiting(points) => {
                return bar.suspend(|| output.say(format!("note: {points} points are under way in other processes")));
            }
            Event::Computed(place, Status::Failed, _) => {
                bar.suspend(|| output.say(format!("failed: {}", plan.points[*place].point)));
            }
            Event::Computed(..) | Event::Elsewhere(_) => {}
        }
        seen += 1;
        bar.set_position(seen);
    })?;
    bar.finish_and_clear();
    let rows = table::rows(&plan, &folder)?;
    let made = networks::run(&plan, &folder, shard, &rows, &request, &mut StageProgress::new(output))?;
    let (results, all) = networks::results(&plan, &folder, &rows)?;
    // A part of the points is no table yet.
    let written = match rows.len() == plan.points.len() {
        true => Some(table::write(&plan.name, &rows, &results, &folder)?),
        false => None,
    };
    if output.is_json() {
        output.json(&json!({
            "sweep": plan.name, "points": summary.points, "cached": summary.cached, "computed": summary.computed,
            "elsewhere": summary.elsewhere, "infeasible": summary.infeasible, "failed": summary.failed.len(),
            "seconds": summary.seconds, "table": written.as_deref().map(as_text), "networks": made.networks, "networks_cached": made.cached,
            "networks_failed": made.failed.len(),
        }))?;
    } else {
        show(&rows, &results, output)?;
        let Summary { points, cached, computed, elsewhere, infeasible, .. } = summary;
        let others = if elsewhere > 0 { format!(", {elsewhere} by other processes") } else { String::new() };
        output.line(format!(
            "{points} points: {computed} computed in {:.1} s, {cached} there before{others}; nothing fits {infeasible}",
            summary.seconds
        ))?;
        if all > 0 {
            let NetworkSummary { networks, cached, failed } = &made;
            let made = networks - cached - failed.len();
            output.line(format!("{all} networks: {made} made now, {cached} there before, {} failed", failed.len()))?;
        }
        match &written {
            Some(path) => {
                output.line(format!("written to {}", path.display()))?;
                output.next(&next::report(&args.out))?;
            }
            None => output.line(format!(
                "{} of {} points are there; other shards make the rest",
                rows.len(),
                plan.points.len()
            ))?,
        }
    }
    failed(&summary)?;
    let Some((name, message)) = made.failed.first() else { return Ok(()) };
    let first = format!("{name}: {message}");
    let error = SweepError::Networks { failed: made.failed.len(), networks: made.networks, first };
    Err(experiments::error::Error::from(error).into())
}

impl StageWatcher for StageProgress<'_> {
    fn begin(&mut self, stage: &str, state: &experiments::stages::record::State) {
        self.start(stage.to_owned(), state);
    }

    fn end(&mut self, stage: &str, record: &Record) {
        self.finish(stage, record);
    }

    fn wait(&mut self, stage: &str) {
        self.say(&format!("{stage}  another process is at it"));
    }
}

/// Failed points end with an error, after everything else was told.
fn failed(summary: &Summary) -> Result<()> {
    let Some((point, message)) = summary.failed.first() else { return Ok(()) };
    let error = SweepError::Failed {
        failed: summary.failed.len(),
        points: summary.points,
        first: format!("{point}: {message}"),
    };
    Err(experiments::error::Error::from(error).into())
}

/// A line for each target, budget and method, over all seeds.
fn show(rows: &[Row<'_>], networks: &BTreeMap<usize, NetworkResult>, output: &mut Output) -> Result<()> {
    let mut groups: Vec<(&Row<'_>, Vec<&Row<'_>>)> = Vec::new();
    for row in rows {
        let same = |other: &Row<'_>| {
            let (a, b) = (&row.planned.point, &other.planned.point);
            a.target == b.target
                && a.bundle == b.bundle
                && a.predictor == b.predictor
                && a.budget == b.budget
                && a.method == b.method
        };
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, members)) => members.push(row),
            None => groups.push((row, vec![row])),
        }
    }
    let has_predictors = rows.iter().any(|row| row.planned.point.predictor.is_some());
    let lines = groups.iter().map(|(first, members)| {
        let point = &first.planned.point;
        let all = |path: &str| -> Vec<f64> { members.iter().filter_map(|row| row.number_at(path)).collect() };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let scores = all("top1");
        let cost = |path: &str, unit: &str| match all(path) {
            values if values.is_empty() => String::new(),
            values => format!("{:.3} {unit}", mean(&values)),
        };
        let with_spread = |values: &[f64], none: &str| match values {
            [] => none.to_owned(),
            [one] => percent(*one),
            several => {
                let spread = several.iter().fold(0.0_f64, |most, x| most.max((x - mean(several)).abs()));
                format!("{} ± {:.2}", percent(mean(several)), 100.0 * spread)
            }
        };
        let top1 = with_spread(&scores, first.record.status.name());
        let measured: Vec<f64> =
            members.iter().filter_map(|row| Some(networks.get(&row.number)?.measured.top1)).collect();
        let mut cells = vec![
            point.target.clone(),
            first.bundle().to_owned(),
            point.budget.to_string(),
            point.method.name().to_owned(),
            top1,
            cost("costs.energy_mj.value", "mJ"),
            cost("costs.latency_ms.value", "ms"),
            match all("costs.macs") {
                values if values.is_empty() => String::new(),
                values => format!("{:.1} M", mean(&values) / 1e6),
            },
            members.len().to_string(),
        ];
        if has_predictors {
            cells.insert(2, point.predictor.clone().unwrap_or_else(|| "default".to_owned()));
        }
        if !networks.is_empty() {
            cells.push(with_spread(&measured, ""));
        }
        cells
    });
    let lines: Vec<Vec<String>> = lines.collect();
    let mut header =
        vec!["target", "bundle", "budget", "method", "top-1 predicted", "energy", "latency", "MACs", "seeds"];
    if has_predictors {
        header.insert(2, "predictor");
    }
    let part = networks.values().next().map(|made| format!("top-1, {}", made.measured.part));
    header.extend(part.as_deref());
    output.table(&header, lines)
}

fn status(out: &Path, output: &mut Output) -> Result<()> {
    let folder = SweepFolder::at(out);
    let plan = SweepPlan::new(&folder.file(), Some(out))?;
    let states = plan.states(&folder)?;
    let outlook = outlook(&states);
    let count = |wanted: Status| states.iter().filter(|state| **state == State::There(wanted)).count();
    let computed = folder.computed();
    let twice = computed.len() - computed.iter().collect::<std::collections::BTreeSet<_>>().len();
    let rows = table::rows(&plan, &folder)?;
    let (networks, all) = networks::results(&plan, &folder, &rows)?;
    let made = networks.values().map(|made| &made.folder).collect::<std::collections::BTreeSet<_>>().len();
    if output.is_json() {
        return output.json(&json!({
            "sweep": plan.name, "points": plan.points.len(), "found": count(Status::Found),
            "infeasible": count(Status::Infeasible), "missing": outlook.missing,
            "changed": outlook.to_compute() - outlook.missing, "computed": computed.len(), "computed_twice": twice,
            "networks": all, "networks_made": made, "stages_before": plan.stages(),
        }));
    }
    show(&rows, &networks, output)?;
    output.rows(&[
        ("points".to_owned(), plan.points.len().to_string()),
        ("found".to_owned(), count(Status::Found).to_string()),
        ("nothing fits".to_owned(), count(Status::Infeasible).to_string()),
        ("to compute".to_owned(), outlook.to_compute().to_string()),
    ])?;
    if all > 0 {
        output.line(format!("{made} of {all} networks are made"))?;
    }
    plan.stages().iter().try_for_each(|stage| output.line(format!("before that: {stage}")))?;
    outlook.reasons().into_iter().try_for_each(|reason| output.line(reason))
}

fn merge(out: &Path, others: &[std::path::PathBuf], output: &mut Output) -> Result<()> {
    let first = match (out.join("sweep.yaml").exists(), others.first()) {
        (false, Some(other)) => SweepFolder::at(other).file(),
        _ => SweepFolder::at(out).file(),
    };
    let plan = SweepPlan::new(&first, Some(out))?;
    // All can be used, or nothing is written.
    others.iter().try_for_each(|other| match plan.prepares() {
        // Which points it has follows from the bundles and predictors that were made there.
        true => SweepPlan::new(&first, Some(other))?.check_part(&SweepFolder::at(other)),
        false => plan.check_part(&SweepFolder::at(other)),
    })?;
    let folder = SweepFolder::create(out, &first)?;
    for other in others {
        folder.take_over(&SweepFolder::at(other))?;
    }
    let plan = SweepPlan::new(&first, Some(out))?;
    let rows = table::rows(&plan, &folder)?;
    let (networks, _) = networks::results(&plan, &folder, &rows)?;
    let path = table::write(&plan.name, &rows, &networks, &folder)?;
    if output.is_json() {
        return output.json(&json!({"points": plan.points.len(), "there": rows.len(), "table": as_text(&path)}));
    }
    output.line(format!("{} of {} points, written to {}", rows.len(), plan.points.len(), path.display()))
}
