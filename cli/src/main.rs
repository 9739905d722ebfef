//! The `ofa` command: arguments, output and exit codes; what it does is in `experiments`.

mod allocator;
mod args;
mod commands;
mod drawing;
mod exit;
mod hints;
mod interrupt;
mod log;
mod next;
mod output;
mod progress;
mod ranks;
mod stage_progress;
mod waiting;

use crate::args::Cli;
use crate::output::Output;

fn main() {
    allocator::keep_freed_memory();
    // Said in one sentence by `report_panic`; a thread's own panic reaches it through whoever waits for that thread.
    std::panic::set_hook(Box::new(|panic| tracing::debug!("{panic}")));
    let code = std::panic::catch_unwind(run).unwrap_or_else(exit::report_panic);
    exit::leave(code);
}

/// The exit code.
fn run() -> u8 {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return exit::refuse_arguments(&error),
    };
    log::start(&cli.common);
    waiting::briefly(&cli.command);
    let mut output = Output::new(&cli.common);
    let result = commands::run(cli.command, &mut output).and_then(|()| output.finish());
    match result {
        Ok(()) => 0,
        Err(error) => exit::report(&error),
    }
}
