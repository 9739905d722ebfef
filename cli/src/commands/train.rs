//! `ofa train`.

use std::time::Duration;

use anyhow::Result;
use experiments::folders::names::BUNDLE;
use experiments::torch::{self, DryRun, PlannedPhase, TrainRequest, Trained};
use serde_json::json;

use super::set_threads;
use crate::args::TrainArgs;
use crate::interrupt::stop_flag;
use crate::next;
use crate::output::{Output, as_text, duration};
use crate::progress::TrainProgress;
use crate::ranks;

pub(crate) fn run(args: TrainArgs, output: &mut Output) -> Result<()> {
    if let Some(processes) = args.nproc.filter(|processes| *processes > 1) {
        return ranks::launch(processes, args.compute.threads.threads.is_some());
    }
    set_threads(args.compute.threads);
    let request = TrainRequest {
        recipe: args.recipe,
        overrides: args.overrides,
        data: args.data,
        out: args.out,
        resume: args.resume,
        save_every: Duration::from_secs(args.save_every),
        measure_every: args.measure_every,
        energy: args.energy.settings(),
        revision: env!("OFA_REVISION"),
        device: args.compute.device,
        in_group: !args.dry_run,
    };
    let mut progress = TrainProgress::new(output);
    if args.dry_run {
        let planned = torch::dry_run(&request, &stop_flag(), &mut progress)?;
        drop(progress);
        return show(&planned, output);
    }
    let trained = torch::train(&request, &stop_flag, &mut progress)?;
    drop(progress);
    // The first of several processes speaks for all.
    let Some(Trained { parameters, energy }) = trained else { return Ok(()) };
    if output.is_json() {
        return output.json(&json!({"run": as_text(&request.out), "parameters": parameters, "energy": energy}));
    }
    output.line(format!("trained; the run is in {}", request.out.display()))?;
    output.rows(&energy.rows())?;
    let run = request.out.display().to_string();
    let pairs = request.out.join(BUNDLE).join("accuracy.parquet");
    let data = request.data.map(|data| data.to_string());
    output.next(&next::collect(&run, data.as_deref(), &pairs))
}

/// What a run would do and take.
fn show(planned: &DryRun, output: &mut Output) -> Result<()> {
    if output.is_json() {
        return output.json(&planned.to_json());
    }
    let header = ["phase", "epochs", "steps", "subnets", "px", "M MACs/image", "s/step", "time"];
    output.table(&header, planned.phases.iter().map(cells).collect())?;
    let row = |label: &str, value: String| (label.to_owned(), value);
    let [train, held_out, test] = planned.images;
    let timed = planned.phases.iter().filter(|phase| phase.is_timed).count();
    let others = planned.phases.len() - timed;
    let others = if others > 0 { format!(", and of what the steps of {others} others compute") } else { String::new() };
    let memory = &planned.memory;
    let mut rows = vec![
        row(
            "images",
            format!("{train} to train on, {held_out} held out, {test} to test with; {} classes", planned.classes),
        ),
        row("step", format!("{} images, {} on {}", planned.batch, planned.precision, planned.device)),
        row("parameters", format!("{:.2} M", planned.parameters as f64 / 1e6)),
        row("memory", format!("about {:.2} GB ({})", memory.bytes as f64 / 1e9, memory.what)),
        row(
            "time",
            format!("about {}: an estimate of some timed steps of {timed} phases{others}", duration(planned.seconds)),
        ),
        row(
            "",
            format!(
                "{} to read, {} to measure on test images at the end",
                duration(planned.preparation),
                duration(planned.report)
            ),
        ),
    ];
    rows.extend(planned.energy.spent_rows());
    output.rows(&rows)?;
    output.line("nothing was trained or written")
}

fn cells(phase: &PlannedPhase) -> Vec<String> {
    let sides: Vec<String> = phase.resolutions.iter().map(u32::to_string).collect();
    let most = if phase.may_end_early { "at most " } else { "" };
    let about = if phase.is_timed { "" } else { "~" };
    vec![
        phase.name.clone(),
        format!("{most}{}", phase.epochs),
        phase.steps.to_string(),
        phase.subnets.to_string(),
        match &sides[..] {
            [first, .., last] if sides.len() > 3 => format!("{first} to {last}"),
            few => few.join(", "),
        },
        format!("{:.1}", phase.macs_per_image / 1e6),
        format!("{about}{:.3}", phase.step_seconds),
        duration(phase.seconds),
    ]
}
