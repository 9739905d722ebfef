//! `ofa network`.

use std::path::PathBuf;

use clap::Subcommand;

/// `ofa network`.
#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Write a published network as a folder, with random weights
    From {
        /// alexnet, mobilenet-v1, mobilenet-v2, resnet8 or squeezenet-1.1
        name: String,
        /// Of the random weights
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Outputs, where not those published
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        classes: Option<u32>,
        /// The folder
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Its layers, with MACs and parameters
    Show {
        /// The folder of a network, or a network.json
        network: PathBuf,
    },
    /// What it costs on a target
    Cost {
        /// The folder of a network, or a network.json
        network: PathBuf,
        /// The target
        #[arg(long)]
        target: String,
        /// Answer also for operators that lie far outside of what a fitted model saw
        #[arg(long)]
        extrapolate: bool,
    },
    /// Memory that one int8 inference needs, and flash for the weights
    Arena {
        /// The folder of a network, or a network.json
        network: PathBuf,
    },
    /// Whether the layers meet, and the weights are theirs
    Check {
        /// The folder of a network
        network: PathBuf,
    },
}
