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
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::args::Cli;
use crate::output::{Output, harmless};

fn main() {
    allocator::keep_freed_memory();
    // Said in one sentence by `report_panic`; a thread's own panic reaches it through whoever waits for that thread.
    std::panic::set_hook(Box::new(|panic| tracing::debug!("{panic}")));
    let code = std::panic::catch_unwind(run).unwrap_or_else(exit::report_panic);
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

/// A message as the rest of the output is written: no time, no module.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        writeln!(writer, "warning: {}", harmless(&text))
    }
}

/// Messages for whoever looks into a run: `OFA_LOG=debug`.
fn start_log() {
    let asked = tracing_subscriber::EnvFilter::try_from_env("OFA_LOG");
    let layer = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
    // Fails only if there is a log already.
    let _ = match asked {
        Ok(filter) => layer.with_env_filter(filter).try_init(),
        // Warnings are for everybody, who has no use for times and modules.
        Err(_) => layer.with_env_filter("warn").event_format(Plain).try_init(),
    };
}
