//! `ofa train`.

use std::time::Duration;

use anyhow::Result;
use experiments::folders::names::BUNDLE;
use experiments::torch::{self, TrainRequest, Trained};
use serde_json::json;

use super::set_threads;
use crate::args::TrainArgs;
use crate::interrupt::stop_flag;
use crate::next;
use crate::output::Output;
use crate::progress::TrainProgress;

pub(crate) fn run(args: TrainArgs, output: &mut Output) -> Result<()> {
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
    };
    let mut progress = TrainProgress::new(output);
    let Trained { parameters, energy } = torch::train(&request, stop_flag(), &mut progress)?;
    drop(progress);
    if output.is_json() {
        return output.json(&json!({"run": request.out, "parameters": parameters, "energy": energy}));
    }
    output.line(format!("trained; the run is in {}", request.out.display()))?;
    output.rows(&energy.rows())?;
    let run = request.out.display().to_string();
    let pairs = request.out.join(BUNDLE).join("accuracy.parquet");
    let data = request.data.map(|data| data.to_string());
    output.next(&next::collect(&run, data.as_deref(), &pairs))
}
