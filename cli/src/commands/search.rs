//! `ofa search`.

mod blocks;
mod screen;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use experiments::error::Error;
use experiments::search::inputs::BundleChoice;
use experiments::search::plan::{SearchPlan, SearchRequest, Weights};
use experiments::search::report::{FoundSubnet, SearchHeader, SearchReport};
use experiments::torch;
use hw_targets::cost::Scope;
use network::units::{Bytes, Measured, Quantity};
use search::nsga2::Objective;

use super::set_threads;
use crate::args::{SearchArgs, WeightsForm};
use crate::hints::worded;
use crate::interrupt::stop_flag;
use crate::next;
use crate::output::{Output, percent};

pub(crate) fn run(args: &SearchArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let stop = stop_flag();
    if args.targets.is_empty() {
        let (report, weights) = search(args, args.target.as_deref(), args.out.clone(), &stop, output)?;
        screen::print(&report, &files(args, &report.header, weights), output)?;
        return next_of(args, &report, weights).map_or(Ok(()), |words| output.next(&words));
    }
    run_each(args, &stop, output)
}

/// What was written, or how to have it written.
fn files(args: &SearchArgs, header: &SearchHeader, weights: Option<Weights>) -> String {
    match (&args.out, weights) {
        (Some(out), Some(Weights::Written)) => {
            format!("{}: weights, how to feed them, every evaluation", out.display())
        }
        (Some(out), _) => format!("{}: the result and every evaluation, no weights", out.display()),
        (None, _) if header.bundle.is_none() || !torch::is_within_reach() => {
            "none; --out FOLDER writes the result and every evaluation".to_owned()
        }
        (None, _) => "none; --out FOLDER writes the weights and how to feed them".to_owned(),
    }
}

/// What usually follows: having the network written, and then as a file that others run.
fn next_of(args: &SearchArgs, report: &SearchReport, weights: Option<Weights>) -> Option<next::Words> {
    let header = &report.header;
    let data = args.data.as_ref().map(ToString::to_string);
    let has_images = args.data.is_some() || header.has_calibration;
    if report.front.is_some() {
        let cost = header.objectives.iter().find_map(|objective| match objective {
            Objective::Cost(quantity) => Some(*quantity),
            Objective::Score => None,
        });
        let cost = cost.or_else(|| report.limits.first().map(|limit| limit.quantity))?;
        let middle = report.found.get(report.found.len() / 2)?.cost.value(cost)?;
        if args.budget.limits(cost) || args.verify.is_some() || args.out.is_some() {
            return None;
        }
        let line = next::within(line(), cost, middle);
        return Some(if header.bundle.is_some() { written(line.into_iter(), has_images) } else { line });
    }
    match (&args.out, weights) {
        (Some(out), Some(Weights::Written)) => Some(next::export(out, data.as_deref(), false)),
        (None, _) if header.bundle.is_some() && torch::is_within_reach() => Some(written(line(), has_images)),
        _ => None,
    }
}

/// The words after `ofa` that asked for this.
fn line() -> impl Iterator<Item = String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned())
}

fn written(line: impl Iterator<Item = String>, has_images: bool) -> next::Words {
    next::again_written(line, has_images, |name| Path::new(name).exists())
}

/// One search per target. One that fails does not keep the others from answering; its error comes last.
fn run_each(args: &SearchArgs, stop: &AtomicBool, output: &mut Output) -> Result<()> {
    let mut rows = Vec::new();
    let mut scopes: Vec<(&str, Scope)> = Vec::new();
    let mut batches: Vec<(&str, u32)> = Vec::new();
    let mut failure = None;
    let mut ends = Vec::new();
    let names = experiments::target::list::folder_names(&args.targets)?;
    for (target, name) in args.targets.iter().zip(names) {
        let folder = args.out.as_ref().map(|out| out.join(name));
        match search(args, Some(target), folder.clone(), stop, output) {
            Ok((report, weights)) => {
                let (is_of_bundle, has_images) = (report.header.bundle.is_some(), report.header.has_calibration);
                ends.push(End { folder, weights, is_of_bundle, has_images });
                let measured = report.found.first().and_then(|found| found.cost.energy.or(found.cost.latency));
                batches.extend(measured.map(|cost| (target.as_str(), cost.batch)));
                let energy = report.found.first().and_then(|found| found.cost.energy.as_ref());
                scopes.extend(energy.map(|energy| (target.as_str(), energy.scope)));
                if output.is_json() {
                    screen::print(&report, "", output)?;
                } else {
                    rows.extend(report.found.iter().map(|found| row_of(target, &report.header, found)));
                }
            }
            Err(_) if stop.load(Ordering::Relaxed) => return Err(Error::Interrupted.into()),
            Err(error) => {
                output.say(format!("note: nothing for {target}"));
                failure.get_or_insert(error.within(format!("target {target}")));
            }
        }
    }
    if !rows.is_empty() {
        let header = [
            "target",
            "top-1 predicted",
            "measured",
            "energy",
            "scope",
            "latency",
            "MACs",
            "parameters",
            "flash",
            "peak-memory",
            "resolution",
        ];
        // Nobody asked for what is nowhere known.
        let shown: Vec<usize> = (0..header.len()).filter(|&at| rows.iter().any(|row| !row[at].is_empty())).collect();
        let pick = |row: &Vec<String>| shown.iter().map(|&at| row[at].clone()).collect();
        let header: Vec<&str> = shown.iter().map(|&at| header[at]).collect();
        output.table(&header, rows.iter().map(pick).collect())?;
    }
    say_scopes(&scopes, output);
    say_batches(&batches, output);
    match failure {
        Some(error) => Err(error.into()),
        None => next_of_each(args, &ends, output),
    }
}

/// Having all networks written, and then the first of them as a file that others run.
fn next_of_each(args: &SearchArgs, ends: &[End], output: &mut Output) -> Result<()> {
    let data = args.data.as_ref().map(ToString::to_string);
    match ends.first() {
        Some(End { folder: Some(folder), weights: Some(Weights::Written), .. }) => {
            output.next(&next::export(folder, data.as_deref(), false))
        }
        Some(End { folder: None, .. }) if torch::is_within_reach() && ends.iter().all(|end| end.is_of_bundle) => {
            output.next(&written(line(), data.is_some() || ends.iter().all(|end| end.has_images)))
        }
        _ => Ok(()),
    }
}

/// How one of several searches ended.
struct End {
    folder: Option<PathBuf>,
    weights: Option<Weights>,
    is_of_bundle: bool,
    has_images: bool,
}

/// What was found for one of several targets, as a row.
fn row_of(target: &str, header: &SearchHeader, found: &FoundSubnet) -> Vec<String> {
    let device = |quantity: Measured| {
        found.cost.measured(quantity).map_or("not known".to_owned(), |cost| quantity.format(cost.value))
    };
    let memory =
        |quantity: Quantity, bytes: Bytes| header.budget.limit(quantity).map_or(String::new(), |_| bytes.to_string());
    vec![
        target.to_owned(),
        percent(found.top1),
        found.verified.map_or(String::new(), |verified| percent(verified.top1)),
        device(Measured::Energy),
        found.cost.energy.as_ref().map_or(String::new(), |energy| energy.scope.to_string()),
        device(Measured::Latency),
        found.cost.macs.to_string(),
        found.cost.params.to_string(),
        memory(Quantity::Flash, found.cost.flash),
        memory(Quantity::PeakMemory, found.cost.peak_memory),
        format!("{} px", found.arch.resolution()),
    ]
}

/// Costs of so many images each must not be ranked either.
fn say_batches(batches: &[(&str, u32)], output: &Output) {
    if batches.windows(2).any(|pair| pair[0].1 != pair[1].1) {
        let words: Vec<String> = batches.iter().map(|(target, batch)| format!("{batch} on {target}")).collect();
        output.say(format!("note: costs of different batches are not comparable: per batch of {}", words.join(", ")));
    }
}

/// Energies of several targets stand beside each other, in the order that the targets were given in. Where they include
/// different things, they must not be ranked.
fn say_scopes(scopes: &[(&str, Scope)], output: &Output) {
    if scopes.windows(2).any(|pair| pair[0].1 != pair[1].1) {
        let words: Vec<String> = scopes.iter().map(|(target, scope)| format!("{scope} on {target}")).collect();
        output.say(format!("note: energies of different scope are not comparable: {}", words.join(", ")));
    }
}

/// Searches for one target and writes what was asked for.
fn search(
    args: &SearchArgs,
    target: Option<&str>,
    out: Option<PathBuf>,
    stop: &AtomicBool,
    output: &mut Output,
) -> Result<(SearchReport, Option<Weights>), Error> {
    let choice = BundleChoice {
        supernet: args.supernet.as_deref(),
        space: args.space.as_deref(),
        predictor: args.predictor.as_deref(),
    };
    let mut plan = SearchPlan::new(&SearchRequest {
        target,
        extrapolate: args.extrapolate,
        choice,
        budget: args.budget.budget()?,
        algorithm: args.algorithm,
        objectives: &args.objectives,
        start: args.start.as_deref(),
        evaluations: args.evaluations,
        time: args.time,
        confidence: args.confidence,
        seed: args.seed,
        top: args.top as usize,
        verify: args.verify.map(|count| count as usize),
        data: args.data.as_ref(),
        device: args.compute.device,
        out,
        form: match args.to {
            WeightsForm::Safetensors => torch::WeightsForm::Tensors,
            WeightsForm::Torchscript => torch::WeightsForm::TorchScript,
            WeightsForm::Pointer => torch::WeightsForm::Pointer,
        },
    })?;
    say_notes(plan.notes(), output);
    let template = "{bar:40} {pos}/{len} evaluations, {per_sec}, {eta} left";
    let bar = output.progress(plan.evaluations() as u64, template);
    let mut report = plan.run(stop, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    plan.verify(&mut report)?;
    say_notes(&report.notes, output);
    let delivered = plan.deliver(&report)?;
    if let Some((folder, weights)) = delivered {
        match weights {
            Weights::Written => {}
            Weights::None => {
                output.say("note: a space and a predictor have no weights to extract; name a bundle with --supernet");
            }
            Weights::NoTorch => output.say("note: this build has no LibTorch, so no weights were extracted"),
        }
        if output.is_json() || !args.targets.is_empty() {
            output.say(format!("written to {}", folder.display()));
        }
    }
    Ok((report, delivered.map(|(_, weights)| weights)))
}

fn say_notes(notes: &[String], output: &Output) {
    notes.iter().for_each(|note| output.say(format!("note: {}", worded(note))));
}
