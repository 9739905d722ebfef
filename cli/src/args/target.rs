//! Arguments of the longer verbs of `ofa target`.

use std::path::PathBuf;

use clap::Args;

/// `ofa target energy`.
#[derive(Debug, Args)]
pub(crate) struct EnergyArgs {
    /// Layers, 25 numbers per line as in the published energy-estimation tool
    #[arg(value_name = "LAYERS.csv", required_unless_present = "space", conflicts_with = "space")]
    pub(crate) layers: Option<PathBuf>,
    /// An accelerator's name (eyeriss, eyeriss-isca16), or the path of its YAML
    #[arg(long, value_name = "NAME|FILE.yaml", default_value = "eyeriss")]
    pub(crate) accelerator: String,
    /// Images computed together; without it, as the file says, and 1 for subnets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub(crate) batch: Option<u64>,
    /// Subnets of this space instead of layers: a shipped space, or the path of one
    #[arg(long, requires = "subnets")]
    pub(crate) space: Option<String>,
    /// Subnets, one JSON object per line
    #[arg(long, value_name = "F.jsonl", requires = "space")]
    pub(crate) subnets: Option<PathBuf>,
}

/// `ofa target measure`.
#[derive(Debug, Args)]
#[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "answered by an error without LibTorch"))]
pub(crate) struct MeasureArgs {
    /// The space whose operators are timed
    #[arg(long)]
    pub(crate) space: String,
    /// The target's name; the same command goes on with a measurement that was stopped
    #[arg(long)]
    pub(crate) name: String,
    /// Some of the space's resolutions: 24,32; by default all
    #[arg(long, value_delimiter = ',', value_name = "R,…")]
    pub(crate) resolutions: Vec<u32>,
    /// Random networks that are timed whole and compared with the sums of their operators
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) networks: usize,
    /// Relative standard error at which a time is settled
    #[arg(long, default_value_t = 0.01, value_parser = parse_precision)]
    pub(crate) precision: f64,
    /// Seed of the order of visits and of the networks
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where to run: auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    pub(crate) device: String,
    /// Threads to run with
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) threads: u32,
}

fn parse_precision(text: &str) -> Result<f64, String> {
    let precision: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1e-4..=0.5).contains(&precision) { Ok(precision) } else { Err("give a number from 0.0001 to 0.5".to_owned()) }
}
