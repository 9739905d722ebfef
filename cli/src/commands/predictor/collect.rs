//! `ofa predictor collect`.

use anyhow::Result;
use experiments::torch::{self, BundleUse, CollectRequest, Collected};
use serde_json::json;

use crate::args::CollectArgs;
use crate::commands::{own_shard, set_threads};
use crate::interrupt::stop_flag;
use crate::next;
use crate::output::{Output, as_text};

pub(crate) fn run(args: CollectArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let rounds = match args.near_front {
        Some((rounds, count)) => Some((rounds, super::near_front(&args.front, count, args.seed)?)),
        None => None,
    };
    let all = args.n + args.near_front.map_or(0, |(rounds, count)| rounds * count);
    let request = CollectRequest {
        on: BundleUse { bundle: &args.supernet, data: Some(&args.data), device: args.compute.device },
        count: args.n,
        near_front: rounds,
        seed: args.seed,
        shard: own_shard(args.shard)?,
        measured: args.measured,
        out: args.out,
    };
    let own = request.shard.places(all).count();
    let bar = output.progress(own as u64, "{bar:40} {pos}/{len} subnets, {per_sec}, {eta} left {msg}");
    let Collected { pairs, out, notes } = torch::collect(&request, &stop_flag(), &mut |done, pair| {
        bar.set_position(done as u64);
        bar.set_message(format!("(the last {:.2} %)", 100.0 * pair.top1));
    })?;
    bar.finish_and_clear();
    notes.iter().for_each(|note| output.say(format!("note: {note}")));
    if pairs.is_empty() {
        // More parts than subnets.
        let none = json!({"pairs": 0, "out": as_text(&out), "top1_min": null, "top1_max": null});
        let words = format!("0 pairs in {}: no subnet falls to this part", out.display());
        return if output.is_json() { output.json(&none) } else { output.line(words) };
    }
    let top1 = pairs.iter().map(|pair| pair.top1);
    let (low, high) = top1.fold((1.0_f64, 0.0_f64), |(low, high), top1| (low.min(top1), high.max(top1)));
    if output.is_json() {
        return output.json(&json!({"pairs": pairs.len(), "out": as_text(&out), "top1_min": low, "top1_max": high}));
    }
    output.line(format!(
        "{} pairs in {}, top-1 from {:.2} % to {:.2} %",
        pairs.len(),
        out.display(),
        100.0 * low,
        100.0 * high
    ))?;
    output.next(&next::fit(&out))
}
