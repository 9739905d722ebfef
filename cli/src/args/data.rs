//! Arguments of `ofa data`, and what all verbs that read images have in common.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use experiments::torch::{DataSource, SkipBroken};

use super::{Command, PredictorCommand, parse};
use crate::args::CalibrationCommand;
use crate::args::sweep::SweepCommand;

/// Broken images that may be left out.
#[derive(Clone, Debug, Args)]
pub(crate) struct SkipBrokenArg {
    /// Leave broken images out where at most so many of a part are: 2%; without it, one is an error
    #[arg(long, value_name = "N%", requires = "data", value_parser = clap::value_parser!(SkipBroken))]
    skip_broken: Option<SkipBroken>,
}

impl SkipBrokenArg {
    /// Makes it a property of the images.
    fn settle<'d>(&self, data: impl IntoIterator<Item = &'d mut DataSource>) {
        if let Some(share) = self.skip_broken {
            data.into_iter().for_each(|data| *data = data.clone().skipping(share));
        }
    }
}

impl Command {
    /// Makes `--skip-broken` a property of the images that it was given for.
    pub(super) fn settle_images(&mut self) {
        match self {
            Command::Init(args) => args.skip.settle([&mut args.data]),
            Command::Build(args) => args.skip.settle(&mut args.data),
            Command::Data(DataCommand::Check(args)) => args.skip.settle([&mut args.data]),
            Command::Train(args) => args.skip.settle(&mut args.data),
            Command::Finetune(args) => args.skip.settle([&mut args.data]),
            Command::Refine(args) => args.skip.settle(&mut args.data),
            Command::Eval(args) => args.skip.settle(&mut args.data),
            Command::Predictor(PredictorCommand::Collect(args)) => args.skip.settle([&mut args.data]),
            Command::Calibration(CalibrationCommand::Make { on, .. } | CalibrationCommand::Compare { on, .. }) => {
                on.skip.settle([&mut on.data]);
            }
            Command::Search(args) => args.skip.settle(&mut args.data),
            Command::Sweep(SweepCommand::Run(args)) => args.skip.settle(&mut args.data),
            Command::Export(args) => args.skip.settle(&mut args.data),
            Command::Verify(args) => args.skip.settle(&mut args.data),
            _ => {}
        }
    }
}

/// `ofa data`.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Look at every image: counts, classes, sizes, pixels, duplicates, and all that are broken
    Check(DataCheckArgs),
}

/// `ofa data check`.
#[derive(Debug, Args)]
pub(crate) struct DataCheckArgs {
    /// Images: folder:FOLDER, csv:FILE, jsonl:FILE, parquet:PATH, cifar:FOLDER or idx:FOLDER
    #[arg(value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: DataSource,
    /// Write some training images of each class to this file, a row a class: up to 10 of up to 20 classes
    #[arg(long, value_name = "FILE.png")]
    pub(crate) sheet: Option<PathBuf>,
    /// Chooses the images of the sheet
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
}

#[cfg(test)]
mod tests {
    use crate::args::Cli;

    #[test]
    fn what_may_be_skipped_becomes_a_property_of_the_images() {
        for line in [
            "init f --data folder:img",
            "build f --data folder:img",
            "train r.yaml --out run --data folder:img",
            "finetune --network n --out run --data folder:img",
            "refine --network n --out run --data folder:img",
            "eval --network n --data folder:img",
            "predictor collect --supernet s --out p --data folder:img",
            "calibration make --supernet s --data folder:img",
            "calibration compare --supernet s --data folder:img",
            "search --verify 2 --data folder:img",
            "export --network n --to onnx --out f --data folder:img",
            "verify f --against n --data folder:img",
            "data check folder:img",
            "sweep run s.yaml --out r --data folder:img",
        ] {
            let words =
                |more: &str| format!("ofa {line}{more}").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let cli = Cli::read(words(" --skip-broken 2%")).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(format!("{:?}", cli.command).contains("millionths: 20000"), "{line}: {:?}", cli.command);
            assert!(Cli::read(words(" --skip-broken 2")).unwrap_err().to_string().contains("such as 2%"), "{line}");
        }
        let without = ["ofa", "train", "r.yaml", "--out", "run", "--skip-broken", "2%"];
        assert!(Cli::read(without).unwrap_err().to_string().contains("--data"));
    }
}
