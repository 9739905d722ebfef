//! One file per verb: arguments in, a function of `experiments` called, results out.

mod build;
mod calibration;
mod cite;
mod completions;
mod data;
mod doctor;
mod eval;
mod export;
mod finetune;
mod import;
mod init;
mod network;
mod predictor;
mod refine;
mod report;
mod schema;
mod search;
mod space;
mod sweep;
mod target;
mod train;
mod verify;

use anyhow::Result;
use experiments::shard::Shard;

use crate::args::{Command, Threads};
use crate::output::Output;

/// Does what the command line says.
pub(crate) fn run(command: Command, output: &mut Output) -> Result<()> {
    match command {
        Command::Doctor => doctor::run(output),
        Command::Data(command) => data::run(command, output),
        Command::Init(args) => init::run(args, output),
        Command::Build(args) => build::run(args, output),
        Command::Space(command) => space::run(command, output),
        Command::Target(command) => target::run(command, output),
        Command::Predictor(command) => predictor::run(command, output),
        Command::Search(args) => search::run(&args, output),
        Command::Cite(args) => cite::run(&args, output),
        Command::Schema { name } => schema::run(name.as_deref(), output),
        Command::Report(args) => report::run(&args, output),
        Command::Sweep(command) => sweep::run(command, output),
        Command::Train(args) => train::run(args, output),
        Command::Finetune(args) => finetune::run(args, output),
        Command::Refine(args) => refine::run(args, output),
        Command::Calibration(command) => calibration::run(command, output),
        Command::Eval(args) => eval::run(&args, output),
        Command::Network(command) => network::run(command, output),
        Command::Import(command) => import::run(command, output),
        Command::Export(args) => export::run(&args, output),
        Command::Verify(args) => verify::run(&args, output),
        Command::Completions { shell } => completions::completions(shell, output),
        Command::Man { out } => completions::man(&out, output),
    }
}

/// The part that is meant: as given, or as this process's rank says.
fn own_shard(given: Option<Shard>) -> Result<Shard> {
    Ok(given.map_or_else(experiments::torch::own_shard, Ok)?)
}

/// Sets the number of threads: before anything computes.
fn set_threads(threads: Threads) {
    if let Some(threads) = threads.threads {
        experiments::threads::set(threads as usize);
    }
}
