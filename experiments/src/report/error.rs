//! What can be wrong with a report.

use std::path::PathBuf;

use storage::failure::{Failure, FailureKind, Setting};
use storage::file::FileError;

/// What can be wrong with a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A folder without any result.
    #[error("{path} holds nothing that a report shows", path = path.display())]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// A folder without a run.
    #[error("{path} holds no run that a tracker would show", path = path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing says where a folder for a tracker goes.
    #[error("what {tracker} reads is a folder, and nothing says which")]
    NoFolder {
        /// Which tracker.
        tracker: &'static str,
    },
    /// A page where another kind of file lies.
    #[error("{path} is there already, and by its name another kind of file than a page or table", path = path.display())]
    OtherForm {
        /// The file.
        path: PathBuf,
    },
    /// A folder that holds what is not the tracker's.
    #[error("{path} holds other files, and nothing of {tracker}'s", path = path.display())]
    OtherFolder {
        /// The folder.
        path: PathBuf,
        /// Which tracker.
        tracker: &'static str,
    },
    /// An experiment that was deleted in the tracker.
    #[error("experiment `{experiment}` of {path} was deleted there", path = path.display())]
    Deleted {
        /// The folder.
        path: PathBuf,
        /// What the experiment is called.
        experiment: String,
    },
    /// A file of results that is damaged.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Failure for ReportError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Nothing { .. }
            | Self::NoRun { .. }
            | Self::NoFolder { .. }
            | Self::OtherForm { .. }
            | Self::OtherFolder { .. }
            | Self::Deleted { .. } => FailureKind::Usage,
            Self::File(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Nothing { .. } => {
                Some("name a folder of a sweep, a training, a fine-tuning, a refinement, a search, or a bundle".into())
            }
            Self::NoRun { .. } => {
                Some("name a folder of a sweep, a training, a fine-tuning, a refinement, or a search".into())
            }
            Self::NoFolder { .. } => {
                Some(format!("name one with {}: a new one, or one that has runs already", Setting("out")))
            }
            Self::OtherForm { .. } => Some("name another, or end its name with .html, .md, .tex or .txt".into()),
            Self::OtherFolder { tracker, .. } => {
                Some(format!("name a new folder, or one in which {tracker} keeps runs"))
            }
            Self::Deleted { .. } => {
                Some("restore it with MLflow, remove it for good with `mlflow gc`, or name another folder".into())
            }
            Self::File(error) => error.hint(),
        }
    }
}
