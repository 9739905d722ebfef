//! What can be wrong with the folder of a build.

use std::path::PathBuf;

use storage::failure::{Failure, FailureKind, Located, Setting};

/// What can be wrong with the folder of a build.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// `ofa init` was here before.
    #[error("{folder} was made by `{}` before", Setting("init"), folder = folder.display())]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// Something else is in it.
    #[error("{folder} holds other files ({found})", folder = folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// One of them.
        found: String,
    },
    /// Nothing to build.
    #[error("{folder} has no {missing}", folder = folder.display())]
    NothingToBuild {
        /// The folder.
        folder: PathBuf,
        /// The file that it lacks.
        missing: &'static str,
    },
    /// The file of settings is wrong.
    #[error("{problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        problem: String,
    },
    /// Points of the search that ended with an error.
    #[error("{failed} of {points} searches failed; {first}")]
    Search {
        /// How many.
        failed: usize,
        /// Of how many.
        points: usize,
        /// The first, and why.
        first: String,
    },
    /// No budget leaves a network.
    #[error("nothing fits any budget of {path}", path = path.display())]
    NothingFits {
        /// The sweep.
        path: PathBuf,
    },
}

impl Failure for BuildError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Exists { .. } | Self::NotEmpty { .. } | Self::NothingToBuild { .. } => FailureKind::Usage,
            Self::File { .. } => FailureKind::Content,
            Self::Search { .. } => FailureKind::Io,
            Self::NothingFits { .. } => FailureKind::Infeasible,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Exists { folder } => {
                format!("`{} {}` goes on with it; or name another folder", Setting("build"), folder.display())
            }
            Self::NotEmpty { .. } => "name a new folder".into(),
            Self::NothingToBuild { folder, .. } => {
                format!(
                    "`{} {} {} DATA` writes the files of a build",
                    Setting("init"),
                    folder.display(),
                    Setting("data")
                )
            }
            Self::NothingFits { .. } => "make the budgets larger; a share such as 50% always leaves some".into(),
            Self::Search { .. } => "the same command tries them again".into(),
            Self::File { .. } => return None,
        })
    }

    fn place(&self) -> Option<Located> {
        match self {
            Self::File { path, problem } => {
                Some(Located { place: path.display().to_string(), message: problem.clone() })
            }
            _ => None,
        }
    }
}
