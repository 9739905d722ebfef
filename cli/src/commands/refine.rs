//! `ofa refine`.

use std::time::Duration;

use anyhow::Result;
use experiments::torch::{self, RefineRequest};
use search::refine::adapt::Winner;

use super::set_threads;
use crate::args::{RefineArgs, WinnerArg};
use crate::interrupt::stop_flag;
use crate::output::{Output, percent, share};
use crate::progress::TrainProgress;

pub(crate) fn run(args: RefineArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let request = RefineRequest {
        network: args.network,
        target: args.target,
        extrapolate: args.extrapolate,
        budget: args.budget.budget()?,
        data: args.data,
        recipe: args.tuning.recipe,
        overrides: args.tuning.overrides,
        initial_reduction: args.initial_reduction,
        decay: args.decay,
        iterations: usize::try_from(args.iterations).unwrap_or(usize::MAX),
        step: args.step,
        winner: match args.winner {
            WinnerArg::Accuracy => Winner::Accuracy,
            WinnerArg::DropPerSaving => Winner::DropPerSaving,
        },
        short_steps: args.short_steps,
        epochs: args.epochs,
        out: args.out,
        resume: args.resume,
        save_every: Duration::from_secs(args.tuning.save_every),
        device: args.compute.device,
    };
    let mut progress = TrainProgress::new(output);
    let refined = torch::refine(&request, stop_flag(), &mut progress)?;
    drop(progress);
    if output.is_json() {
        return output.json(&refined.to_json());
    }
    let mut rows = vec![("steps".to_owned(), refined.steps.to_string())];
    rows.extend(refined.costs.iter().map(|(quantity, before, after)| {
        (quantity.name().to_owned(), format!("{} (was {})", quantity.format(*after), quantity.format(*before)))
    }));
    rows.push(("held-out, before".to_owned(), percent(refined.before)));
    rows.push(("held-out, after".to_owned(), share(refined.held_out.top1, refined.held_out.images)));
    rows.push((refined.part.name().to_owned(), share(refined.tested.top1, refined.tested.images)));
    output.rows(&rows)?;
    let (folder, data) = (refined.folder.display().to_string(), request.data.to_string());
    output.next(&["eval", "--network", &folder, "--data", &data])
}
