//! `ofa train`.

use std::time::Duration;

use anyhow::Result;
use experiments::error::AppError;
use experiments::folders::spaces;
use experiments::training::energy::EnergySettings;
use experiments::training::plan;
use experiments::training::train::{TrainJob, Trained, train};
use serde_json::json;
use supernet::data::DataSource;

use super::prepare;
use crate::args::TrainArgs;
use crate::interrupt::stop_flag;
use crate::output::Output;
use crate::progress::TrainProgress;

pub(crate) fn run(args: TrainArgs, output: &mut Output) -> Result<()> {
    let recipe = plan::load(&args.recipe, &args.overrides)?;
    let space = spaces::find(&recipe.space)?;
    let Some(data) = args.data.as_ref().or(recipe.data.as_ref()) else {
        return Err(AppError::NoData { recipe: args.recipe }.into());
    };
    let data: DataSource = data.parse()?;
    let device = prepare(&args.compute)?;
    let job = TrainJob {
        recipe,
        space,
        data,
        out: args.out,
        resume: args.resume,
        device,
        save_every: Duration::from_secs(args.save_every),
        measure_every: args.measure_every,
        energy: EnergySettings {
            core_watts: args.energy.core_watts,
            gpu_watts: args.energy.gpu_watts,
            grid_intensity: args.energy.grid_intensity,
            networks: args.energy.compare_networks,
        },
    };
    let mut progress = TrainProgress::new(output);
    let Trained { supernet, energy } = train(&job, stop_flag(), &mut progress)?;
    drop(progress);
    let out = job.out.display();
    if output.is_json() {
        return output.json(&json!({"run": job.out, "parameters": supernet.parameter_count(), "energy": energy}));
    }
    output.line(format!("trained; the run is in {out}"))?;
    output.rows(&energy.rows())
}
