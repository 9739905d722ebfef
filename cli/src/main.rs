//! The `ofa` command: arguments, output and exit codes; what it does is in `experiments`.

mod allocator;
mod args;
mod commands;
mod exit;
mod hints;
mod interrupt;
mod output;
mod progress;

use clap::Parser;

use crate::args::Cli;
use crate::output::Output;

fn main() {
    allocator::keep_freed_memory();
    // Said in one sentence by `report_panic`; a thread's own panic reaches it through whoever waits for that thread.
    std::panic::set_hook(Box::new(|panic| tracing::debug!("{panic}")));
    let code = std::panic::catch_unwind(run).unwrap_or_else(|panic| exit::report_panic(panic.as_ref()));
    exit::leave(code);
}

/// The exit code.
fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::refuse_arguments(&error),
    };
    start_log();
    let mut output = Output::new(&cli.common);
    let result = commands::run(cli.command, &mut output).and_then(|()| output.finish());
    match result {
        Ok(()) => 0,
        Err(error) => exit::report(&error),
    }
}

/// Messages for whoever looks into a run: `OFA_LOG=debug`.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("OFA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let layer = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails only if there is a log already.
    let _ = layer.with_ansi(false).try_init();
}
