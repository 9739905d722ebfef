//! The command line.

mod build;
mod cite;
mod data;
#[cfg(test)]
mod documented;
mod eval;
mod examples;
mod global;
mod import;
mod network;
mod predictor;
mod refine;
pub(crate) mod report;
mod search;
mod space;
pub(crate) mod sweep;
mod target;
mod training_energy;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use experiments::error::Error;
use experiments::torch::{DataSource, DeviceChoice};

pub(crate) use self::build::{BuildArgs, InitArgs};
pub(crate) use self::cite::{CiteArgs, CiteForm};
pub(crate) use self::data::{DataCheckArgs, DataCommand, SkipBrokenArg};
pub(crate) use self::eval::{CalibrationArg, CalibrationArgs, CalibrationCommand, EvalArgs, PartArg};
pub(crate) use self::global::{Common, Format, LogFormat};
pub(crate) use self::import::{ImportArgs, ImportCommand};
pub(crate) use self::network::NetworkCommand;
pub(crate) use self::predictor::{CollectArgs, FitArgs, FrontArgs, ModelArg, PredictorCommand, ProposeArgs};
pub(crate) use self::refine::{FinetuneArgs, RefineArgs, WinnerArg};
pub(crate) use self::search::SearchArgs;
pub(crate) use self::space::SpaceCommand;
pub(crate) use self::target::{EnergyArgs, MeasureArgs, SchemaOf, TargetCommand, TargetFitArgs};
pub(crate) use self::training_energy::TrainingEnergyArgs;

/// Once-for-all architecture search: one supernet, one table per device, the best subnet within a budget.
#[derive(Debug, Parser)]
#[command(name = "ofa", version, propagate_version = true, disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Columns of a help text: what fits a terminal that nobody widened.
const WIDTH: usize = 80;

/// The command line as clap knows it, each verb with its examples.
pub(crate) fn definition() -> clap::Command {
    examples::added(Cli::command().max_term_width(WIDTH))
}

impl Cli {
    /// What words ask for, the program's name the first of them.
    ///
    /// # Errors
    /// A wrong command line; also where help or the version is asked for.
    pub(crate) fn read<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Result<Cli, clap::Error> {
        let mut definition = definition();
        let mut matches = definition.try_get_matches_from_mut(words)?;
        let mut cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut definition))?;
        cli.command.settle_images();
        Ok(cli)
    }
}

/// Threads: many more than there are cores only wait for each other.
pub(super) fn parse_threads(word: &str) -> Result<u32, String> {
    const PER_CORE: u32 = 16;
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let most = PER_CORE * cores;
    let number = word.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("`{word}` is not a number from 1 to {most}, {PER_CORE} for each core of this machine"))
}

/// Subnets: more than a million is a slip, and would fill the memory before anybody could stop it.
pub(super) fn parse_count(word: &str) -> Result<usize, String> {
    let number = word.parse().ok().filter(|number| (1..=1_000_000).contains(number));
    number.ok_or_else(|| format!("`{word}` is not a number from 1 to 1000000"))
}

/// A value whose own error, with its hint, says what is wrong with it.
fn parse<T: FromStr>(text: &str) -> Result<T, Error>
where
    Error: From<T::Err>,
{
    Ok(text.parse()?)
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Versions, devices, threads, folders, and what is wrong with them
    Doctor,
    /// Images: what a source of them holds, and what is wrong with it
    #[command(subcommand)]
    Data(DataCommand),
    /// Look at images and write the files of a build for them: recipe, space, sweep, settings
    Init(InitArgs),
    /// From the files of `ofa init` to verified networks, stage by stage; goes on after a kill with the same command
    Build(BuildArgs),
    /// Search spaces: which there are, how many subnets they hold, what subnets cost
    #[command(subcommand)]
    Space(SpaceCommand),
    /// Target devices: which there are, what a network costs on one, adding your own
    #[command(subcommand)]
    Target(TargetCommand),
    /// Train a supernet by a recipe; a stopped run goes on with --resume
    Train(TrainArgs),
    /// Train a network on, with the weights it has; a stopped run goes on with --resume
    Finetune(FinetuneArgs),
    /// Make a network fit a budget step by step (NetAdapt), narrower where that costs least; goes on with --resume
    Refine(RefineArgs),
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
    /// Many searches as one: targets, budgets, seeds and algorithms, computed once, in any number of processes
    #[command(subcommand)]
    Sweep(sweep::SweepCommand),
    /// Results as a page that needs no network, as tables for a document, or as runs for MLflow and Trackio
    Report(report::ReportArgs),
    /// Who measured and published what numbers stand on, with licences and grades: of devices, of bundles
    Cite(CiteArgs),
    /// JSON Schemas of all files that are read and written: for editors, and for programs that write them
    Schema {
        /// The format; without it, all of them are listed
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(experiments::schemas::ALL.map(|format| format.name)))]
        name: Option<String>,
    },
    /// Networks with or without a search space: published ones, what they consist of, cost and need
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Turn published weights into a bundle
    #[command(subcommand)]
    Import(ImportCommand),
    /// Take a subnet's weights out of a bundle, calibrated, or write a network as one ONNX or TensorFlow Lite file
    Export(ExportArgs),
    /// Compare a file with the network that it was made of, by a runtime of others
    Verify(VerifyArgs),
    /// Completions for a shell, to be kept where it looks for them
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Manual pages, one a verb, into a folder
    Man {
        /// The folder
        #[arg(value_name = "FOLDER")]
        out: PathBuf,
    },
}

/// Where and with how many threads to compute.
#[derive(Clone, Debug, Args)]
pub(crate) struct Compute {
    /// Where to compute: auto, cpu or cuda:N
    #[arg(long, default_value = "auto", value_parser = parse::<DeviceChoice>)]
    pub(crate) device: DeviceChoice,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

/// How many threads.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Threads {
    /// Threads to compute with; without it, one per core
    #[arg(long, value_parser = parse_threads)]
    pub(crate) threads: Option<u32>,
}

/// `ofa train`.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The recipe (YAML)
    #[arg(value_name = "RECIPE.yaml")]
    pub(crate) recipe: PathBuf,
    /// Run folder
    #[arg(long, value_name = "RUN")]
    pub(crate) out: PathBuf,
    /// Go on from the newest checkpoint in the run folder
    #[arg(long)]
    pub(crate) resume: bool,
    /// Say what the run would do and take, after some steps that are timed, and write nothing
    #[arg(long, conflicts_with = "resume")]
    pub(crate) dry_run: bool,
    /// Replace a value of the recipe: batch_size=64, phases.0.epochs=3
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// Images; replaces the recipe's: folder:FOLDER, csv:FILE, jsonl:FILE, parquet:PATH, cifar:FOLDER, idx:FOLDER or synthetic
    #[arg(long, value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: Option<DataSource>,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    /// Longest time between two checkpoints, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) save_every: u64,
    /// Epochs between two measurements on held-out images
    #[arg(long, value_name = "EPOCHS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) measure_every: u64,
    /// Processes on this machine that share each batch; torchrun, srun and others that set RANK and WORLD_SIZE may start them, too
    #[arg(long, value_name = "PROCESSES", conflicts_with = "dry_run", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) nproc: Option<u32>,
    #[command(flatten)]
    pub(crate) energy: TrainingEnergyArgs,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// What extracted weights are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WeightsForm {
    /// Named tensors.
    Safetensors,
    /// Named tensors, and a TorchScript module that plain PyTorch runs.
    Torchscript,
    /// Some kB that point to the bundle: the subnet and its batch-norm statistics
    Pointer,
}

/// What `ofa export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportForm {
    /// Named tensors.
    Safetensors,
    /// Named tensors, and a TorchScript module that plain PyTorch runs.
    Torchscript,
    /// Some kB that point to the bundle: the subnet and its batch-norm statistics.
    Pointer,
    /// One ONNX file, which a runtime of others computed the same from.
    Onnx,
    /// One TensorFlow Lite file, likewise.
    Tflite,
}

/// `ofa export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A bundle, by name or path, which subnets are taken out of
    #[arg(long, value_name = "BUNDLE", requires = "which")]
    pub(crate) supernet: Option<String>,
    /// A file with one subnet
    #[arg(long, value_name = "SUBNET.json", requires = "supernet", group = "which")]
    pub(crate) subnet: Option<PathBuf>,
    /// A file with several subnets, one a line, which become ONNX graphs over one file of weights; with --int8 in int8
    #[arg(long, value_name = "SUBNETS.jsonl", requires = "supernet", group = "which")]
    pub(crate) nested: Option<PathBuf>,
    /// Names of the nested subnets, in their order, separated by commas: fast,balanced,best
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "nested", conflicts_with = "subnet")]
    pub(crate) names: Vec<String>,
    /// The folder of a network, for one file: written by `ofa search --out`, `ofa refine`, `ofa finetune` or `ofa network from`
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["supernet", "which", "names"], required_unless_present = "supernet")]
    pub(crate) network: Option<PathBuf>,
    /// What is written: named tensors, with a module that plain PyTorch runs, or one file of another format
    #[arg(long, value_name = "FORM", value_enum, default_value_t = ExportForm::Safetensors)]
    pub(crate) to: ExportForm,
    /// A file of 8-bit whole numbers that reads the bytes of pixels; --data or the bundle's images say how far they reach
    #[arg(long)]
    pub(crate) int8: bool,
    /// Layers that compute in float32 in int8, by name or by the beginning of their names, separated by commas; what they make is
    /// int8 again
    #[arg(long, value_name = "LAYERS", value_delimiter = ',', requires = "int8")]
    pub(crate) keep_float: Vec<String>,
    /// Measure top-1 with each layer alone in int8, too
    #[arg(long, requires = "int8")]
    pub(crate) damage: bool,
    /// Test images that a file is checked with, 0 for all; 100 without it, and 1000 in int8
    #[arg(long, value_name = "COUNT")]
    pub(crate) images: Option<usize>,
    /// Images to calibrate and to check with, instead of the bundle's own: folder:FOLDER, csv:FILE, jsonl:FILE,
    /// parquet:PATH, cifar:FOLDER or idx:FOLDER
    #[arg(long, value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: Option<DataSource>,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    /// Folder for the weights and what is needed to feed them, or for the nested subnets; with --to onnx or tflite, the file
    #[arg(long, value_name = "PATH")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// Whose runtime runs a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// tract, and what Python has where that cannot run it
    Any,
    /// tract, which is built in
    Tract,
    /// onnxruntime or LiteRT of python3, or of the Python that OFA_PYTHON names
    Python,
}

/// `ofa verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The file, ONNX or TensorFlow Lite
    pub(crate) file: PathBuf,
    /// The folder of the network that it was made of
    #[arg(long, value_name = "FOLDER")]
    pub(crate) against: PathBuf,
    /// Images to compare with: folder:FOLDER, csv:FILE, jsonl:FILE, parquet:PATH, cifar:FOLDER or idx:FOLDER; noise without it
    #[arg(long, value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: Option<DataSource>,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    /// Whose runtime runs it
    #[arg(long, value_name = "RUNTIME", value_enum, default_value_t = By::Any)]
    pub(crate) by: By,
    /// Test images compared, 0 for all; 1000 without it
    #[arg(long, value_name = "COUNT")]
    pub(crate) images: Option<usize>,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn an_argument_does_not_take_the_name_of_a_global_one() {
        let line = ["ofa", "target", "import", "ofa-yaml", "folder", "--name", "mine", "--format", "json"];
        let cli = Cli::try_parse_from(line).unwrap();
        assert_eq!(cli.common.format, Format::Json);
    }
}
