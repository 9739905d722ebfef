//! Arguments of `ofa cite`.

use clap::{Args, ValueEnum};

/// `ofa cite`.
#[derive(Debug, Args)]
pub(crate) struct CiteArgs {
    /// A target's name or path; may be given several times. Without it and --supernet, all targets and bundles
    #[arg(short, long, value_name = "TARGET")]
    pub(crate) target: Vec<String>,
    /// A bundle's name or path; may be given several times
    #[arg(long, value_name = "BUNDLE")]
    pub(crate) supernet: Vec<String>,
    /// What is written
    #[arg(long = "as", value_enum, default_value_t = CiteForm::Text)]
    pub(crate) form: CiteForm,
}

/// What citations are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CiteForm {
    /// Sources, licences and grades, to be read
    Text,
    /// The papers as entries of BibTeX, each once
    Bibtex,
}
