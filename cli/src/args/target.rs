//! `ofa target`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use experiments::torch::DeviceChoice;

use super::parse;

const IMPORT_FORMATS: &str = "\
Formats:
  ofa-yaml          latency tables of once-for-all: a folder of RESOLUTION_lookup_table.yaml, or one
  proxyless-yaml    the latency table of ProxylessNAS
  hw-nas-bench      the FBNet part of HW-NAS-Bench (JSON), one --device of it
  single-path-nas   the runtime model of Single-Path NAS (JSON)
  netadapt          NetAdapt tables in their JSON form, a file or a folder
  help              HELP's latencies of whole networks (CSV), one --device: kept as networks for `target validate`
  tflite-benchmark  a folder: operators.csv of `target template`, a benchmark_model op profile per operator
  ort-profile       an ONNX Runtime profile (JSON), or a folder: operators.csv and a profile per operator";

const FIT_NOTES: &str = "\
A model fitted to a table answers for operators that the table lacks; with --keep, the table still answers first.
Answers of a model are flagged as fitted, their error grows with every doubling outside the measured shapes, and beyond
a limit (--extrapolation) there are none. A table and networks are fitted apart: they are measurements under different
conditions, and make two targets; `target validate --correct` brings a table's sums closer to networks.";

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
        #[arg(long, value_name = "SUBNETS.jsonl")]
        subnets: PathBuf,
        /// Let fitted models answer however far outside of what they were fitted to
        #[arg(long)]
        extrapolate: bool,
    },
    /// Energy of layers or subnets on a row-stationary accelerator, from counted accesses
    Energy(EnergyArgs),
    /// Keep a table of measured operators (CSV or Parquet) as your own target
    Add {
        /// The table
        #[arg(value_name = "TABLE.csv")]
        table: PathBuf,
        /// The target's name
        #[arg(long)]
        name: String,
        /// YAML about device and measurements; without it, the one beside the table
        #[arg(long, value_name = "MANIFEST.yaml")]
        manifest: Option<PathBuf>,
        /// Replace a target of your own of that name
        #[arg(long)]
        replace: bool,
    },
    /// Time every operator of a space on the machine at hand, and keep the table as your own target
    Measure(MeasureArgs),
    /// Keep measurements of a foreign format as your own target
    #[command(after_help = IMPORT_FORMATS)]
    Import {
        /// The format: ofa-yaml, proxyless-yaml, hw-nas-bench, single-path-nas, netadapt, help, tflite-benchmark or
        /// ort-profile
        #[arg(value_name = "FORMAT")]
        layout: String,
        /// A file or a folder
        path: PathBuf,
        /// The target's name
        #[arg(long)]
        name: String,
        /// Which device, where the file holds several (hw-nas-bench, help); without it, the one that the name contains
        #[arg(long)]
        device: Option<String>,
        /// Replace a target of your own of that name
        #[arg(long)]
        replace: bool,
    },
    /// Fit models to a target's table, or to networks measured whole, and say how far to trust them
    #[command(after_help = FIT_NOTES)]
    Fit(TargetFitArgs),
    /// Compare a target's sums with networks measured whole
    Validate {
        /// A target's name or path
        target: String,
        /// CSV with one network per row: subnet (JSON), or ops and resolution; latency_ms, energy_mJ; or the name of an
        /// import
        #[arg(long, value_name = "FILE.csv")]
        networks: String,
        /// The networks' space; without it, the one that each row names
        #[arg(long)]
        space: Option<String>,
        /// Fit the affine correction of the sums, and judge it on networks it was not fitted to
        #[arg(long)]
        correct: bool,
        /// Keep the corrected target under this name
        #[arg(long, requires = "correct", value_name = "NAME")]
        keep: Option<String>,
        /// Replace a target of your own of that name
        #[arg(long, requires = "keep")]
        replace: bool,
        /// Keep a correction that is far from 1 or still far off; it never makes grade A
        #[arg(long, requires = "keep")]
        implausible: bool,
    },
    /// Remove a target of your own
    Rm {
        /// Its name
        name: String,
    },
    /// Rename a target of your own
    Rename {
        /// Its name
        old: String,
        /// The name it gets
        new: String,
    },
    /// The cheapest, the most expensive and the median network of a space on a target
    Range {
        /// A target's name or path
        target: String,
        /// The space
        #[arg(long)]
        space: String,
    },
    /// Compare two targets, operator by operator
    Diff {
        /// A target's name or path
        #[arg(value_name = "TARGET")]
        a: String,
        /// Another
        #[arg(value_name = "OTHER")]
        b: String,
        /// Compare the operators of a space, not those of the targets' tables
        #[arg(long)]
        space: Option<String>,
    },
    /// The JSON Schema of a table's rows, or of the YAML beside a table
    Schema {
        /// What to describe
        #[arg(value_enum)]
        of: SchemaOf,
    },
    /// The work list of a space: every operator it can produce, once, as a table to fill in for `target add`
    Template {
        /// A shipped space, or the path of one
        space: String,
        /// Only the operators that this target has no measured value of
        #[arg(long)]
        target: Option<String>,
        /// Write the list to a file, not to standard output
        #[arg(long, value_name = "FILE.csv")]
        out: Option<PathBuf>,
        /// Write the list and one ONNX model per operator into a folder, to time them elsewhere and import the profiles
        #[arg(long, value_name = "FOLDER", conflicts_with = "out")]
        models: Option<PathBuf>,
    },
}

/// What `ofa target schema` describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// One row of a table of operators.
    Row,
    /// The YAML beside a table, and that of a target.
    Manifest,
}

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
    #[arg(long, value_name = "IMAGES", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub(crate) batch: Option<u64>,
    /// Subnets of this space instead of layers: a shipped space, or the path of one
    #[arg(long, requires = "subnets")]
    pub(crate) space: Option<String>,
    /// Subnets, one JSON object per line
    #[arg(long, value_name = "SUBNETS.jsonl", requires = "space")]
    pub(crate) subnets: Option<PathBuf>,
}

/// `ofa target fit`.
#[derive(Debug, Args)]
pub(crate) struct TargetFitArgs {
    /// A target with a table of measured operators, by name or path
    #[arg(required_unless_present = "networks", conflicts_with = "networks")]
    pub(crate) target: Option<String>,
    /// Networks measured whole instead of a table: a CSV as for `target validate`, or the name of an import
    #[arg(long, value_name = "FILE.csv|NAME")]
    pub(crate) networks: Option<String>,
    /// The space of the networks; of a table, the space whose networks and operators the model is judged on
    #[arg(long)]
    pub(crate) space: Option<String>,
    /// Take the terms that the table never exercised (squeeze-excite, h-swish, kernel 7) from this target's model, by
    /// the ratio of the two on the plain blocks of its table, or of this one where it has no table, as shipped targets;
    /// half of each counts as error
    #[arg(long, value_name = "TARGET", conflicts_with = "networks")]
    pub(crate) transfer: Option<String>,
    /// Doublings outside the measured shapes up to which the model answers
    #[arg(long, value_name = "DOUBLINGS", allow_hyphen_values = true, value_parser = parse_doublings)]
    pub(crate) extrapolation: Option<f64>,
    /// Keep the model as your own target of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) keep: Option<String>,
    /// Replace a target of your own of that name
    #[arg(long, requires = "keep")]
    pub(crate) replace: bool,
}

fn parse_doublings(text: &str) -> Result<f64, String> {
    let doublings: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=64.0).contains(&doublings) { Ok(doublings) } else { Err("give a number from 0 to 64".to_owned()) }
}

/// `ofa target measure`.
#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// The space whose operators are timed
    #[arg(long)]
    pub(crate) space: String,
    /// The target's name; the same command goes on with a measurement that was stopped
    #[arg(long)]
    pub(crate) name: String,
    /// Replace a target of your own of that name
    #[arg(long)]
    pub(crate) replace: bool,
    /// Some of the space's resolutions: 24,32; by default all
    #[arg(long, value_delimiter = ',', value_name = "PIXELS,…")]
    pub(crate) resolutions: Vec<u32>,
    /// Random networks that are timed whole and compared with the sums of their operators
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub(crate) networks: u32,
    /// Relative standard error at which a time is settled
    #[arg(long, default_value_t = 0.01, value_parser = parse_precision)]
    pub(crate) precision: f64,
    /// Seed of the order of visits and of the networks
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where to run: auto, cpu or cuda:N
    #[arg(long, default_value = "auto", value_parser = parse::<DeviceChoice>)]
    pub(crate) device: DeviceChoice,
    /// Threads to run with
    #[arg(long, default_value_t = 1, value_parser = super::parse_threads)]
    pub(crate) threads: u32,
}

fn parse_precision(text: &str) -> Result<f64, String> {
    let precision: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1e-4..=0.5).contains(&precision) { Ok(precision) } else { Err("give a number from 0.0001 to 0.5".to_owned()) }
}
