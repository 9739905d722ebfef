//! `ofa calibration`.

use anyhow::Result;
use experiments::torch::{self, BundleUse};
use network::units::Quantity;
use serde_json::json;

use super::set_threads;
use crate::args::{CalibrationArgs, CalibrationCommand};
use crate::interrupt::stop_flag;
use crate::next::{self, SearchIn};
use crate::output::{Output, as_text, percent};

pub(crate) fn run(command: CalibrationCommand, output: &mut Output) -> Result<()> {
    match command {
        CalibrationCommand::Make { on, steps } => make(&on, steps as usize, output),
        CalibrationCommand::Compare { on, n, seed } => compare(&on, n, seed, output),
    }
}

fn bundle(args: &CalibrationArgs) -> BundleUse<'_> {
    set_threads(args.compute.threads);
    BundleUse { bundle: &args.supernet, data: Some(&args.data), device: args.compute.device }
}

fn make(args: &CalibrationArgs, steps: usize, output: &mut Output) -> Result<()> {
    let bar = output.progress(steps as u64, "{bar:40} {pos}/{len} updates, {per_sec}, {eta} left {msg}");
    bar.set_message("(first, the statistics of real images)");
    let made = torch::make_calibration(&bundle(args), steps, &stop_flag(), &mut |step, mismatch| {
        bar.set_position(step as u64);
        bar.set_message(format!("(mismatch {mismatch:.6})"));
    })?;
    bar.finish_and_clear();
    if output.is_json() {
        return output.json(&json!({"images": made.images, "folder": as_text(&made.folder)}));
    }
    output.line(format!("{} images are in {}", made.images, made.folder.display()))?;
    output.next(&next::front(&SearchIn::Bundle(&args.supernet), None, Quantity::Latency))
}

fn compare(args: &CalibrationArgs, count: usize, seed: u64, output: &mut Output) -> Result<()> {
    let comparison = torch::compare_calibrations(&bundle(args), count, seed)?;
    if output.is_json() {
        return comparison.rows.iter().try_for_each(|row| {
            output.json(&json!({
                "subnet": row.subnet,
                "top1_real": row.real.top1,
                "top1_own": row.made.top1,
                "points": row.difference(),
            }))
        });
    }
    let rows = comparison.rows.iter().map(|row| {
        vec![
            row.arch.resolution().to_string(),
            percent(row.real.top1),
            percent(row.made.top1),
            format!("{:+.2}", row.difference()),
        ]
    });
    output.table(&["resolution", "top-1, real images", "top-1, own images", "points"], rows.collect())?;
    output.line(format!("mean {:+.2}, at most {:.2} points apart", comparison.mean(), comparison.worst()))
}
