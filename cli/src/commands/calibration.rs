//! `ofa calibration`.

use anyhow::Result;
use experiments::folders::bundle::Bundle;
use experiments::folders::image_settings::ImageSettings;
use experiments::training::compare_calibrations::compare_calibrations;
use experiments::training::make_calibration::{DistillPlan, make_for_bundle};
use search::space::SearchSpace;
use serde_json::json;
use supernet::data::DataSource;
use tch::Device;

use super::prepare;
use crate::args::{CalibrationArgs, CalibrationCommand};
use crate::output::{Output, percent};

pub(crate) fn run(command: CalibrationCommand, output: &mut Output) -> Result<()> {
    match command {
        CalibrationCommand::Make { on, steps } => make(&on, steps as usize, output),
        CalibrationCommand::Compare { on, n, seed } => judge(&on, n, seed, output),
    }
}

struct Subject {
    bundle: Bundle,
    space: SearchSpace,
    data: DataSource,
    device: Device,
}

impl Subject {
    fn of(args: &CalibrationArgs) -> Result<Self> {
        let data = args.data.parse()?;
        let bundle = Bundle::find(&args.supernet)?;
        bundle.supernet()?;
        Ok(Self { space: bundle.space()?, bundle, data, device: prepare(&args.compute)? })
    }
}

fn make(args: &CalibrationArgs, steps: usize, output: &mut Output) -> Result<()> {
    let Subject { bundle, space, data, device } = Subject::of(args)?;
    let settings = ImageSettings::of_bundle(bundle.folder())?;
    let plan = DistillPlan { steps, ..DistillPlan::for_native_size(settings.preprocessing.native_size, settings.seed) };
    let bar = output.progress(plan.steps as u64, "{bar:40} {pos}/{len} updates, {per_sec}, {eta} left {msg}");
    make_for_bundle(bundle.folder(), &space, &data, Some(plan), device, &mut |step| {
        bar.set_position(step.step as u64 + 1);
        bar.set_message(format!("(mismatch {:.6})", step.mismatch));
    })?;
    bar.finish_and_clear();
    let folder = bundle.calibration()?;
    if output.is_json() {
        return output.json(&json!({"images": plan.images, "folder": folder}));
    }
    output.line(format!("{} images are in {}", plan.images, folder.display()))
}

fn judge(args: &CalibrationArgs, count: usize, seed: u64, output: &mut Output) -> Result<()> {
    let Subject { bundle, space, data, device } = Subject::of(args)?;
    bundle.calibration()?;
    let comparison = compare_calibrations(bundle.folder(), &space, &data, count, seed, device)?;
    if output.is_json() {
        return comparison.rows.iter().try_for_each(|row| {
            output.json(&json!({
                "subnet": space.to_subnet_json(&row.arch),
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
