//! `ofa predictor`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use experiments::shard::Shard;
use experiments::torch::DataSource;
use network::units::Quantity;

use super::{Compute, SkipBrokenArg, Threads, parse, parse_count};

#[derive(Debug, Subcommand)]
pub(crate) enum PredictorCommand {
    /// Measure subnets of a trained supernet on held-out images; goes on where it stopped
    Collect(Box<CollectArgs>),
    /// Fit a predictor to measured pairs, and judge it by pairs it never saw
    Fit(FitArgs),
    /// Subnets to measure next, one per line: near the front that measured pairs let expect
    Propose(ProposeArgs),
    /// Judge a predictor by measured pairs
    Eval {
        /// A predictor's file, or a bundle
        #[arg(long, value_name = "PREDICTOR")]
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
        #[arg(value_name = "PREDICTOR.pth")]
        file: PathBuf,
        /// The space it judges, or ofa-resnet50
        #[arg(long)]
        space: String,
        /// Resolutions it was trained on, in the order of its columns; needed where its columns do not say
        #[arg(long, value_name = "PIXELS,…", value_delimiter = ',')]
        resolutions: Option<Vec<u32>>,
        /// Where the predictor goes
        #[arg(long, value_name = "PREDICTOR.safetensors")]
        out: PathBuf,
    },
    /// Predicted top-1 of subnets
    Predict {
        /// A predictor's file, or a bundle
        #[arg(long, value_name = "PREDICTOR")]
        predictor: String,
        /// Subnets, one JSON object per line
        #[arg(long, value_name = "SUBNETS.jsonl")]
        subnets: PathBuf,
        /// The predictor's space, where it is not a shipped one
        #[arg(long)]
        space: Option<String>,
    },
}

/// `ofa predictor collect`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("front").args(["target", "along", "from", "to"]).multiple(true).requires("near_front"))]
pub(crate) struct CollectArgs {
    /// A bundle, by name or path
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) supernet: String,
    /// Images: folder:FOLDER, csv:FILE, jsonl:FILE, parquet:PATH, cifar:FOLDER, idx:FOLDER or synthetic
    #[arg(long, value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: DataSource,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    /// How many subnets
    #[arg(short, long, value_name = "COUNT", default_value_t = 1000, value_parser = parse_count)]
    pub(crate) n: usize,
    /// Equal seeds measure equal subnets
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The file of pairs; pairs that it holds already are kept. A part of them goes to PAIRS-2-of-4.parquet
    #[arg(long, value_name = "PAIRS.parquet")]
    pub(crate) out: PathBuf,
    /// Measure one part of the subnets: 2/4 is the second of four; without it, as RANK and WORLD_SIZE say, or all
    #[arg(long, value_name = "I/N", value_parser = parse::<Shard>, conflicts_with = "near_front")]
    pub(crate) shard: Option<Shard>,
    /// Files of pairs, as those of parts, that are taken over instead of measured again
    #[arg(long, value_name = "PAIRS.parquet", num_args = 1..)]
    pub(crate) measured: Vec<PathBuf>,
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
    let number = |word: &str| word.parse().ok().filter(|number| (1..=10_000).contains(number));
    let parts = word.split_once(['x', '×']).and_then(|(rounds, count)| Some((number(rounds)?, number(count)?)));
    parts.ok_or_else(|| format!("`{word}` is not rounds and subnets per round, for example 5x40"))
}

/// Which front.
#[derive(Clone, Debug, Args)]
pub(crate) struct FrontArgs {
    /// The device whose front it is; without one, that of MACs or parameters
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// The cost along which it lies; by default the first that the target knows
    #[arg(long, value_name = "COST", value_parser = costs())]
    pub(crate) along: Option<Quantity>,
    /// From this cost on, in the cost's unit: 15ms, 3M; by default from the cheapest subnet
    #[arg(long, value_name = "COST", requires = "to")]
    pub(crate) from: Option<String>,
    /// Up to this cost; by default to the most expensive subnet
    #[arg(long, value_name = "COST", requires = "from")]
    pub(crate) to: Option<String>,
}

/// The costs that are sums over a network's layers, by name, each with what it is.
fn costs() -> impl TypedValueParser<Value = Quantity> {
    let sums = || Quantity::ALL.into_iter().filter(|quantity| quantity.is_sum());
    let values = sums().map(|quantity| PossibleValue::new(quantity.name()).help(meaning(quantity)));
    PossibleValuesParser::new(values)
        .try_map(move |name| sums().find(|quantity| quantity.name() == name).ok_or("is no cost"))
}

/// What a cost is, in a few words.
pub(super) fn meaning(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Energy => "Of one inference on the target",
        Quantity::Latency => "Of one inference on the target",
        Quantity::Macs => "Multiply-accumulates",
        Quantity::Params => "Parameters",
        Quantity::Flash => "For the weights of an int8 network",
        Quantity::PeakMemory => "Of one inference of an int8 network",
    }
}

/// `ofa predictor propose`.
#[derive(Debug, Args)]
pub(crate) struct ProposeArgs {
    /// Measured pairs; may be given several times
    #[arg(long, value_name = "PAIRS.parquet", required = true)]
    pub(crate) pairs: Vec<PathBuf>,
    /// The pairs' space, where their file does not name it
    #[arg(long)]
    pub(crate) space: Option<String>,
    /// How many subnets
    #[arg(short, long, value_name = "COUNT", default_value_t = 40, value_parser = parse_count)]
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
    /// The pairs' space, where their file does not name it
    #[arg(long)]
    pub(crate) space: Option<String>,
    /// Where the predictor goes; its report goes beside it
    #[arg(long, value_name = "PREDICTOR.safetensors")]
    pub(crate) out: PathBuf,
    /// Subnets set aside to judge the fit; by default a fifth of the pairs, and at most 200
    #[arg(long, value_name = "COUNT")]
    pub(crate) test_pairs: Option<usize>,
    /// What to fit
    #[arg(long, value_enum, default_value_t = ModelArg::Auto)]
    pub(crate) model: ModelArg,
    /// MLPs; 0 for the closed-form parts alone, the default without LibTorch
    #[arg(long, value_name = "COUNT")]
    pub(crate) members: Option<usize>,
    /// Times that every pair is seen
    #[arg(long, value_name = "COUNT")]
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
