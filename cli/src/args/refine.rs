//! Arguments of the verbs that change a network: `ofa finetune` and `ofa refine`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use experiments::torch::DataSource;

use super::search::BudgetArgs;
use super::training_energy::PowerArgs;
use super::{Compute, SkipBrokenArg, parse};

/// How weights are trained on.
#[derive(Debug, Args)]
pub(crate) struct TuningArgs {
    /// How to train (YAML, `schema: ofa.finetune/1`)
    #[arg(long, value_name = "RECIPE.yaml")]
    pub(crate) recipe: Option<PathBuf>,
    /// Replace a value of the recipe: learning_rate=0.02, augmentation.flip=false
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Longest time between two checkpoints, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) save_every: u64,
    #[command(flatten)]
    pub(crate) power: PowerArgs,
}

/// `ofa finetune`.
#[derive(Debug, Args)]
pub(crate) struct FinetuneArgs {
    /// The folder of a network: written by `ofa search --out`, `ofa export` or `ofa network from`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) network: PathBuf,
    /// Images: folder:FOLDER, csv:FILE, jsonl:FILE, parquet:PATH, cifar:FOLDER, idx:FOLDER or synthetic
    #[arg(long, value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: DataSource,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    /// Run folder; the network is in its folder `network` at the end
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
    /// Passes over the training images; replaces the recipe's
    #[arg(long)]
    pub(crate) epochs: Option<u64>,
    /// Layers that stay as they are, by name or by what stands before a dot in their names; may be given again
    #[arg(long, value_name = "LAYER")]
    pub(crate) freeze: Vec<String>,
    /// Train for int8: weights and feature maps are rounded on the way
    #[arg(long)]
    pub(crate) int8: bool,
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
#[command(group = clap::ArgGroup::new("refined").args(["network", "supernet"]).required(true))]
// Of training, which a subnet in its supernet needs none of.
#[command(group = clap::ArgGroup::new("training").multiple(true).conflicts_with("supernet").args([
    "recipe", "overrides", "save_every", "grid_intensity", "core_watts", "gpu_watts",
]))]
pub(crate) struct RefineArgs {
    /// NetAdapt: the folder of a network, written by `ofa search --out`, `ofa export` or `ofa network from`; its layers get
    /// narrower, and it is trained on
    #[arg(long, value_name = "FOLDER", requires = "data")]
    pub(crate) network: Option<PathBuf>,
    /// Without training: the bundle of a subnet, which is moved between the points of its space's grid
    #[arg(long, value_name = "BUNDLE", requires = "subnet")]
    pub(crate) supernet: Option<String>,
    /// The subnet, as JSON: the `subnet.json` that `ofa search --out` wrote, or a step of an earlier refinement
    #[arg(long, value_name = "SUBNET.json", requires = "supernet")]
    pub(crate) subnet: Option<PathBuf>,
    /// A target's name or path; may be left out when neither energy nor latency is limited
    #[arg(long, short)]
    pub(crate) target: Option<String>,
    /// Let a target's fitted models answer however far outside of what they were fitted to
    #[arg(long)]
    pub(crate) extrapolate: bool,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// Images: folder:FOLDER, csv:FILE, jsonl:FILE, parquet:PATH, cifar:FOLDER, idx:FOLDER or synthetic; with --supernet they may be left out,
    /// and the predictor alone judges
    #[arg(long, value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: Option<DataSource>,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    /// Run folder; the network is in its folder `network` at the end, that of each step in `steps`
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
    /// What the first step changes each cost by, as a part of it: 0.025, with --supernet 0.05
    #[arg(long, value_name = "PART", value_parser = parse_part)]
    pub(crate) initial_reduction: Option<f64>,
    /// Factor from one step to the next: 0.96, with --supernet 1
    #[arg(long, value_name = "FACTOR", value_parser = parse_part)]
    pub(crate) decay: Option<f64>,
    /// Steps at most
    #[arg(long, value_name = "STEPS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(crate) iterations: u64,
    /// Widths are multiples of this; with --supernet, those that are not of an expand ratio
    #[arg(long, value_name = "CHANNELS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) step: u32,
    /// Proposals that are measured in each step, of those that the predictor likes best
    #[arg(long, value_name = "COUNT", default_value_t = 6, conflicts_with = "network", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) shortlist: u64,
    /// Which proposal is kept: the most accurate of those that pay for the step (the paper's rule), or that with the least
    /// loss for what it saves (the published code's)
    #[arg(long, value_name = "RULE", value_enum, conflicts_with = "supernet", default_value_t = WinnerArg::Accuracy)]
    pub(crate) winner: WinnerArg,
    /// One factor for all widths, in a single step: what NetAdapt is compared with
    #[arg(long, conflicts_with_all = ["supernet", "initial_reduction", "decay", "winner"])]
    pub(crate) uniform: bool,
    /// Batches that each proposal is trained with before it is judged
    #[arg(long, value_name = "BATCHES", conflicts_with = "supernet", default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub(crate) short_steps: u64,
    /// Passes over the training images at the end
    #[arg(long, conflicts_with = "supernet", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=65_536))]
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
