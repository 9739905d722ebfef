//! `ofa search`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use experiments::error::Result;
use experiments::search::algorithm::{Algorithm, objective};
use experiments::search::confidence::Confidence;
use experiments::torch::DataSource;
use hw_targets::budget::Budget;
use network::units::{Bytes, Joules, Macs, Params, Quantity, Seconds, UnitError};
use search::nsga2::Objective;

use super::predictor::meaning;
use super::{Compute, SkipBrokenArg, WeightsForm, parse};

/// `ofa search`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("real_images").args(["out", "verify"]).multiple(true))]
pub(crate) struct SearchArgs {
    /// A target's name or path; may be left out when neither energy nor latency is limited
    #[arg(long, short)]
    pub(crate) target: Option<String>,
    /// Several targets, one search for each, as a table; --out gets a folder for each
    #[arg(long, value_name = "TARGET,…", value_delimiter = ',', conflicts_with = "target", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) targets: Vec<String>,
    /// Let a target's fitted models answer however far outside of what they were fitted to
    #[arg(long)]
    pub(crate) extrapolate: bool,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// A bundle, by name or path; without it, the target's default
    #[arg(long, value_name = "BUNDLE", conflicts_with_all = ["space", "predictor"])]
    pub(crate) supernet: Option<String>,
    /// A space, to be searched with the target's bundle for it or with --predictor
    #[arg(long)]
    pub(crate) space: Option<String>,
    /// A predictor's file, or a bundle that has one
    #[arg(long, value_name = "PREDICTOR")]
    pub(crate) predictor: Option<String>,
    /// How to search; by default evolution, and nsga2 for several objectives
    #[arg(long, value_name = "ALGORITHM", value_parser = algorithms())]
    pub(crate) algorithm: Option<Algorithm>,
    /// What to optimise; several give a front
    #[arg(long, value_name = "OBJECTIVE,…", value_delimiter = ',', default_value = "accuracy", value_parser = objectives())]
    pub(crate) objectives: Vec<Objective>,
    /// Subnets to begin with, one JSON object per line
    #[arg(long, value_name = "SUBNETS.jsonl")]
    pub(crate) start: Option<PathBuf>,
    /// Evaluations in all, each of a distinct subnet: 50100, or as many as --time allows
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) evaluations: Option<u64>,
    /// How long to search, for example 2s; says how many --evaluations that were, to repeat it with
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) time: Option<Duration>,
    /// Keep energy and latency within budget with this probability, for example 0.95, given the target's errors
    #[arg(long, value_name = "PROBABILITY", value_parser = str::parse::<Confidence>)]
    pub(crate) confidence: Option<Confidence>,
    /// Equal seeds find equal subnets
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// How many subnets to report, best first
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) top: u64,
    /// Folder for the result, the history, and the weights of the best subnet where a bundle has them
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// Write the weights in this form, too
    #[arg(long, value_name = "FORM", value_enum, requires = "out", default_value_t = WeightsForm::Safetensors)]
    pub(crate) to: WeightsForm,
    /// Measure this many of the best on held-out images of --data; first comes what prediction and measurement together
    /// say is best
    #[arg(long, value_name = "COUNT", requires = "data", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) verify: Option<u64>,
    /// Real images: to verify with, and to calibrate the weights with instead of the bundle's own images
    #[arg(long, requires = "real_images", value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: Option<DataSource>,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let seconds: Seconds = text.parse().map_err(|error: UnitError| error.to_string())?;
    Duration::try_from_secs_f64(seconds.0).map_err(|_| format!("{text} is longer than any search"))
}

/// The algorithms by name, each with what it does.
fn algorithms() -> impl TypedValueParser<Value = Algorithm> {
    let value = |algorithm: Algorithm| {
        let help = match algorithm {
            Algorithm::Evolution => "Populations that are annealed, then climbs from the best",
            Algorithm::Local => "Climbs from random subnets",
            Algorithm::Random => "Subnets at random, to compare with",
            Algorithm::Nsga2 => "A front of several objectives",
            Algorithm::Exact => "The certified front of an additive predictor",
        };
        PossibleValue::new(algorithm.name()).help(help)
    };
    PossibleValuesParser::new(Algorithm::ALL.map(value)).try_map(|name| {
        let named = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        named.ok_or("is no algorithm")
    })
}

/// The objectives by name, each with what it is.
fn objectives() -> impl TypedValueParser<Value = Objective> {
    let accuracy = PossibleValue::new("accuracy").help("Predicted top-1, as high as possible");
    let sums = Quantity::ALL.into_iter().filter(|quantity| quantity.is_sum());
    let costs = sums.map(|quantity| PossibleValue::new(quantity.name()).help(meaning(quantity)));
    let values: Vec<PossibleValue> = std::iter::once(accuracy).chain(costs).collect();
    PossibleValuesParser::new(values).try_map(|name| objective(&name).ok_or("is no objective"))
}

/// Ceilings.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct BudgetArgs {
    /// Most energy per inference, for example 50mJ
    #[arg(long, allow_hyphen_values = true, value_parser = parse::<Joules>)]
    pub(crate) energy: Option<Joules>,
    /// Longest time per inference, for example 20ms
    #[arg(long, allow_hyphen_values = true, value_parser = parse::<Seconds>)]
    pub(crate) latency: Option<Seconds>,
    /// Most multiply-accumulates, for example 300M
    #[arg(long, allow_hyphen_values = true, value_parser = parse::<Macs>)]
    pub(crate) macs: Option<Macs>,
    /// Most parameters, for example 5M
    #[arg(long, allow_hyphen_values = true, value_parser = parse::<Params>)]
    pub(crate) params: Option<Params>,
    /// Most flash for the weights of an int8 network, for example 1MiB; a board has a ceiling of its own
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = parse::<Bytes>)]
    pub(crate) flash: Option<Bytes>,
    /// Most memory that one int8 inference may need at its peak, for example 320KiB; a board has a ceiling of its own
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = parse::<Bytes>)]
    pub(crate) peak_memory: Option<Bytes>,
}

impl BudgetArgs {
    /// Whether there is a ceiling on that.
    pub(crate) fn limits(&self, quantity: Quantity) -> bool {
        match quantity {
            Quantity::Energy => self.energy.is_some(),
            Quantity::Latency => self.latency.is_some(),
            Quantity::Macs => self.macs.is_some(),
            Quantity::Params => self.params.is_some(),
            Quantity::Flash => self.flash.is_some(),
            Quantity::PeakMemory => self.peak_memory.is_some(),
        }
    }

    /// The ceilings together.
    pub(crate) fn budget(&self) -> Result<Budget> {
        let mut budget = Budget::new(self.energy, self.latency, self.macs, self.params)?;
        for (quantity, bytes) in [(Quantity::Flash, self.flash), (Quantity::PeakMemory, self.peak_memory)] {
            if let Some(Bytes(bytes)) = bytes {
                budget = budget.with(quantity, bytes as f64)?;
            }
        }
        Ok(budget)
    }
}
