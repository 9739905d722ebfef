//! `ofa space`.

use anyhow::Result;
use experiments::error::Error;
use experiments::folders::spaces;
use network::memory::peak_memory;
use network::op::Workload;
use search::space::SearchSpace;
use serde_json::json;

use crate::args::SpaceCommand;
use crate::output::Output;

pub(crate) fn run(command: SpaceCommand, output: &mut Output) -> Result<()> {
    match command {
        SpaceCommand::List => list(output),
        SpaceCommand::Show { space } => show(&spaces::find(&space)?, output),
        SpaceCommand::Count { space } => count(&spaces::find(&space)?, output),
        SpaceCommand::Sample { space, n, seed } => {
            let space = spaces::find(&space)?;
            // Data for other verbs either way.
            spaces::sample(&space, n, seed).iter().try_for_each(|arch| output.json(&space.to_subnet_json(arch)))
        }
        SpaceCommand::Cost { space, subnets } => {
            let space = spaces::find(&space)?;
            let workloads = spaces::read_workloads(&subnets, &space)?;
            if output.is_json() {
                return workloads.iter().try_for_each(|workload| {
                    output.json(&json!({
                        "macs": workload.macs().0,
                        "params": workload.params().0,
                        "peak_memory_bytes": peak_memory(workload).total().0,
                    }))
                });
            }
            let row = |workload: &Workload| {
                vec![
                    workload.resolution.to_string(),
                    workload.macs().to_string(),
                    workload.params().to_string(),
                    peak_memory(workload).total().to_string(),
                ]
            };
            output
                .table(&["resolution", "MACs", "parameters", "peak memory, int8"], workloads.iter().map(row).collect())
        }
    }
}

fn list(output: &mut Output) -> Result<()> {
    let mut rows = Vec::new();
    for name in SearchSpace::builtin_names() {
        let space = SearchSpace::builtin(name).map_err(Error::from)?;
        let (range, count) = (spaces::range(&space), spaces::count(&space));
        let resolutions = space.resolutions();
        if output.is_json() {
            output.json(&json!({
                "name": name,
                "classes": space.classes(),
                "resolutions": resolutions,
                "per_resolution": count.per_resolution,
                "macs": [range.macs.0.0, range.macs.1.0],
                "params": [range.params.0.0, range.params.1.0],
            }))?;
            continue;
        }
        let approximate = count.per_resolution.len().saturating_sub(1);
        rows.push(vec![
            name.to_owned(),
            space.classes().to_string(),
            format!("{}-{} ({})", resolutions[0], resolutions[resolutions.len() - 1], resolutions.len()),
            format!("{}e{approximate}", &count.per_resolution[..1]),
            format!("{} - {}", range.macs.0, range.macs.1),
            format!("{} - {}", range.params.0, range.params.1),
        ]);
    }
    if output.is_json() {
        return Ok(());
    }
    output.table(&["space", "classes", "resolutions", "subnets each", "MACs", "parameters"], rows)
}

fn show(space: &SearchSpace, output: &mut Output) -> Result<()> {
    if output.is_json() {
        let stages = space.stages().iter().map(|stage| {
            json!({
                "width": stage.width,
                "stride": stage.stride,
                "activation": stage.activation.name(),
                "squeeze_excite": stage.squeeze_excite,
                "depths": stage.depths,
                "kernels": stage.kernels,
                "expands": stage.expands,
            })
        });
        return output.json(&json!({
            "name": &*space.id().0,
            "resolutions": space.resolutions(),
            "classes": space.classes(),
            "stages": stages.collect::<Vec<_>>(),
            "yaml": space.to_yaml(),
        }));
    }
    output.line(space.to_yaml().trim_end())
}

fn count(space: &SearchSpace, output: &mut Output) -> Result<()> {
    let count = spaces::count(space);
    if output.is_json() {
        return output.json(&json!({
            "per_resolution": count.per_resolution,
            "resolutions": count.resolutions,
            "total": count.total,
        }));
    }
    output.rows(&[
        ("per resolution".to_owned(), count.per_resolution),
        ("resolutions".to_owned(), count.resolutions.to_string()),
        ("in all".to_owned(), count.total),
    ])
}
