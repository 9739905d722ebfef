//! What can be wrong with a recipe.

use std::path::{Path, PathBuf};

use storage::failure::{Failure, FailureKind, Located, Setting};
use storage::file::FileError;
use supernet::train::PlanError;

/// What is wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each field is")]
pub enum RecipeError {
    #[error("{path}: {reason}", path = path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("recipe field `{field}` is {value}, {reason}")]
    Value { field: String, value: String, reason: &'static str },
    #[error("{problem}")]
    Within { path: PathBuf, problem: Box<RecipeError> },
    #[error("recipe field `normalisation`: {reason}")]
    Normalisation { reason: String },
    #[error("`{} {given}` {reason}", Setting("set"))]
    Override { given: String, reason: String },
}

impl Failure for RecipeError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Within { problem, .. } => problem.kind(),
            Self::Unreadable { .. } | Self::Override { .. } => FailureKind::Usage,
            Self::File(error) => error.kind(),
            Self::Value { .. } | Self::Normalisation { .. } => FailureKind::Content,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Within { problem, .. } => problem.hint(),
            Self::File(error) => error.hint(),
            Self::Unreadable { .. } => Some("recipes shipped with the project are in experiments/recipes".into()),
            Self::Override { .. } => {
                let set = Setting("set");
                Some(format!("write {set} batch_size=64 or {set} phases.0.epochs=3"))
            }
            _ => None,
        }
    }

    fn place(&self) -> Option<Located> {
        match self {
            Self::Within { path, problem } => {
                Some(Located { place: path.display().to_string(), message: problem.to_string() })
            }
            Self::File(error) => error.place(),
            _ => None,
        }
    }
}

impl RecipeError {
    /// Said of the recipe at `path`, where it does not name a file or the command line itself.
    pub(crate) fn within(self, path: &Path) -> RecipeError {
        match self {
            Self::Value { .. } | Self::Normalisation { .. } => {
                Self::Within { path: path.to_path_buf(), problem: Box::new(self) }
            }
            other => other,
        }
    }
}

impl From<PlanError> for RecipeError {
    fn from(PlanError { field, value, reason }: PlanError) -> Self {
        Self::Value { field, value, reason }
    }
}
