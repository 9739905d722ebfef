//! `ofa refine`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use experiments::torch::{self, DataSource, RefineRequest, RefineSubnetRequest};
use network::units::Quantity;
use search::refine::adapt::Winner;
use serde_json::json;

use super::set_threads;
use crate::args::{RefineArgs, WinnerArg};
use crate::interrupt::stop_flag;
use crate::next;
use crate::output::{Output, percent, share};
use crate::progress::TrainProgress;

pub(crate) fn run(mut args: RefineArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    match (args.network.take(), args.data.take(), args.supernet.take(), args.subnet.take()) {
        (Some(network), Some(data), ..) => of_network(args, network, data, output),
        (_, data, Some(supernet), Some(subnet)) => in_supernet(args, data, supernet, subnet, output),
        _ => unreachable!("clap asks for one or the other"),
    }
}

fn of_network(args: RefineArgs, network: PathBuf, data: DataSource, output: &mut Output) -> Result<()> {
    let request = RefineRequest {
        network,
        target: args.target,
        extrapolate: args.extrapolate,
        budget: args.budget.budget()?,
        data,
        recipe: args.tuning.recipe,
        overrides: args.tuning.overrides,
        initial_reduction: args.initial_reduction.unwrap_or(0.025),
        decay: args.decay.unwrap_or(0.96),
        iterations: usize::try_from(args.iterations).unwrap_or(usize::MAX),
        step: args.step,
        winner: match args.winner {
            WinnerArg::Accuracy => Winner::Accuracy,
            WinnerArg::DropPerSaving => Winner::DropPerSaving,
        },
        uniform: args.uniform,
        short_steps: args.short_steps,
        epochs: args.epochs,
        out: args.out,
        resume: args.resume,
        save_every: Duration::from_secs(args.tuning.save_every),
        energy: args.tuning.power.settings(),
        device: args.compute.device,
    };
    let mut progress = TrainProgress::new(output);
    let refined = torch::refine(&request, stop_flag(), &mut progress)?;
    drop(progress);
    if output.is_json() {
        let mut result = refined.to_json();
        result["energy"] = json!(refined.energy);
        return output.json(&result);
    }
    let mut rows = vec![("steps".to_owned(), refined.steps.to_string())];
    rows.extend(costs(&refined.costs));
    rows.extend(interpolated(refined.interpolated));
    rows.push(("held-out, before".to_owned(), percent(refined.before)));
    rows.push(("held-out, after".to_owned(), share(refined.held_out.top1, refined.held_out.images)));
    rows.push((refined.part.name().to_owned(), share(refined.tested.top1, refined.tested.images)));
    rows.extend(refined.energy.spent_rows());
    output.rows(&rows)?;
    output.next(&next::export(&refined.folder, Some(&request.data.to_string()), false))
}

fn in_supernet(
    args: RefineArgs,
    data: Option<DataSource>,
    supernet: String,
    subnet: PathBuf,
    output: &mut Output,
) -> Result<()> {
    let request = RefineSubnetRequest {
        supernet,
        subnet,
        target: args.target,
        extrapolate: args.extrapolate,
        budget: args.budget.budget()?,
        data,
        judged_by_images: true,
        initial_reduction: args.initial_reduction.unwrap_or(0.05),
        decay: args.decay.unwrap_or(1.0),
        iterations: usize::try_from(args.iterations).unwrap_or(usize::MAX),
        step: args.step,
        shortlist: usize::try_from(args.shortlist).unwrap_or(usize::MAX),
        out: args.out,
        resume: args.resume,
        device: args.compute.device,
    };
    let mut progress = TrainProgress::new(output);
    let refined = torch::refine_subnet(&request, stop_flag(), &mut progress)?;
    drop(progress);
    if output.is_json() {
        return output.json(&refined.to_json());
    }
    let steps = if refined.upwards { "steps, upwards" } else { "steps" };
    let mut rows = vec![(steps.to_owned(), refined.steps.to_string())];
    rows.extend(costs(&refined.costs));
    rows.extend(interpolated(refined.interpolated));
    let (before, after) = refined.predicted;
    rows.push(("predicted".to_owned(), format!("{} (was {})", percent(after), percent(before))));
    if let Some(measured) = &refined.tested {
        rows.push(("held-out".to_owned(), share(measured.held_out.top1, measured.held_out.images)));
        rows.push((measured.part.name().to_owned(), share(measured.tested.top1, measured.tested.images)));
    }
    output.rows(&rows)?;
    let data = request.data.as_ref().map(ToString::to_string);
    output.next(&next::export(&refined.folder, data.as_deref(), false))
}

/// For how many operators the target has no cost of its own, where there are any.
fn interpolated(operators: usize) -> Option<(String, String)> {
    let words = format!("the costs of {operators} operators lie between those of widths that the target knows");
    (operators > 0).then(|| ("interpolated".to_owned(), words))
}

/// What each limited quantity comes to.
fn costs(costs: &[(Quantity, f64, f64)]) -> impl Iterator<Item = (String, String)> {
    costs.iter().map(|(quantity, before, after)| {
        (quantity.name().to_owned(), format!("{} (was {})", quantity.format(*after), quantity.format(*before)))
    })
}
