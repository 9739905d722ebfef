//! One file per verb: arguments in, a function of `experiments` called, results out.

mod doctor;
mod predictor;
mod search;
mod space;
mod target;

#[cfg(feature = "torch")]
mod calibration;
#[cfg(feature = "torch")]
mod eval;
#[cfg(feature = "torch")]
mod export;
#[cfg(feature = "torch")]
mod import;
#[cfg(feature = "torch")]
mod train;

use anyhow::Result;

use crate::args::{Command, Threads};
use crate::output::Output;

/// Does what the command line says.
pub(crate) fn run(command: Command, output: &mut Output) -> Result<()> {
    match command {
        Command::Doctor => doctor::run(output),
        Command::Space(command) => space::run(command, output),
        Command::Target(command) => target::run(command, output),
        Command::Predictor(command) => predictor::run(command, output),
        Command::Search(args) => search::run(&args, output),
        #[cfg(feature = "torch")]
        Command::Train(args) => train::run(args, output),
        #[cfg(feature = "torch")]
        Command::Calibration(command) => calibration::run(command, output),
        #[cfg(feature = "torch")]
        Command::Eval(args) => eval::run(&args, output),
        #[cfg(feature = "torch")]
        Command::Import(command) => import::run(command, output),
        #[cfg(feature = "torch")]
        Command::Export(args) => export::run(&args, output),
        #[cfg(not(feature = "torch"))]
        Command::Export(_) => no_torch("extracting weights"),
        #[cfg(not(feature = "torch"))]
        Command::Train(_) => no_torch("training"),
        #[cfg(not(feature = "torch"))]
        Command::Calibration(_) => no_torch("calibrating"),
        #[cfg(not(feature = "torch"))]
        Command::Eval(_) => no_torch("evaluating"),
        #[cfg(not(feature = "torch"))]
        Command::Import(_) => no_torch("importing weights"),
    }
}

#[cfg(not(feature = "torch"))]
fn no_torch(what: &'static str) -> Result<()> {
    Err(experiments::error::AppError::NoTorch { what }.into())
}

fn set_threads(threads: Threads) {
    if let Some(threads) = threads.threads {
        experiments::threads::set(threads as usize);
    }
}

/// Sets the number of threads and gives the device: before any use of tensors.
#[cfg(feature = "torch")]
fn prepare(compute: &crate::args::Compute) -> Result<tch::Device> {
    let choice: supernet::device::DeviceChoice = compute.device.parse()?;
    set_threads(compute.threads);
    Ok(choice.resolve()?)
}
