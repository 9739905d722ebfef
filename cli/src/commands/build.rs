//! `ofa build`.

use std::time::{Duration, Instant};

use anyhow::Result;
use experiments::build::networks::{BuiltNetwork, Counted, quantity_of};
use experiments::build::run::{BuildProgress, BuildRequest, Built, CHART, PAGE, RESULTS, build};
use experiments::build::stage::{Record, Stage, State};
use indicatif::ProgressBar;
use network::units::Quantity;
use serde_json::json;

use super::set_threads;
use crate::args::BuildArgs;
use crate::interrupt::stop_flag;
use crate::next::{self, SearchIn};
use crate::output::{Output, duration, percent};

/// How often a stage that takes long says how far it is where there is no terminal.
const EVERY: Duration = Duration::from_secs(60);

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
    let mut progress = Progress { output, bar: None, running: None, said_at: Instant::now() };
    let built = build(&request, &stop_flag(), &mut progress)?;
    drop(progress);
    let path = |name: &str| request.folder.join(name);
    if output.is_json() {
        return built.networks.iter().try_for_each(|network| {
            let mut value = serde_json::to_value(network)?;
            value["folder"] = json!(path(&network.folder));
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

/// A line when a stage begins again and one when it ends; a bar meanwhile.
struct Progress<'o> {
    output: &'o Output,
    bar: Option<ProgressBar>,
    running: Option<Stage>,
    said_at: Instant,
}

fn number(stage: Stage) -> String {
    let all = Stage::ALL.len().to_string();
    format!("[{:>width$}/{all}] {:9}", stage.number(), stage.name(), width = all.len())
}

impl BuildProgress for Progress<'_> {
    fn begin(&mut self, stage: Stage, state: &State) {
        self.said_at = Instant::now();
        self.running = (!matches!(state, State::Found(_))).then_some(stage);
        match state {
            State::Again(why) => self.output.say(format!("{}  again: {}", number(stage), why.join(", "))),
            State::Begun => self.output.say(format!("{}  goes on", number(stage))),
            State::New | State::Found(_) => {}
        }
        if self.running.is_some() {
            let bar = self.output.progress(0, "{prefix}  {bar:30} {pos}/{len}, {eta} left");
            bar.set_prefix(number(stage));
            self.bar = Some(bar);
        }
    }

    fn step(&mut self, done: u64, all: u64) {
        if let Some(bar) = &self.bar {
            if bar.length() != Some(all) {
                bar.set_length(all);
                // What was there before took no time now.
                bar.set_position(done);
                bar.reset_eta();
            }
            bar.set_position(done);
        }
        let is_due = !self.output.shows_progress() && self.said_at.elapsed() >= EVERY;
        if let Some(stage) = self.running.filter(|_| is_due) {
            self.said_at = Instant::now();
            self.output.say(format!("{}  {done} of {all}", number(stage)));
        }
    }

    fn tell(&mut self, line: &str) {
        // The course of a training is in its folder; what may be wrong is said here.
        let is_course = !line.starts_with("warning: ") && !line.starts_with("note: ");
        if is_course && !self.output.is_verbose() {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.say(line)),
            None => self.output.say(line),
        }
    }

    fn end(&mut self, stage: Stage, record: &Record) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let took = duration(record.seconds);
        let how = if self.running.take().is_some() { took } else { format!("found, {took}") };
        self.output.say(format!("{}  {how:13}  {}", number(stage), record.said));
    }
}
