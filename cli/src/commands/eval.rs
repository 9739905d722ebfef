//! `ofa eval`.

use anyhow::Result;
use experiments::folders::bundle::Bundle;
use experiments::folders::spaces;
use experiments::folders::supernet_file::load_supernet;
use experiments::training::evaluate::{CalibrationSource, Part, eval_bundle, eval_extracted};
use experiments::training::logits::{BatchNormSource, write_logits};
use search::arch::ArchSpec;
use search::space::SearchSpace;
use serde_json::json;
use supernet::data::DataSource;
use supernet::evaluate::Accuracy;

use super::prepare;
use crate::args::{CalibrationArg, EvalArgs, PartArg};
use crate::output::{Output, percent};

pub(crate) fn run(args: &EvalArgs, output: &mut Output) -> Result<()> {
    let data = args.data.as_deref().map(str::parse::<DataSource>).transpose()?;
    let batch_norm: BatchNormSource = args.batch_norm.parse()?;
    let bundle = args.supernet.as_deref().map(Bundle::find).transpose()?;
    let device = prepare(&args.compute)?;
    let accuracies = match (bundle, &args.extracted, data) {
        (Some(bundle), _, data) => {
            let space = bundle.space()?;
            let archs = subnets(args, &space)?;
            bundle.supernet()?;
            if let (Some(out), Some(inputs)) = (&args.logits, &args.inputs) {
                let supernet = load_supernet(bundle.folder(), &space, device)?;
                write_logits(&supernet, &archs, inputs, &batch_norm, out)?;
                output.say(format!("logits of {} subnets are in {}", archs.len(), out.display()));
                return Ok(());
            }
            let data = data.unwrap_or_else(|| unreachable!("clap asks for --data without --logits"));
            let part = match args.part {
                PartArg::Test => Part::Test,
                PartArg::HeldOut => Part::HeldOut,
            };
            let calibration = match args.calibration {
                CalibrationArg::Data => CalibrationSource::Data,
                CalibrationArg::Bundle => CalibrationSource::Bundle,
            };
            eval_bundle(bundle.folder(), &space, &archs, &data, part, calibration, device)?
        }
        (None, Some(folder), Some(data)) => vec![eval_extracted(folder, &data, device)?],
        _ => unreachable!("clap asks for a network and for images"),
    };
    if output.is_json() {
        return accuracies.iter().try_for_each(|accuracy| {
            let Accuracy { top1, top5, loss, images, right } = accuracy;
            let mut object = json!({"top1": top1, "top5": top5, "loss": loss, "images": images});
            if args.per_image {
                object["right"] = right.iter().map(|right| if *right { '1' } else { '0' }).collect::<String>().into();
            }
            output.json(&object)
        });
    }
    if args.per_image {
        output.say("--per-image changes nothing here: single images are in --format json alone");
    }
    let row = |accuracy: &Accuracy| {
        let Accuracy { top1, top5, loss, images, .. } = accuracy;
        // A share of n images has this standard error.
        let error = (top1 * (1.0 - top1) / (*images).max(1) as f64).sqrt();
        vec![
            format!("{} ± {}", percent(*top1), percent(error)),
            percent(*top5),
            format!("{loss:.4}"),
            images.to_string(),
        ]
    };
    output.table(&["top-1", "top-5", "loss", "images"], accuracies.iter().map(row).collect())
}

fn subnets(args: &EvalArgs, space: &SearchSpace) -> Result<Vec<ArchSpec>> {
    let resolutions = space.resolutions();
    if args.largest {
        return Ok(vec![space.largest(resolutions[resolutions.len() - 1])?]);
    }
    if args.smallest {
        return Ok(vec![space.smallest(resolutions[0])?]);
    }
    match args.subnets.as_ref().or(args.subnet.as_ref()) {
        Some(path) => spaces::read_subnets(path, space),
        None => unreachable!("clap asks for a choice of subnets"),
    }
}
