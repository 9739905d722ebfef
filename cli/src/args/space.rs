//! `ofa space`.

use std::path::PathBuf;

use clap::Subcommand;

use super::parse_count;

#[derive(Debug, Subcommand)]
pub(crate) enum SpaceCommand {
    /// All shipped spaces
    List,
    /// The space as YAML
    Show {
        /// A shipped space, or the path of one
        space: String,
    },
    /// How many distinct subnets it holds, exactly
    Count {
        /// A shipped space, or the path of one
        space: String,
    },
    /// Random subnets, one JSON object per line, every distinct subnet equally likely
    Sample {
        /// A shipped space, or the path of one
        space: String,
        /// How many
        #[arg(short, value_name = "COUNT", default_value_t = 1, value_parser = parse_count)]
        n: usize,
        /// Equal seeds draw equal subnets
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// MACs and parameters of subnets
    Cost {
        /// A shipped space, or the path of one
        space: String,
        /// Subnets, one JSON object per line
        #[arg(long, value_name = "SUBNETS.jsonl")]
        subnets: PathBuf,
    },
}
