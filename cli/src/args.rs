//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use experiments::confidence::Confidence;
use experiments::search_job::{Algorithm, objective};
use hw_targets::error::HwError;
use hw_targets::units::{Joules, Macs, Params, Quantity, Seconds};
use search::nsga2::Objective;

/// Once-for-all architecture search: one supernet, one table per device, the best subnet within a budget.
#[derive(Debug, Parser)]
#[command(name = "ofa", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every verb takes.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Common {
    /// How results are printed; json is one object, or one per line for lists
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    /// No talk and no progress on stderr
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For reading.
    Human,
    /// For programs.
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Versions, devices, threads, folders, and what is wrong with them
    Doctor,
    /// Search spaces: which there are, how many subnets they hold, what subnets cost
    #[command(subcommand)]
    Space(SpaceCommand),
    /// Target devices: which there are, what a network costs on one, adding your own
    #[command(subcommand)]
    Target(TargetCommand),
    /// Train a supernet by a recipe; a stopped run goes on with --resume
    Train(TrainArgs),
    /// True accuracy of subnets on real images
    Eval(EvalArgs),
    /// Accuracy predictors: measure pairs, fit, judge, ask
    #[command(subcommand)]
    Predictor(PredictorCommand),
    /// Images that a bundle brings along for batch-norm calibration: make them, judge them
    #[command(subcommand)]
    Calibration(CalibrationCommand),
    /// Find the subnet with the highest predicted top-1 within a budget
    Search(SearchArgs),
    /// Turn published weights into a bundle
    #[command(subcommand)]
    Import(ImportCommand),
    /// Take a subnet's weights out of a bundle, calibrated
    Export(ExportArgs),
}

/// Where and with how many threads to compute.
#[derive(Clone, Debug, Args)]
#[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "without LibTorch there is only one device"))]
pub(crate) struct Compute {
    /// Where to compute: auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    pub(crate) device: String,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

/// How many threads.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Threads {
    /// Threads to compute with; without it, one per core
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) threads: Option<u32>,
}

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
        #[arg(short, default_value_t = 1)]
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
        #[arg(long, value_name = "F.jsonl")]
        subnets: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// All targets, shipped and your own
    List,
    /// What is known about a target and how it answers
    Show {
        /// A target's name or path
        target: String,
    },
    /// What subnets cost on a target
    Cost {
        /// A target's name or path
        target: String,
        /// The subnets' space
        #[arg(long)]
        space: String,
        /// Subnets, one JSON object per line
        #[arg(long, value_name = "F.jsonl")]
        subnets: PathBuf,
    },
    /// Keep a table of measured operators (CSV or Parquet) as your own target
    Add {
        /// The table
        table: PathBuf,
        /// The target's name
        #[arg(long)]
        name: String,
        /// YAML about device and measurements; without it, the one beside the table
        #[arg(long)]
        manifest: Option<PathBuf>,
    },
    /// Keep tables of a foreign format as your own target
    Import {
        /// The format: ofa-yaml
        #[arg(value_name = "FORMAT")]
        layout: String,
        /// A file or a folder
        path: PathBuf,
        /// The target's name
        #[arg(long)]
        name: String,
    },
}

/// `ofa train`.
#[derive(Debug, Args)]
#[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "answered by an error without LibTorch"))]
pub(crate) struct TrainArgs {
    /// The recipe (YAML)
    pub(crate) recipe: PathBuf,
    /// Run folder
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
    /// Go on from the newest checkpoint in the run folder
    #[arg(long)]
    pub(crate) resume: bool,
    /// Replace a value of the recipe: batch_size=64, phases.0.epochs=3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Images; replaces the recipe's: parquet:PATH, cifar:FOLDER, folder:FOLDER, idx:FOLDER or synthetic
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// Longest time between two checkpoints, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) save_every: u64,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// `ofa eval`.
#[derive(Debug, Args)]
#[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "answered by an error without LibTorch"))]
#[command(group = clap::ArgGroup::new("network").required(true))]
#[command(group = clap::ArgGroup::new("choice").args(["subnet", "subnets", "largest", "smallest"]))]
pub(crate) struct EvalArgs {
    /// A bundle, by name or path
    #[arg(long, value_name = "BUNDLE", group = "network", requires = "choice")]
    pub(crate) supernet: Option<String>,
    /// A folder written by `ofa search --out` or `ofa export`
    #[arg(long, value_name = "FOLDER", group = "network", conflicts_with = "choice")]
    pub(crate) extracted: Option<PathBuf>,
    /// Images: parquet:PATH, cifar:FOLDER, folder:FOLDER, idx:FOLDER or synthetic
    #[arg(long, required_unless_present = "logits")]
    pub(crate) data: Option<String>,
    /// Which of the images
    #[arg(long, value_enum, default_value_t = PartArg::Test, conflicts_with = "extracted")]
    pub(crate) part: PartArg,
    /// Images for batch-norm calibration: of the data, or those of the bundle
    #[arg(long, value_enum, default_value_t = CalibrationArg::Data, conflicts_with = "extracted")]
    pub(crate) calibration: CalibrationArg,
    /// A file with one subnet
    #[arg(long, value_name = "F")]
    pub(crate) subnet: Option<PathBuf>,
    /// Subnets, one JSON object per line
    #[arg(long, value_name = "F.jsonl")]
    pub(crate) subnets: Option<PathBuf>,
    /// The largest subnet at the highest resolution
    #[arg(long)]
    pub(crate) largest: bool,
    /// The smallest subnet at the lowest resolution
    #[arg(long)]
    pub(crate) smallest: bool,
    /// With --format json: whether each image's first guess is right, as `right`, a text of 1 and 0
    #[arg(long)]
    pub(crate) per_image: bool,
    /// Write logits of --inputs instead of measuring accuracy
    #[arg(long, value_name = "OUT.npz", requires_all = ["inputs", "supernet"], conflicts_with = "data")]
    pub(crate) logits: Option<PathBuf>,
    /// Arrays r128, r160, … float32 [N, 3, r, r]; each subnet reads that of its resolution
    #[arg(long, value_name = "IN.npz", requires = "logits")]
    pub(crate) inputs: Option<PathBuf>,
    /// Batch-norm statistics for --logits: stored, or calibrate:CAL.npz (array `batches` [B, N, 3, H, W])
    #[arg(long, default_value = "stored", requires = "logits")]
    pub(crate) batch_norm: String,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// Which images an evaluation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PartArg {
    /// The test set: for final reports.
    Test,
    /// The part of the training set that the recipe kept apart: for decisions.
    HeldOut,
}

/// Which images calibrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CalibrationArg {
    /// Training images of --data.
    Data,
    /// The images that come with the bundle.
    Bundle,
}

#[derive(Debug, Subcommand)]
#[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "answered by an error without LibTorch"))]
pub(crate) enum CalibrationCommand {
    /// Distil images whose batch-norm statistics match those of the data, and put them into the bundle
    Make(CalibrationArgs),
    /// Top-1 of random subnets on held-out images, calibrated with real images and with the bundle's own
    Compare {
        #[command(flatten)]
        on: CalibrationArgs,
        /// How many subnets
        #[arg(short, default_value_t = 10)]
        n: usize,
        /// Equal seeds compare equal subnets
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// `ofa calibration`.
#[derive(Debug, Args)]
#[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "answered by an error without LibTorch"))]
pub(crate) struct CalibrationArgs {
    /// A bundle, by name or path
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) supernet: String,
    /// Images: parquet:PATH, cifar:FOLDER, folder:FOLDER, idx:FOLDER or synthetic
    #[arg(long)]
    pub(crate) data: String,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PredictorCommand {
    /// Measure subnets of a trained supernet on held-out images; goes on where it stopped
    Collect(CollectArgs),
    /// Fit a predictor to measured pairs, and judge it by pairs it never saw
    Fit(FitArgs),
    /// Subnets to measure next, one per line: near the front that measured pairs let expect
    Propose(ProposeArgs),
    /// Judge a predictor by measured pairs
    Eval {
        /// A predictor's file, or a bundle
        #[arg(long)]
        predictor: String,
        /// Measured pairs
        #[arg(long, value_name = "PAIRS.parquet")]
        pairs: PathBuf,
        /// The predictor's space, where it is not a shipped one
        #[arg(long)]
        space: Option<String>,
    },
    /// Turn a published predictor (.pth; tensors are read, nothing in it is executed) into one for `search`
    Import {
        /// The published file
        file: PathBuf,
        /// The space it judges, or ofa-resnet50
        #[arg(long)]
        space: String,
        /// Resolutions it was trained on, in the order of its columns; needed where its columns do not say
        #[arg(long, value_name = "R,…", value_delimiter = ',')]
        resolutions: Option<Vec<u32>>,
        /// Where the predictor goes
        #[arg(long, value_name = "P.safetensors")]
        out: PathBuf,
    },
    /// Predicted top-1 of subnets
    Predict {
        /// A predictor's file, or a bundle
        #[arg(long)]
        predictor: String,
        /// Subnets, one JSON object per line
        #[arg(long, value_name = "F.jsonl")]
        subnets: PathBuf,
        /// The predictor's space, where it is not a shipped one
        #[arg(long)]
        space: Option<String>,
    },
}

/// `ofa predictor collect`.
#[derive(Debug, Args)]
#[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "answered by an error without LibTorch"))]
pub(crate) struct CollectArgs {
    /// A bundle, by name or path
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) supernet: String,
    /// Images: parquet:PATH, cifar:FOLDER, folder:FOLDER, idx:FOLDER or synthetic
    #[arg(long)]
    pub(crate) data: String,
    /// How many subnets
    #[arg(short, long, default_value_t = 1000)]
    pub(crate) n: usize,
    /// Equal seeds measure equal subnets
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The file of pairs; pairs that it holds already are kept
    #[arg(long, value_name = "PAIRS.parquet")]
    pub(crate) out: PathBuf,
    /// After these, so many rounds of fitting and of measuring so many subnets near the front: 5x40
    #[arg(long, value_name = "ROUNDSxN", value_parser = parse_rounds)]
    pub(crate) near_front: Option<(usize, usize)>,
    #[command(flatten)]
    pub(crate) front: FrontArgs,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// `5x40`.
fn parse_rounds(word: &str) -> Result<(usize, usize), String> {
    let number = |word: &str| word.parse().ok().filter(|number| (1..=100_000).contains(number));
    let parts = word.split_once(['x', '×']).and_then(|(rounds, count)| Some((number(rounds)?, number(count)?)));
    parts.ok_or_else(|| format!("`{word}` is not rounds and subnets per round, for example 5x40"))
}

/// Which front.
#[derive(Clone, Debug, Args)]
pub(crate) struct FrontArgs {
    /// The device whose front it is; without one, that of MACs or parameters
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// The cost along which it lies: energy, latency, macs or params; by default the first that the target knows
    #[arg(long, value_name = "COST", value_parser = parse_quantity)]
    pub(crate) along: Option<Quantity>,
    /// From this cost on, in the cost's unit: 15ms, 3M; by default from the cheapest subnet
    #[arg(long, value_name = "COST", requires = "to")]
    pub(crate) from: Option<String>,
    /// Up to this cost; by default to the dearest subnet
    #[arg(long, value_name = "COST", requires = "from")]
    pub(crate) to: Option<String>,
}

fn parse_quantity(name: &str) -> Result<Quantity, String> {
    let known = || "known are energy, latency, macs, params".to_owned();
    Quantity::ALL.into_iter().find(|quantity| quantity.name() == name).ok_or_else(known)
}

/// `ofa predictor propose`.
#[derive(Debug, Args)]
pub(crate) struct ProposeArgs {
    /// Measured pairs; may be given several times
    #[arg(long, value_name = "PAIRS.parquet", required = true)]
    pub(crate) pairs: Vec<PathBuf>,
    /// The pairs' space
    #[arg(long)]
    pub(crate) space: String,
    /// How many subnets
    #[arg(short, long, default_value_t = 40)]
    pub(crate) n: usize,
    /// Equal seeds propose equal subnets
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) front: FrontArgs,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

/// `ofa predictor fit`.
#[derive(Debug, Args)]
pub(crate) struct FitArgs {
    /// Measured pairs; may be given several times
    #[arg(long, value_name = "PAIRS.parquet", required = true)]
    pub(crate) pairs: Vec<PathBuf>,
    /// The pairs' space
    #[arg(long)]
    pub(crate) space: String,
    /// Where the predictor goes; its report goes beside it
    #[arg(long, value_name = "P.safetensors")]
    pub(crate) out: PathBuf,
    /// Subnets set aside to judge the fit
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) test_pairs: usize,
    /// What to fit
    #[arg(long, value_enum, default_value_t = ModelArg::Auto)]
    pub(crate) model: ModelArg,
    /// MLPs; 0 for the closed-form parts alone, the default without LibTorch
    #[arg(long, value_name = "N")]
    pub(crate) members: Option<usize>,
    /// Times that every pair is seen
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<usize>,
    /// Seed of the split, the initial weights and the batches
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

/// Parts of a predictor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelArg {
    /// The one of the others with the highest cross-validated Kendall tau-b
    Auto,
    /// A ridge regression, what pairs of choices add, and MLPs for the rest
    Ensemble,
    /// The ridge regression alone: a sum over blocks, which `search --algorithm exact` can solve
    Additive,
    /// MLPs alone, of the published shape (three hidden layers of 400)
    Mlp,
}

/// `ofa search`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("real_images").args(["out", "verify"]).multiple(true))]
pub(crate) struct SearchArgs {
    /// A target's name or path; may be left out when only MACs and parameters are limited
    #[arg(long, short)]
    pub(crate) target: Option<String>,
    /// Several targets, one search for each, as a table; --out gets a folder for each
    #[arg(long, value_name = "T,…", value_delimiter = ',', conflicts_with = "target")]
    pub(crate) targets: Vec<String>,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// A bundle, by name or path; without it, the target's default
    #[arg(long, value_name = "BUNDLE", conflicts_with_all = ["space", "predictor"])]
    pub(crate) supernet: Option<String>,
    /// A space, to be searched with the target's bundle for it or with --predictor
    #[arg(long)]
    pub(crate) space: Option<String>,
    /// A predictor's file
    #[arg(long)]
    pub(crate) predictor: Option<String>,
    /// evolution (annealing populations and climbs), local (climbs), random, nsga2 (several objectives) or exact (the
    /// certified front of an additive predictor); by default evolution, and nsga2 for several objectives
    #[arg(long, value_name = "NAME", value_parser = parse_algorithm)]
    pub(crate) algorithm: Option<Algorithm>,
    /// What is to be made good: accuracy, energy, latency, macs, params; several give a front
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', default_value = "accuracy", value_parser = parse_objective)]
    pub(crate) objectives: Vec<Objective>,
    /// Subnets to begin with, one JSON object per line
    #[arg(long, value_name = "F.jsonl")]
    pub(crate) start: Option<PathBuf>,
    /// Evaluations in all, each of a distinct subnet: 50100, or as many as --time allows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) evaluations: Option<u64>,
    /// How long to search, for example 2s; says how many --evaluations that were, to repeat it with
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) time: Option<Duration>,
    /// Keep energy and latency within budget with this probability, for example 0.95, given the target's errors
    #[arg(long, value_name = "P", value_parser = str::parse::<Confidence>)]
    pub(crate) confidence: Option<Confidence>,
    /// Equal seeds find equal subnets
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// How many subnets to report, best first
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) top: u64,
    /// Folder for the result, the history, and the weights of the best subnet where a bundle has them
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Write the weights in this form, too
    #[arg(long, value_enum, requires = "out", default_value_t = WeightsForm::Safetensors)]
    pub(crate) to: WeightsForm,
    /// Measure this many of the best on held-out images of --data and put the truly best first
    #[arg(long, value_name = "K", requires = "data", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) verify: Option<u64>,
    /// Real images: to verify with, and to calibrate the weights with instead of the bundle's own images
    #[arg(long, requires = "real_images")]
    pub(crate) data: Option<String>,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let seconds: Seconds = text.parse().map_err(|error: HwError| error.to_string())?;
    Duration::try_from_secs_f64(seconds.0).map_err(|error| error.to_string())
}

fn parse_algorithm(name: &str) -> Result<Algorithm, String> {
    let all = Algorithm::ALL;
    let known = || format!("known are {}", all.map(Algorithm::name).join(", "));
    all.into_iter().find(|algorithm| algorithm.name() == name).ok_or_else(known)
}

fn parse_objective(name: &str) -> Result<Objective, String> {
    objective(name).ok_or_else(|| "known are accuracy, energy, latency, macs, params".to_owned())
}

/// What extracted weights are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WeightsForm {
    /// Named tensors.
    Safetensors,
    /// Named tensors, and a TorchScript module that plain PyTorch runs.
    Torchscript,
}

/// Ceilings.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct BudgetArgs {
    /// Most energy per inference, for example 50mJ
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) energy: Option<Joules>,
    /// Longest time per inference, for example 20ms
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) latency: Option<Seconds>,
    /// Most multiply-accumulates, for example 300M
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) macs: Option<Macs>,
    /// Most parameters, for example 5M
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) params: Option<Params>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// A checkpoint of the published once-for-all MobileNetV3 supernets
    OfaMbv3(ImportArgs),
}

/// `ofa import`.
#[derive(Debug, Args)]
#[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "answered by an error without LibTorch"))]
pub(crate) struct ImportArgs {
    /// The checkpoint; tensors are read, nothing in it is executed
    pub(crate) checkpoint: PathBuf,
    /// The space of the weights
    #[arg(long)]
    pub(crate) space: String,
    /// Folder of the bundle
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) out: PathBuf,
}

/// `ofa export`.
#[derive(Debug, Args)]
#[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "answered by an error without LibTorch"))]
pub(crate) struct ExportArgs {
    /// A bundle, by name or path
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) supernet: String,
    /// A file with one subnet
    #[arg(long, value_name = "F")]
    pub(crate) subnet: PathBuf,
    /// How weights are written; torchscript adds a module that plain PyTorch runs
    #[arg(long, value_enum, default_value_t = WeightsForm::Safetensors)]
    pub(crate) to: WeightsForm,
    /// Images to calibrate with instead of the bundle's own: parquet:PATH, cifar:FOLDER, folder:FOLDER or idx:FOLDER
    #[arg(long)]
    pub(crate) data: Option<String>,
    /// Folder for the weights and what is needed to feed them
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_argument_does_not_take_the_name_of_a_global_one() {
        let line = ["ofa", "target", "import", "ofa-yaml", "folder", "--name", "mine", "--format", "json"];
        let cli = Cli::try_parse_from(line).unwrap();
        assert_eq!(cli.common.format, Format::Json);
    }
}
