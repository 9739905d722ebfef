//! What can be wrong with a report.

use std::path::PathBuf;

use storage::failure::{Failure, FailureKind};
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
    /// A file of results that is damaged.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Failure for ReportError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Nothing { .. } => FailureKind::Usage,
            Self::File(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Nothing { .. } => {
                Some("name a folder of a sweep, a training, a fine-tuning, a refinement, a search, or a bundle".into())
            }
            Self::File(error) => error.hint(),
        }
    }
}
