//! `ofa eval` and `ofa calibration`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use experiments::shard::Shard;
use experiments::torch::{BatchNormSource, DataSource};

use super::{Compute, SkipBrokenArg, parse, parse_count};

/// `ofa eval`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("network").required(true))]
#[command(group = clap::ArgGroup::new("choice").args(["subnet", "subnets", "largest", "smallest"]))]
pub(crate) struct EvalArgs {
    /// A bundle, by name or path
    #[arg(long, value_name = "BUNDLE", group = "network", requires = "choice")]
    pub(crate) supernet: Option<String>,
    /// The folder of a network: written by `ofa search --out`, `ofa export` or `ofa network from`
    #[arg(
        long = "network",
        visible_alias = "extracted",
        value_name = "FOLDER",
        group = "network",
        conflicts_with = "choice"
    )]
    pub(crate) extracted: Option<PathBuf>,
    /// Images: folder:FOLDER, csv:FILE, jsonl:FILE, parquet:PATH, cifar:FOLDER, idx:FOLDER or synthetic
    #[arg(long, required_unless_present = "logits", value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: Option<DataSource>,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    /// Which of the images
    #[arg(long, value_enum, default_value_t = PartArg::Test, conflicts_with = "extracted")]
    pub(crate) part: PartArg,
    /// Images for batch-norm calibration: of the data, or those of the bundle
    #[arg(long, value_enum, default_value_t = CalibrationArg::Data, conflicts_with = "extracted")]
    pub(crate) calibration: CalibrationArg,
    /// A file with one subnet
    #[arg(long, value_name = "SUBNET.json")]
    pub(crate) subnet: Option<PathBuf>,
    /// Subnets, one JSON object per line
    #[arg(long, value_name = "SUBNETS.jsonl")]
    pub(crate) subnets: Option<PathBuf>,
    /// Measure one part of --subnets: 2/4 is the second of four; without it, as RANK and WORLD_SIZE say, or all
    #[arg(long, value_name = "I/N", value_parser = parse::<Shard>, requires = "subnets")]
    pub(crate) shard: Option<Shard>,
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
    #[arg(long, default_value = "stored", requires = "logits", value_parser = parse::<BatchNormSource>)]
    pub(crate) batch_norm: BatchNormSource,
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
pub(crate) enum CalibrationCommand {
    /// Distil images whose batch-norm statistics match those of the data, and put them into the bundle
    Make {
        #[command(flatten)]
        on: CalibrationArgs,
        /// Updates of the images; fewer are quicker and match less closely
        #[arg(long, value_name = "STEPS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
    },
    /// Top-1 of random subnets on held-out images, calibrated with real images and with the bundle's own
    Compare {
        #[command(flatten)]
        on: CalibrationArgs,
        /// How many subnets
        #[arg(short, value_name = "COUNT", default_value_t = 10, value_parser = parse_count)]
        n: usize,
        /// Equal seeds compare equal subnets
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

/// `ofa calibration`.
#[derive(Debug, Args)]
pub(crate) struct CalibrationArgs {
    /// A bundle, by name or path
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) supernet: String,
    /// Images: folder:FOLDER, csv:FILE, jsonl:FILE, parquet:PATH, cifar:FOLDER, idx:FOLDER or synthetic
    #[arg(long, value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: DataSource,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    #[command(flatten)]
    pub(crate) compute: Compute,
}
