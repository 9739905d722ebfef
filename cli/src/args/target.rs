//! Arguments of the longer verbs of `ofa target`.

use clap::Args;

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
