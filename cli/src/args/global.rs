//! What every verb takes.

use clap::{ArgAction, Args, ValueEnum};

/// The options of all verbs, which stand last in every help.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Common {
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    /// No talk and no progress on stderr, but warnings and errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more: where numbers come from, what is being done; -vv and -vvv still more
    ///
    /// Where RUST_LOG is set, it decides instead what is said of what is being done: RUST_LOG=search=debug
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How messages of what is being done are written on stderr
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text, hide_short_help = true)]
    pub(crate) log_format: LogFormat,
    /// Print help: -h a summary, --help all of it
    #[arg(long, short, global = true, action = ArgAction::Help)]
    pub(crate) help: Option<bool>,
    /// Print the version
    #[arg(long, short = 'V', global = true, action = ArgAction::Version, hide_short_help = true)]
    pub(crate) version: Option<bool>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For reading.
    Human,
    /// For programs: one object, or one a line for lists.
    Json,
}

/// How messages of what is being done are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For reading.
    Text,
    /// One object a line, with times and modules.
    Json,
}
