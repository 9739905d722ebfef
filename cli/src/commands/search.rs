//! `ofa search`.

use std::path::Path;

use anyhow::Result;
use experiments::search_job::{Candidates, Found, SearchJob, SearchReport, Wish};
use experiments::targets;
use hw_targets::budget::Budget;
use hw_targets::cost::CostValue;
use hw_targets::target::Target;
use hw_targets::units::{Joules, Quantity};
use search::arch::ArchSpec;

use super::set_threads;
use crate::args::SearchArgs;
#[cfg(feature = "torch")]
use crate::args::WeightsForm;
use crate::interrupt::stop_flag;
use crate::output::{Output, percent};

pub(crate) fn run(args: &SearchArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let limits = args.budget;
    let budget = Budget::new(limits.energy, limits.latency, limits.macs, limits.params)?;
    let target = args.target.as_deref().map(targets::find).transpose()?;
    // Before files are read: a budget on what the target does not know is wrong whatever they hold.
    if let Some(target) = &target {
        budget.check_known(target)?;
    }
    let wish =
        Wish { supernet: args.supernet.as_deref(), space: args.space.as_deref(), predictor: args.predictor.as_deref() };
    let candidates = Candidates::choose(&wish, target.as_ref())?;
    let job = SearchJob {
        target,
        candidates,
        budget,
        evaluations: usize::try_from(args.evaluations)?,
        seed: args.seed,
        top: usize::try_from(args.top)?,
    };
    check_weights(args, &job)?;
    let stop = stop_flag();
    let bar = output.progress(args.evaluations, "{bar:40} {pos}/{len} evaluations, {per_sec}, {eta} left");
    let report = job.run(&stop, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    report.notes.iter().for_each(|note| output.say(format!("note: {note}")));
    if let Some(folder) = &args.out {
        report.save(&job, folder)?;
        deploy(args, &job, &report, folder, output)?;
        output.say(format!("written to {}", folder.display()));
    }
    for (rank, found) in report.found.iter().enumerate() {
        if output.is_json() {
            output.json(&report.json(&job, found))?;
            continue;
        }
        if rank > 0 {
            output.line("")?;
        }
        let mut rows = found_rows(&job, found);
        if rank + 1 == report.found.len() {
            rows.push(row("search", search_words(&job, &report)));
        }
        output.rows(&rows)?;
    }
    Ok(())
}

/// Writes the weights of the best subnet beside the result, where there is a bundle to take them from.
#[cfg(feature = "torch")]
fn deploy(args: &SearchArgs, job: &SearchJob, report: &SearchReport, folder: &Path, output: &Output) -> Result<()> {
    let Some(bundle) = &job.candidates.bundle else {
        output.say("note: a space and a predictor have no weights to extract; name a bundle with --supernet");
        return Ok(());
    };
    let data = args.data.as_deref().map(str::parse::<supernet::data::DataSource>).transpose()?;
    let device = super::prepare(&args.compute)?;
    let torchscript = args.to == WeightsForm::Torchscript;
    experiments::deploy::deploy(bundle, &report.found[0].arch, data.as_ref(), torchscript, folder, device)?;
    Ok(())
}

#[cfg(not(feature = "torch"))]
fn deploy(_: &SearchArgs, _: &SearchJob, _: &SearchReport, _: &Path, output: &Output) -> Result<()> {
    output.say("note: this build has no LibTorch, so no weights were extracted");
    Ok(())
}

/// What [`deploy`] will need: better missed before a search than after it.
#[cfg(feature = "torch")]
fn check_weights(args: &SearchArgs, job: &SearchJob) -> Result<()> {
    if let Some(data) = &args.data {
        data.parse::<supernet::data::DataSource>()?;
    }
    super::prepare(&args.compute)?;
    if let (Some(_), Some(bundle)) = (&args.out, &job.candidates.bundle) {
        bundle.supernet()?;
        if args.data.is_none() {
            bundle.calibration()?;
        }
    }
    Ok(())
}

#[cfg(not(feature = "torch"))]
fn check_weights(args: &SearchArgs, _: &SearchJob) -> Result<()> {
    match args.data {
        Some(_) => super::no_torch("calibrating weights"),
        None => Ok(()),
    }
}

fn row(label: &str, value: String) -> (String, String) {
    (label.to_owned(), value)
}

fn found_rows(job: &SearchJob, found: &Found) -> Vec<(String, String)> {
    let spread = found.spread.map_or(String::new(), |spread| format!(", its members differ by {}", percent(spread)));
    let mut rows = vec![row("top-1", format!("{} (predicted{spread})", percent(found.top1)))];
    for (quantity, cost) in [(Quantity::Energy, &found.cost.energy), (Quantity::Latency, &found.cost.latency)] {
        let (Some(cost), Some(target)) = (cost, &job.target) else { continue };
        rows.push(row(quantity.name(), cost_words(quantity, cost)));
        rows.extend(equivalence(job, target, quantity).map(|words| row("", words)));
        rows.extend(target.explanation(quantity).map(|words| row("", words.to_owned())));
    }
    rows.push(row("MACs", found.cost.macs.to_string()));
    rows.push(row("parameters", found.cost.params.to_string()));
    rows.push(row("resolution", format!("{} px", found.arch.resolution())));
    rows.extend(stage_rows(&found.arch));
    rows
}

/// `49.2 mJ ± 23.1 mJ, ×/÷ 1.6 (derived_power on fitted, grade C, scope above_idle)`.
fn cost_words(quantity: Quantity, cost: &CostValue) -> String {
    let factor = cost.factor.map_or(String::new(), |factor| format!(", ×/÷ {factor}"));
    let basis = if cost.basis == cost.method { String::new() } else { format!(" on {}", cost.basis) };
    let outside = match cost.outside {
        0 => String::new(),
        1 => "; 1 operator is outside the fitted range".to_owned(),
        count => format!("; {count} operators are outside the fitted range"),
    };
    format!(
        "{} ± {}{factor} ({}{basis}, grade {}, scope {}{outside})",
        quantity.format(cost.value),
        quantity.format(cost.sigma()),
        cost.method,
        cost.grade,
        cost.scope,
    )
}

/// Where energy is latency times a power: what the budget amounts to.
fn equivalence(job: &SearchJob, target: &Target, quantity: Quantity) -> Option<String> {
    let budget = Joules(job.budget.limit(Quantity::Energy).filter(|_| quantity == Quantity::Energy)?);
    Some(format!("{budget} ≡ {} here", target.latency_equivalent(budget)?))
}

/// One line per stage: `stage 1  2 blocks: k5 e4, k3 e2`.
fn stage_rows(arch: &ArchSpec) -> Vec<(String, String)> {
    let stages = arch.stages().iter().enumerate().map(|(index, stage)| {
        let blocks: Vec<String> =
            stage.blocks.iter().map(|block| format!("k{} e{}", block.kernel, block.expand)).collect();
        (format!("stage {}", index + 1), format!("depth {}: {}", blocks.len(), blocks.join(", ")))
    });
    stages.collect()
}

fn search_words(job: &SearchJob, report: &SearchReport) -> String {
    let candidates = &job.candidates;
    let from = match &candidates.bundle {
        Some(bundle) => format!("bundle {}", bundle.name()),
        None => format!("space {}", candidates.space.id()),
    };
    let resolutions: Vec<String> = report.resolutions.iter().map(u32::to_string).collect();
    let all = if report.exhaustive { ", which is every subnet that fits" } else { "" };
    format!(
        "{} evaluations, all distinct{all}, in {:.1} s; {from}, resolutions {}, seed {}",
        report.evaluations,
        report.seconds,
        resolutions.join(", "),
        job.seed,
    )
}
