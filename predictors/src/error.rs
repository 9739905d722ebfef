//! What can go wrong with predictors and accuracy pairs.

use std::io;
use std::path::PathBuf;

use search::error::SearchError;
use storage::failure::{Failure, FailureKind, Setting};

/// Every error of this crate: what and where; [`PredictorError::hint`] says what to try.
#[derive(Debug, thiserror::Error)]
pub enum PredictorError {
    /// A file could not be opened or read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written; the source names it.
    #[error("cannot write the result")]
    Write {
        /// Why, with the file's name.
        source: io::Error,
    },
    /// Bytes that are not what the file should be: truncated, or another format.
    #[error("{}: not a readable {expected} file: {problem}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// `predictor` or `Parquet`.
        expected: &'static str,
        /// What the parser said.
        problem: String,
    },
    /// A field of a file's metadata is missing or has a value that cannot be.
    #[error("{}: field `{field}`: {problem}", .path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A predictor lacks a tensor.
    #[error("{origin}: tensor `{tensor}` is missing")]
    MissingTensor {
        /// Where the tensors came from.
        origin: String,
        /// Its name.
        tensor: String,
    },
    /// A predictor's tensor does not have the shape that its neighbours and the space ask for.
    #[error("{origin}: tensor `{tensor}` has shape {got:?}, expected {expected:?}")]
    WrongShape {
        /// Where the tensors came from.
        origin: String,
        /// Its name.
        tensor: String,
        /// Its shape.
        got: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A predictor's tensor holds NaN or infinity.
    #[error("{origin}: tensor `{tensor}` holds {value} at position {position}")]
    NotFinite {
        /// Where the tensors came from.
        origin: String,
        /// Its name.
        tensor: String,
        /// First offending position in row-major order.
        position: usize,
        /// What stands there.
        value: f64,
    },
    /// A predictor's tensor has another element type.
    #[error("{origin}: tensor `{tensor}` has element type {got}")]
    WrongType {
        /// Where the tensors came from.
        origin: String,
        /// Its name.
        tensor: String,
        /// Its element type.
        got: String,
    },
    /// A predictor is for one space and was asked about another.
    #[error("{what} is for space `{got}`, not `{expected}`")]
    OtherSpace {
        /// What: the predictor file, or the architecture.
        what: String,
        /// Its space.
        got: String,
        /// The space asked for.
        expected: String,
    },
    /// The predictor was not trained on this resolution.
    #[error("the predictor does not know resolution {got}")]
    UnknownResolution {
        /// Asked for.
        got: u32,
        /// Trained on.
        known: Vec<u32>,
    },
    /// A list of resolutions that an encoder cannot be made with.
    #[error("resolution {got} {problem}")]
    BadResolution {
        /// The odd one out.
        got: u32,
        /// Why.
        problem: String,
        /// What is possible.
        offered: Vec<u32>,
    },
    /// An encoder without a single resolution.
    #[error("a predictor needs at least one resolution")]
    NoResolution,
    /// A Parquet file of accuracy pairs lacks a column, or the column has another type.
    #[error("{}: column `{column}` {problem}", .path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// `is missing`, `holds text`, …
        problem: String,
    },
    /// A value in a file of accuracy pairs cannot be.
    #[error("{}: row {row}, column `{column}`: {problem}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Row from 1.
        row: usize,
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A subnet in a file of accuracy pairs is none of the space.
    #[error("{}: row {row}", .path.display())]
    Subnet {
        /// The file.
        path: PathBuf,
        /// Row from 1.
        row: usize,
        /// What is wrong with it.
        source: Box<SearchError>,
    },
    /// A line is no genome of a space that is known by its encoding alone.
    #[error("{origin}:{line}: {problem}")]
    Genome {
        /// The file.
        origin: String,
        /// Line from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Too few pairs to fit or to judge a predictor.
    #[error("{got} {what}, but at least {needed} are needed")]
    TooFewPairs {
        /// Pairs of which kind.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many there must be.
        needed: usize,
    },
    /// A setting of the fit that makes no sense.
    #[error("fit setting `{name}`: {problem}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, PredictorError>;

impl Failure for PredictorError {
    fn kind(&self) -> FailureKind {
        use PredictorError::*;
        match self {
            Read { source, .. } => FailureKind::of(source),
            Write { .. } => FailureKind::Io,
            Unreadable { .. }
            | Field { .. }
            | MissingTensor { .. }
            | WrongType { .. }
            | Subnet { .. }
            | WrongShape { .. }
            | NotFinite { .. }
            | OtherSpace { .. }
            | Column { .. }
            | Value { .. }
            | Genome { .. }
            | TooFewPairs { .. }
            | UnknownResolution { .. } => FailureKind::Content,
            BadResolution { .. } | NoResolution | Setting { .. } => FailureKind::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        use PredictorError::*;
        match self {
            Unreadable { expected, .. } if *expected == "predictor" => {
                let (fit, import) = (Setting("predictor fit"), Setting("predictor import"));
                Some(format!("copy the file again, or make it anew with `{fit}` or `{import}`"))
            }
            Unreadable { .. } => {
                let collect = Setting("predictor collect");
                Some(format!("copy the file again, or measure the pairs anew with `{collect}`"))
            }
            MissingTensor { .. } | WrongShape { .. } | WrongType { .. } => {
                Some("the predictor must have been made for this space; fit or import one for it".to_owned())
            }
            NotFinite { .. } => {
                Some("the fit that made it diverged; fit again with a smaller learning rate".to_owned())
            }
            OtherSpace { got, .. } => {
                Some(format!("give a predictor and subnets of one space (`{} {got}`)", Setting("space")))
            }
            UnknownResolution { known, .. } => Some(format!("it was trained on {}", list(known))),
            BadResolution { offered, .. } => Some(format!("possible are {}", list(offered))),
            NoResolution => {
                let resolutions = Setting("resolutions");
                Some(format!(
                    "give the resolutions that it was trained on, in the order of its columns: {resolutions} 128,160,…"
                ))
            }
            Column { .. } => Some(
                "needed are subnet (text), resolution, images, seed (integers), top1, top5, loss, seconds (numbers)"
                    .to_owned(),
            ),
            TooFewPairs { .. } => Some(format!("measure more subnets with `{}`", Setting("predictor collect"))),
            Subnet { source, .. } => source.hint(),
            Genome { .. } => {
                Some(r#"a genome is {"d": [5 depths], "e": [18 ratios], "w": [6 widths], "r": n}"#.to_owned())
            }
            _ => None,
        }
    }
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
