//! Arguments of `ofa report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `ofa report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Folders of results: of a sweep, a training, a fine-tuning, a refinement, a search, or a bundle; several are shown
    /// together
    #[arg(value_name = "FOLDER", required = true)]
    pub(crate) folders: Vec<PathBuf>,
    /// What is written
    #[arg(long = "as", value_enum, default_value_t = ReportForm::Html)]
    pub(crate) form: ReportForm,
    /// Where; without it report.html in the first folder, and tables to standard output. For mlflow and trackio a folder,
    /// which has to be named: a new one, or one that has runs already
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
}

/// What a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportForm {
    /// One page that needs no network: fronts, subnets, where the cost goes, curves, sources
    Html,
    /// A Markdown table
    Md,
    /// A LaTeX table
    Latex,
    /// A folder that MLflow reads: MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri file:PATH
    Mlflow,
    /// A folder that Trackio reads: TRACKIO_DIR=PATH trackio show
    Trackio,
}
