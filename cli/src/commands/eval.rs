//! `ofa eval`.

use anyhow::Result;
use experiments::shard::Shard;
use experiments::share::Interval;
use experiments::torch::{self, Accuracy, BundleUse, CalibrationSource, Evaluation, Part, SubnetChoice};
use serde_json::json;

use super::{own_shard, set_threads};
use crate::args::{CalibrationArg, EvalArgs, PartArg};
use crate::output::{Output, percent, share};

pub(crate) fn run(args: &EvalArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let device = args.compute.device;
    let mut shard = Shard::WHOLE;
    let evaluation = match (&args.supernet, &args.extracted, &args.data) {
        (Some(bundle), _, data) => {
            let on = BundleUse { bundle, data: data.as_ref(), device };
            if let (Some(out), Some(inputs)) = (&args.logits, &args.inputs) {
                let count = torch::write_logits(&on, subnets(args), inputs, &args.batch_norm, out)?;
                output.say(format!("logits of {count} subnets are in {}", out.display()));
                return Ok(());
            }
            let part = match args.part {
                PartArg::Test => Part::Test,
                PartArg::HeldOut => Part::HeldOut,
            };
            let calibration = match args.calibration {
                CalibrationArg::Data => CalibrationSource::Data,
                CalibrationArg::Bundle => CalibrationSource::Bundle,
            };
            // One that is named is measured, whoever else was launched.
            shard = if args.subnets.is_some() { own_shard(args.shard)? } else { Shard::WHOLE };
            torch::evaluate(&on, subnets(args), shard, part, calibration)?
        }
        (None, Some(folder), Some(data)) => torch::evaluate_network(folder, data, device)?,
        _ => unreachable!("clap asks for a network and for images"),
    };
    let Evaluation { part, accuracies, notes, warnings } = evaluation;
    warnings.iter().for_each(|warning| output.warn(warning));
    notes.iter().for_each(|note| output.say(format!("note: {note}")));
    if output.is_json() {
        return accuracies.iter().zip(shard.lines()).try_for_each(|(accuracy, line)| {
            let Accuracy { top1, top5, loss, images, right } = accuracy;
            let interval = Interval::of_share(*top1, *images);
            let mut object = json!({
                "top1": top1,
                "std_error": interval.std_error(),
                "interval": [interval.low, interval.high],
                "top5": top5,
                "loss": loss,
                "images": images,
                "part": part.name(),
            });
            if shard.is_part() {
                object["line"] = line.into();
            }
            if args.per_image {
                object["right"] = right.iter().map(|right| if *right { '1' } else { '0' }).collect::<String>().into();
            }
            output.json(&object)
        });
    }
    if args.per_image {
        output.say("--per-image changes nothing here: single images are in --format json alone");
    }
    let row = |(accuracy, line): (&Accuracy, usize)| {
        let Accuracy { top1, top5, loss, images, .. } = accuracy;
        let row =
            [share(*top1, *images), percent(*top5), format!("{loss:.4}"), images.to_string(), part.name().to_owned()];
        shard.is_part().then(|| line.to_string()).into_iter().chain(row).collect()
    };
    let head = shard.is_part().then_some("line").into_iter().chain(["top-1", "top-5", "loss", "images", "part"]);
    output.table(&head.collect::<Vec<_>>(), accuracies.iter().zip(shard.lines()).map(row).collect())
}

fn subnets(args: &EvalArgs) -> SubnetChoice<'_> {
    match args.subnets.as_ref().or(args.subnet.as_ref()) {
        _ if args.largest => SubnetChoice::Largest,
        _ if args.smallest => SubnetChoice::Smallest,
        Some(path) => SubnetChoice::File(path),
        None => unreachable!("clap asks for a choice of subnets"),
    }
}
