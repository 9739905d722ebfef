//! What can be wrong with a recipe.

use std::path::PathBuf;

use storage::failure::{Failure, FailureKind, Setting};
use supernet::train::PlanError;

/// What is wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each field is")]
pub enum RecipeError {
    #[error("{path}: {reason}", path = path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{path}: {reason}", path = path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("recipe field `{field}` is {value}, {reason}")]
    Value { field: String, value: String, reason: &'static str },
    #[error("`{} {given}` {reason}", Setting("set"))]
    Override { given: String, reason: String },
}

impl Failure for RecipeError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Unreadable { .. } | Self::Override { .. } => FailureKind::Usage,
            Self::Syntax { .. } | Self::Value { .. } => FailureKind::Content,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => Some("recipes shipped with the project are in experiments/recipes".into()),
            Self::Override { .. } => {
                let set = Setting("set");
                Some(format!("write {set} batch_size=64 or {set} phases.0.epochs=3"))
            }
            _ => None,
        }
    }
}

impl From<PlanError> for RecipeError {
    fn from(PlanError { field, value, reason }: PlanError) -> Self {
        Self::Value { field, value, reason }
    }
}
