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
    /// Where; without it report.html in the first folder, and tables to standard output
    #[arg(long, value_name = "FILE")]
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
}
