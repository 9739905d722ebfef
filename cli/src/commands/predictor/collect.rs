//! `ofa predictor collect`.

use anyhow::Result;
use experiments::folders::bundle::Bundle;
use experiments::folders::image_settings::ImageSettings;
use experiments::folders::supernet_file::load_supernet;
use experiments::training::collect::{CollectJob, collect};
use experiments::training::images::{CalibrationImages, EvalImages};
use serde_json::json;
use supernet::data::DataSource;

use crate::args::CollectArgs;
use crate::commands::prepare;
use crate::interrupt::stop_flag;
use crate::output::Output;

pub(crate) fn run(args: CollectArgs, output: &mut Output) -> Result<()> {
    let data: DataSource = args.data.parse()?;
    let bundle = Bundle::find(&args.supernet)?;
    let space = bundle.space()?;
    bundle.supernet()?;
    let device = prepare(&args.compute)?;
    let supernet = load_supernet(bundle.folder(), &space, device)?;
    let settings = ImageSettings::of_bundle(bundle.folder())?;
    let (train, held_out) = settings.training(&data, &space)?;
    let calibration = CalibrationImages::of_training(&train, &settings, space.resolutions(), device)?;
    let exam = EvalImages::new(&held_out, &settings.preprocessing, space.resolutions(), device)?;
    let rounds = match args.near_front {
        Some((rounds, count)) => Some((rounds, super::near_front(&args.front, count, args.seed)?)),
        None => None,
    };
    let all = args.n + args.near_front.map_or(0, |(rounds, count)| rounds * count);
    let job = CollectJob {
        supernet: &supernet,
        calibration: &calibration,
        exam: &exam,
        count: args.n,
        near_front: rounds,
        seed: args.seed,
        out: args.out,
    };
    let bar = output.progress(all as u64, "{bar:40} {pos}/{len} subnets, {per_sec}, {eta} left {msg}");
    let pairs = collect(&job, &stop_flag(), &mut |done, pair| {
        bar.set_position(done as u64);
        bar.set_message(format!("(the last {:.2} %)", 100.0 * pair.top1));
    })?;
    bar.finish_and_clear();
    let top1 = pairs.iter().map(|pair| pair.top1);
    let (low, high) = top1.fold((1.0_f64, 0.0_f64), |(low, high), top1| (low.min(top1), high.max(top1)));
    if output.is_json() {
        return output.json(&json!({"pairs": pairs.len(), "out": job.out, "top1_min": low, "top1_max": high}));
    }
    let out = job.out.display();
    output.line(format!("{} pairs in {out}, top-1 from {:.2} % to {:.2} %", pairs.len(), 100.0 * low, 100.0 * high))
}
