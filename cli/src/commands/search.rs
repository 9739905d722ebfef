//! `ofa search`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use experiments::error::Error;
use experiments::search::inputs::BundleChoice;
use experiments::search::plan::{SearchPlan, SearchRequest, Weights};
use experiments::search::report::{AdditivePart, FoundSubnet, SearchHeader, SearchReport};
use experiments::torch;
use hw_targets::cost::{CostValue, Method, Scope};
use hw_targets::target::Target;
use network::units::{Bytes, Joules, Measured, Quantity};
use search::arch::ArchSpec;
use search::nsga2::Objective;

use super::set_threads;
use crate::args::{SearchArgs, WeightsForm};
use crate::hints::worded;
use crate::interrupt::stop_flag;
use crate::output::{Output, percent, share};

pub(crate) fn run(args: &SearchArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let stop = stop_flag();
    if args.targets.is_empty() {
        let report = search(args, args.target.as_deref(), args.out.clone(), &stop, output)?;
        print(&report, output)?;
        return next(args, &report, output);
    }
    run_each(args, &stop, output)
}

/// What usually follows: looking at the network that was written.
fn next(args: &SearchArgs, report: &SearchReport, output: &mut Output) -> Result<()> {
    let Some(out) = args.out.as_ref().filter(|_| torch::IS_THERE && report.header.bundle.is_some()) else {
        return Ok(());
    };
    let data = args.data.as_ref().map_or("DATA".to_owned(), ToString::to_string);
    output.next(&["eval", "--network", &out.display().to_string(), "--data", &data])
}

/// One search per target. One that fails does not keep the others from answering; its error comes last.
fn run_each(args: &SearchArgs, stop: &AtomicBool, output: &mut Output) -> Result<()> {
    let mut rows = Vec::new();
    let mut scopes: Vec<(&str, Scope)> = Vec::new();
    let mut batches: Vec<(&str, u32)> = Vec::new();
    let mut failure = None;
    let names = experiments::target::list::folder_names(&args.targets)?;
    for (target, name) in args.targets.iter().zip(names) {
        let folder = args.out.as_ref().map(|out| out.join(name));
        match search(args, Some(target), folder, stop, output) {
            Ok(report) => {
                let measured = report.found.first().and_then(|found| found.cost.energy.or(found.cost.latency));
                batches.extend(measured.map(|cost| (target.as_str(), cost.batch)));
                let energy = report.found.first().and_then(|found| found.cost.energy.as_ref());
                scopes.extend(energy.map(|energy| (target.as_str(), energy.scope)));
                if output.is_json() {
                    print(&report, output)?;
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
    failure.map_or(Ok(()), |error| Err(error.into()))
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
) -> Result<SearchReport, Error> {
    let choice = BundleChoice {
        supernet: args.supernet.as_deref(),
        space: args.space.as_deref(),
        predictor: args.predictor.as_deref(),
    };
    let plan = SearchPlan::new(&SearchRequest {
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
    if let Some((folder, weights)) = plan.deliver(&report)? {
        match weights {
            Weights::Written => {}
            Weights::None => {
                output.say("note: a space and a predictor have no weights to extract; name a bundle with --supernet");
            }
            Weights::NoTorch => output.say("note: this build has no LibTorch, so no weights were extracted"),
        }
        output.say(format!("written to {}", folder.display()));
    }
    Ok(report)
}

fn say_notes(notes: &[String], output: &Output) {
    notes.iter().for_each(|note| output.say(format!("note: {}", worded(note))));
}

fn print(report: &SearchReport, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return report.found.iter().try_for_each(|found| output.json(&report.json(found)));
    }
    if report.front.is_some() {
        return print_front(report, output);
    }
    for (rank, found) in report.found.iter().enumerate() {
        if rank > 0 {
            output.line("")?;
        }
        let mut rows = found_rows(&report.header, found);
        if rank + 1 == report.found.len() {
            rows.push(row("search", search_words(report)));
        }
        output.rows(&rows)?;
    }
    Ok(())
}

/// Rows of a front that are shown to people; programs get all of it.
const SHOWN: usize = 20;

fn print_front(report: &SearchReport, output: &mut Output) -> Result<()> {
    let known = |quantity: Quantity| match quantity {
        Quantity::Flash | Quantity::PeakMemory => {
            report.header.budget.limit(quantity).is_some()
                || report.header.objectives.contains(&Objective::Cost(quantity))
        }
        _ => report.found.first().is_some_and(|found| found.cost.value(quantity).is_some()),
    };
    let quantities: Vec<Quantity> = Quantity::ALL.into_iter().filter(|quantity| known(*quantity)).collect();
    let exact = report.grid_step.is_some();
    let mut header = vec!["top-1"];
    header.extend(exact.then_some("at most"));
    header.extend(quantities.iter().map(|quantity| quantity.name()));
    header.push("resolution");
    let row = |found: &FoundSubnet| {
        let cost = |quantity: &Quantity| quantity.format(found.cost.value(*quantity).unwrap_or(f64::NAN));
        let mut row = vec![percent(found.top1)];
        row.extend(found.additive.filter(|_| exact).map(|part| percent(part.bound)));
        row.extend(quantities.iter().map(cost));
        row.push(format!("{} px", found.arch.resolution()));
        row
    };
    let count = report.found.len();
    let places = (0..SHOWN.min(count)).map(|place| place * (count - 1) / (SHOWN.min(count) - 1).max(1));
    output.table(&header, places.map(|place| row(&report.found[place])).collect())?;
    let all = if count > SHOWN {
        format!("{SHOWN} of the {count} subnets of the front; --format json prints all. ")
    } else {
        String::new()
    };
    let volume = report.front.as_ref().map_or(0.0, |front| front.hypervolume);
    output.say(format!("{all}Predicted top-1; hypervolume {volume:.6}; {}", search_words(report)));
    if let Some((quantity, step)) = report.grid_step {
        output.say(format!(
            "certified: no subnet of that {} has a higher prediction than `at most` says; costs counted in steps of {}",
            quantity.name(),
            quantity.format(step)
        ));
    }
    Ok(())
}

fn row(label: &str, value: String) -> (String, String) {
    (label.to_owned(), value)
}

fn found_rows(header: &SearchHeader, found: &FoundSubnet) -> Vec<(String, String)> {
    let spread = found.spread.map_or(String::new(), |spread| format!(", its members differ by {}", percent(spread)));
    let mut rows = vec![row("top-1", format!("{} (predicted{spread})", percent(found.top1)))];
    rows.extend(found.verified.map(|verified| {
        row("", format!("{} (measured on {} held-out images)", share(verified.top1, verified.images), verified.images))
    }));
    for quantity in Measured::ALL {
        let (Some(cost), Some(target)) = (found.cost.measured(quantity), &header.target) else { continue };
        rows.push(row(quantity.name(), cost_words(quantity, cost)));
        rows.extend(equivalence(header, target, quantity).map(|words| row("", words)));
        rows.extend(target.explanation(quantity).map(|words| row("", words.to_owned())));
    }
    if let Some(AdditivePart { score, bound }) = found.additive {
        let words = format!(
            "{}, at most {} within the budget (certified gap {} points)",
            percent(score),
            percent(bound),
            format_args!("{:.3}", 100.0 * (bound - score))
        );
        rows.push(row("additive part", words));
    }
    rows.push(row("MACs", found.cost.macs.to_string()));
    rows.push(row("parameters", found.cost.params.to_string()));
    for (quantity, bytes) in [(Quantity::Flash, found.cost.flash), (Quantity::PeakMemory, found.cost.peak_memory)] {
        if let Some(limit) = header.budget.limit(quantity) {
            rows.push(row(quantity.name(), format!("{bytes} (int8) of {}", quantity.format(limit))));
        }
    }
    rows.push(row("resolution", format!("{} px", found.arch.resolution())));
    rows.extend(stage_rows(&found.arch));
    rows
}

/// `49.2 mJ ± 23.1 mJ, ×/÷ 1.6 (derived_power on fitted, grade C, scope above_idle)`.
fn cost_words(quantity: Measured, cost: &CostValue) -> String {
    let factor = cost.factor.map_or(String::new(), |factor| format!(", ×/÷ {factor}"));
    let batch = if cost.batch == 1 { String::new() } else { format!(" per batch of {}", cost.batch) };
    let mut basis = if cost.basis == cost.method { String::new() } else { format!(" on {}", cost.basis) };
    if cost.fitted && ![cost.method, cost.basis].contains(&Method::Fitted) {
        basis.push_str(", in part fitted");
    }
    let outside = match cost.outside {
        0 => String::new(),
        1 => "; 1 operator is outside the fitted range".to_owned(),
        count => format!("; {count} operators are outside the fitted range"),
    };
    format!(
        "{} ± {}{factor}{batch} ({}{basis}, grade {}, scope {}{outside})",
        quantity.format(cost.value),
        quantity.format(cost.sigma()),
        cost.method,
        cost.grade,
        cost.scope,
    )
}

/// Where energy is latency times a power: what the budget amounts to.
fn equivalence(header: &SearchHeader, target: &Target, quantity: Measured) -> Option<String> {
    let budget = Joules(header.budget.limit(Quantity::Energy).filter(|_| quantity == Measured::Energy)?);
    Some(format!("{budget} ≡ {} here", target.latency_equivalent(budget)?))
}

/// One line per stage: `stage 1  depth 2: k5 e4, k3 e2`.
fn stage_rows(arch: &ArchSpec) -> Vec<(String, String)> {
    let stages = arch.stages().iter().enumerate().map(|(index, stage)| {
        let blocks: Vec<String> =
            stage.blocks.iter().map(|block| format!("k{} e{}", block.kernel, block.expand)).collect();
        (format!("stage {}", index + 1), format!("depth {}: {}", blocks.len(), blocks.join(", ")))
    });
    stages.collect()
}

fn search_words(report: &SearchReport) -> String {
    let header = &report.header;
    let from = match &header.bundle {
        Some(bundle) => format!("bundle {bundle}"),
        None => format!("space {}", header.space.id()),
    };
    let resolutions: Vec<String> = report.resolutions.iter().map(u32::to_string).collect();
    let all = if report.exhaustive { ", which is every subnet that fits" } else { "" };
    format!(
        "{} evaluations, all distinct{all}, in {:.1} s; {from}, resolutions {}, seed {}",
        report.evaluations,
        report.seconds,
        resolutions.join(", "),
        header.seed,
    )
}
