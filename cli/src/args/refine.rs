//! Arguments of the verbs that change a network: `ofa finetune` and `ofa refine`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use experiments::torch::DataSource;

use super::search::BudgetArgs;
use super::{Compute, parse};

/// How weights are trained on.
#[derive(Debug, Args)]
pub(crate) struct TuningArgs {
    /// How to train (YAML, `schema: ofa.finetune/1`)
    #[arg(long, value_name = "F.yaml")]
    pub(crate) recipe: Option<PathBuf>,
    /// Replace a value of the recipe: learning_rate=0.02, augmentation.flip=false
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Longest time between two checkpoints, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) save_every: u64,
}

/// `ofa finetune`.
#[derive(Debug, Args)]
pub(crate) struct FinetuneArgs {
    /// The folder of a network: written by `ofa search --out`, `ofa export` or `ofa network from`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) network: PathBuf,
    /// Images: parquet:PATH, cifar:FOLDER, folder:FOLDER, idx:FOLDER or synthetic
    #[arg(long, value_parser = parse::<DataSource>)]
    pub(crate) data: DataSource,
    /// Run folder; the network is in its folder `network` at the end
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
    /// Passes over the training images; replaces the recipe's
    #[arg(long)]
    pub(crate) epochs: Option<u64>,
    /// Layers that stay as they are, by name or by what stands before a dot in their names; may be given again
    #[arg(long, value_name = "LAYER")]
    pub(crate) freeze: Vec<String>,
    /// A bundle whose largest network teaches
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) teacher: Option<String>,
    #[command(flatten)]
    pub(crate) tuning: TuningArgs,
    /// Go on from the newest checkpoint in the run folder
    #[arg(long)]
    pub(crate) resume: bool,
    /// Epochs between two measurements on held-out images
    #[arg(long, value_name = "EPOCHS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) measure_every: u64,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// `ofa refine`.
#[derive(Debug, Args)]
pub(crate) struct RefineArgs {
    /// The folder of a network: written by `ofa search --out`, `ofa export` or `ofa network from`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) network: PathBuf,
    /// A target's name or path; may be left out when neither energy nor latency is limited
    #[arg(long, short)]
    pub(crate) target: Option<String>,
    /// Let a target's fitted models answer however far outside of what they were fitted to
    #[arg(long)]
    pub(crate) extrapolate: bool,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// Images: parquet:PATH, cifar:FOLDER, folder:FOLDER, idx:FOLDER or synthetic
    #[arg(long, value_parser = parse::<DataSource>)]
    pub(crate) data: DataSource,
    /// Run folder; the network is in its folder `network` at the end, that of each step in `steps`
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
    /// What the first step lowers each cost by, as a part of it
    #[arg(long, value_name = "PART", default_value_t = 0.025, value_parser = parse_part)]
    pub(crate) initial_reduction: f64,
    /// Factor from one step to the next
    #[arg(long, value_name = "FACTOR", default_value_t = 0.96, value_parser = parse_part)]
    pub(crate) decay: f64,
    /// Steps at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(crate) iterations: u64,
    /// Widths are multiples of this
    #[arg(long, value_name = "CHANNELS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) step: u32,
    /// Which proposal is kept: the most accurate of those that pay for the step (the paper's rule), or that with the least
    /// loss for what it saves (the published code's)
    #[arg(long, value_enum, default_value_t = WinnerArg::Accuracy)]
    pub(crate) winner: WinnerArg,
    /// Batches that each proposal is trained with before it is judged
    #[arg(long, value_name = "BATCHES", default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub(crate) short_steps: u64,
    /// Passes over the training images at the end
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=65_536))]
    pub(crate) epochs: u64,
    #[command(flatten)]
    pub(crate) tuning: TuningArgs,
    /// Go on with the steps that are in the run folder
    #[arg(long)]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// Which proposal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WinnerArg {
    /// The most accurate of those that pay for the step.
    Accuracy,
    /// The least loss of accuracy for what is saved.
    DropPerSaving,
}

/// A number above 0 and at most 1.
fn parse_part(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(part) if part > 0.0 && part <= 1.0 => Ok(part),
        _ => Err("must be above 0 and at most 1".to_owned()),
    }
}
