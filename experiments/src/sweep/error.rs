//! What can be wrong with a sweep.

use std::fmt;
use std::path::PathBuf;

use storage::failure::{Failure, FailureKind, Located, Setting};

/// One thing that is wrong in a sweep's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1; 0 where it is the whole file.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong there, and what to write instead.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.problem),
            line => write!(f, "line {line}, column {}: {}", self.column, self.problem),
        }
    }
}

/// What can be wrong with a sweep.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The file is wrong; nothing was run.
    #[error("{path} has {count}; nothing was run", path = path.display(), count = counted(mistakes.len()))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them, in order of place.
        mistakes: Vec<Mistake>,
    },
    /// A folder that holds something else.
    #[error("{folder} holds files, but no sweep", folder = folder.display())]
    NotASweep {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder with the results of another sweep.
    #[error("{folder} holds the results of sweep {name}", folder = folder.display())]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// The sweep that they are of.
        name: String,
    },
    /// Sweeps that cannot be put into one table.
    #[error("{folder} has no results", folder = folder.display())]
    NoResults {
        /// The folder.
        folder: PathBuf,
    },
    /// Results of another sweep.
    #[error("{folder} has no point of sweep {name}", folder = folder.display())]
    OtherSweep {
        /// The folder.
        folder: PathBuf,
        /// The sweep that they should be of.
        name: String,
    },
    /// Networks to be made of no images.
    #[error("sweep {name} makes networks, but does not say with which images")]
    NoImages {
        /// What it is called.
        name: String,
    },
    /// Networks failed; the others are there.
    #[error("{failed} of {networks} networks failed; the first: {first}")]
    Networks {
        /// How many.
        failed: usize,
        /// Of how many.
        networks: usize,
        /// Why the first one did, with its name.
        first: String,
    },
    /// Points failed; the others are there.
    #[error("{failed} of {points} points failed; the first: {first}")]
    Failed {
        /// How many.
        failed: usize,
        /// Of how many.
        points: usize,
        /// Why the first one did, with its name.
        first: String,
    },
}

fn counted(mistakes: usize) -> String {
    if mistakes == 1 { "a mistake".into() } else { format!("{mistakes} mistakes") }
}

impl Failure for SweepError {
    fn places(&self) -> Vec<Located> {
        let Self::Mistakes { path, mistakes } = self else { return Vec::new() };
        let located = |Mistake { line, column, problem }: &Mistake| {
            let place = match line {
                0 => path.display().to_string(),
                line => format!("{}:{line}:{column}", path.display()),
            };
            Located { place, message: problem.clone() }
        };
        mistakes.iter().map(located).collect()
    }

    fn kind(&self) -> FailureKind {
        match self {
            Self::Mistakes { .. } | Self::OtherSweep { .. } | Self::Failed { .. } => FailureKind::Content,
            Self::NoResults { folder } if !folder.exists() => FailureKind::Usage,
            Self::NoResults { .. } => FailureKind::Content,
            Self::Networks { .. } => FailureKind::Content,
            Self::NotASweep { .. } | Self::Occupied { .. } | Self::NoImages { .. } => FailureKind::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Mistakes { .. } => return None,
            Self::NotASweep { .. } => format!("name a new folder, or that of a sweep, with {}", Setting("out")),
            Self::Occupied { .. } => format!("name a new folder with {}", Setting("out")),
            Self::OtherSweep { .. } => "leave it out; each sweep has a table of its own".into(),
            Self::NoResults { .. } => format!("`{}` makes some", Setting("sweep run")),
            Self::NoImages { .. } => format!("write `data: folder:PATH` into it, or give {}", Setting("data")),
            Self::Networks { .. } => format!("`{}` tries failed networks again", Setting("sweep run")),
            Self::Failed { .. } => format!("`{}` tries failed points again", Setting("sweep run")),
        })
    }
}
