//! `ofa finetune`.

use std::time::Duration;

use anyhow::Result;
use experiments::torch::{self, FineTuneRequest, FineTuned};
use serde_json::json;

use super::set_threads;
use crate::args::FinetuneArgs;
use crate::interrupt::stop_flag;
use crate::next;
use crate::output::{Output, share};
use crate::progress::TrainProgress;

pub(crate) fn run(args: FinetuneArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let mut overrides = args.tuning.overrides;
    overrides.extend(args.epochs.map(|epochs| format!("epochs={epochs}")));
    if args.int8 {
        overrides.push("int8=true".to_owned());
    }
    if !args.freeze.is_empty() {
        overrides.push(format!("freeze={}", json!(args.freeze)));
    }
    let request = FineTuneRequest {
        network: args.network,
        data: args.data,
        recipe: args.tuning.recipe,
        overrides,
        teacher: args.teacher,
        out: args.out,
        resume: args.resume,
        save_every: Duration::from_secs(args.tuning.save_every),
        measure_every: args.measure_every,
        energy: args.tuning.power.settings(),
        revision: env!("OFA_REVISION"),
        device: args.compute.device,
    };
    let mut progress = TrainProgress::new(output);
    let tuned = torch::finetune(&request, stop_flag(), &mut progress)?;
    drop(progress);
    let FineTuned { folder, before, held_out, tested, part, energy } = tuned;
    if output.is_json() {
        return output.json(&json!({
            "network": folder,
            "held_out_top1_before": before.top1,
            "held_out_top1": held_out.top1,
            "held_out_images": held_out.images,
            "part": part.name(),
            "top1": tested.top1,
            "images": tested.images,
            "energy": energy,
        }));
    }
    let row = |label: &str, top1: f64, images: u64| (label.to_owned(), share(top1, images));
    output.rows(&[
        row("held-out, before", before.top1, before.images),
        row("held-out, after", held_out.top1, held_out.images),
        row(part.name(), tested.top1, tested.images),
    ])?;
    output.rows(&energy.spent_rows())?;
    output.next(&next::export(&folder, Some(&request.data.to_string()), args.int8))
}
