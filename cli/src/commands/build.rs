//! `ofa build`.

use anyhow::Result;
use experiments::build::networks::{BuiltNetwork, quantity_of};
use experiments::build::run::{BuildProgress, BuildRequest, Built, CHART, PAGE, RESULTS, build};
use experiments::build::stage::Stage;
use experiments::stages::network::Counted;
use experiments::stages::record::{Record, State};
use network::units::Quantity;
use serde_json::json;

use super::set_threads;
use crate::args::BuildArgs;
use crate::interrupt::stop_flag;
use crate::next::{self, SearchIn};
use crate::output::{Output, as_text, duration, percent};
use crate::stage_progress::StageProgress;

pub(crate) fn run(args: BuildArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let request = BuildRequest {
        folder: args.folder,
        data: args.data,
        threads: args.compute.threads.threads.map_or(cores, |threads| threads as usize),
        revision: env!("OFA_REVISION"),
        device: args.compute.device,
    };
    let mut progress = StageProgress::new(output);
    let built = build(&request, &stop_flag(), &mut progress)?;
    drop(progress);
    let path = |name: &str| request.folder.join(name);
    if output.is_json() {
        return built.networks.iter().try_for_each(|network| {
            let mut value = serde_json::to_value(network)?;
            value["folder"] = json!(as_text(&path(&network.folder)));
            output.json(&value)
        });
    }
    show(&built, output)?;
    let written = [PAGE, CHART, RESULTS].map(|name| path(name).display().to_string());
    output.line(format!("{} in all; {}", duration(built.seconds), written.join(", ")))?;
    let bundle = request.folder.display().to_string();
    let along = quantity_of(&built.networks);
    output.next(&next::front(&SearchIn::Bundle(&bundle), Some(&built.target), along))
}

/// A line for each network.
fn show(built: &Built, output: &mut Output) -> Result<()> {
    let quantity = quantity_of(&built.networks);
    let counted = |counted: &Counted| format!("{} ± {:.2}", percent(counted.top1), 100.0 * counted.std_error);
    let row = |network: &BuiltNetwork| {
        let BuiltNetwork { found, held_out, tested, files, folder } = network;
        let cost = network.cost(quantity).map(|cost| quantity.format(cost / quantity.json_scale()));
        let files: Vec<String> = files
            .iter()
            .map(|file| match (&file.path, &file.checked_by) {
                (Some(_), Some(by)) => format!("{} ({by})", file.format),
                (Some(_), None) => format!("{} (unchecked)", file.format),
                (None, _) => format!("no {}", file.format),
            })
            .collect();
        vec![
            found.name.clone(),
            percent(found.predicted),
            counted(held_out),
            counted(tested),
            cost.unwrap_or_default(),
            Quantity::Macs.format(found.macs),
            folder.clone(),
            files.join(", "),
        ]
    };
    let part = built.networks.first().map_or("test", |network| network.tested.part.as_str());
    let header = ["network", "predicted", "held-out", part, quantity.name(), "MACs", "folder", "files"];
    output.table(&header, built.networks.iter().map(row).collect())
}

fn number(stage: Stage) -> String {
    let all = Stage::ALL.len().to_string();
    format!("[{:>width$}/{all}] {:9}", stage.number(), stage.name(), width = all.len())
}

impl BuildProgress for StageProgress<'_> {
    fn begin(&mut self, stage: Stage, state: &State) {
        self.start(number(stage), state);
    }

    fn end(&mut self, stage: Stage, record: &Record) {
        self.finish(&number(stage), record);
    }
}
