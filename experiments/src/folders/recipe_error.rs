//! What can be wrong with a recipe.

use std::path::{Path, PathBuf};

use storage::failure::{Failure, FailureKind, Located, Setting};
use storage::file::FileError;
use storage::names::nearest;
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
            Self::Override { reason, .. } => Some(match meant(reason) {
                Some(field) => format!("did you mean `{field}`?"),
                None => {
                    let set = Setting("set");
                    format!("write {set} batch_size=64 or {set} phases.0.epochs=3")
                }
            }),
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

/// The field that was probably meant, of those that serde's words list: ``unknown field `x`, expected one of `a`, `b` ``.
fn meant(reason: &str) -> Option<String> {
    let (_, rest) = reason.split_once("unknown field `")?;
    let (field, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2);
    nearest(field, known).into_iter().next()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_was_meant_is_named() {
        let hint =
            |reason: &str| RecipeError::Override { given: "x=1".to_owned(), reason: reason.to_owned() }.hint().unwrap();
        let words = "does not give a recipe: unknown field `batchsize`, expected one of `seed`, `batch_size`";
        assert_eq!(hint(words), "did you mean `batch_size`?");
        assert_eq!(hint("phases[0]: unknown field `epoch`, expected `name` or `epochs`"), "did you mean `epochs`?");
        let general = hint("does not give a recipe: unknown field `toaster`, expected one of `seed`, `batch_size`");
        assert!(general.contains("batch_size=64") && hint("has no `=`") == general, "{general}");
    }
}
