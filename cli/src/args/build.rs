//! Arguments of `ofa init` and `ofa build`.

use std::path::PathBuf;

use clap::Args;
use experiments::torch::DataSource;

use super::{Compute, SkipBrokenArg, parse};

/// Minutes: more than a month of them is a slip.
fn parse_minutes(word: &str) -> Result<f64, String> {
    const MONTH: f64 = 31.0 * 24.0 * 60.0;
    let number: Option<f64> = word.parse().ok().filter(|minutes| *minutes > 0.0 && *minutes <= MONTH);
    number.ok_or_else(|| format!("`{word}` is not a number of minutes above 0 and up to {MONTH}"))
}

/// `ofa init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder to write to; it is made
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Images: folder:FOLDER (one folder of them per class), csv:FILE or jsonl:FILE (files and labels), parquet:PATH, cifar:FOLDER or
    /// idx:FOLDER
    #[arg(long, value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: DataSource,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    /// A bundle whose space and schedule it takes after, by name or path
    #[arg(long, value_name = "BUNDLE", default_value = "mcu-cifar")]
    pub(crate) like: String,
    /// Where the networks are to run, by name or path; without it, pixel3
    #[arg(short, long, value_name = "TARGET")]
    pub(crate) target: Option<String>,
    /// How many minutes the build may take on this machine; without it, as long as a good training takes
    #[arg(long, value_name = "MINUTES", value_parser = parse_minutes)]
    pub(crate) minutes: Option<f64>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// `ofa build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The folder that `ofa init` wrote
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// The same images elsewhere: folder:FOLDER, csv:FILE, jsonl:FILE, parquet:PATH, cifar:FOLDER or idx:FOLDER
    #[arg(long, value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: Option<DataSource>,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    #[command(flatten)]
    pub(crate) compute: Compute,
}
