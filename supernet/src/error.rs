//! What can go wrong with weights, checkpoints and runs.

use std::path::PathBuf;

use storage::failure::{Failure, FailureKind, Setting};

/// Errors of this crate outside its data loaders and importers.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each field is")]
pub enum SupernetError {
    #[error("weight `{name}` is missing")]
    MissingWeight { name: String },
    #[error("weight `{name}` has shape {got:?}, but this space needs {expected:?}")]
    WeightShape { name: String, expected: Vec<i64>, got: Vec<i64> },
    #[error("weight `{name}` holds a NaN or an infinity")]
    WeightNotFinite { name: String },
    #[error("`{name}` holds a negative variance")]
    NegativeVariance { name: String },
    #[error("the network's outputs for these images are NaN or infinite")]
    OutputsNotFinite,
    #[error("{count} weights do not belong to this space, the first is `{first}`")]
    UnusedWeights { first: String, count: usize },
    #[error("{path}: {reason}", path = path.display())]
    Checkpoint { path: PathBuf, reason: String },
    #[error("{path}: the run was started with another recipe, data set, space or number of processes", path = path.display())]
    OtherRun { path: PathBuf },
    #[error("the loss became {loss} in phase `{phase}`, step {step}")]
    Diverged { phase: String, step: u64, loss: f64 },
    #[error("the norm of the gradient became {norm} in phase `{phase}`, step {step}")]
    GradientDiverged { phase: String, step: u64, norm: f64 },
    /// Found when the state was to be saved; `steps` are those of the whole run so far.
    #[error("weight `{name}` became NaN or infinite in phase `{phase}`, before step {steps} of the run")]
    WeightDiverged { name: String, phase: String, steps: u64 },
    /// Rolled back so often that more would not help.
    #[error(
        "{last}, though the run rolled back {rollbacks} times and the learning rate was lowered to {factor} of the recipe's"
    )]
    Unstable { rollbacks: u32, factor: f64, last: Box<SupernetError> },
    /// Among the layers that are to stay as they are.
    #[error("there is no layer `{name}` to freeze")]
    UnknownLayer { name: String, nearest: Vec<String> },
    #[error(transparent)]
    Launch(#[from] crate::ranks::NotLaunched),
    #[error(transparent)]
    Ranks(#[from] crate::ranks::RankError),
    /// Likewise, of a supernet; `parts` are what it consists of.
    #[error("a supernet of space `{space}` has no layer `{name}` to freeze")]
    UnknownPart { name: String, space: String, nearest: Vec<String>, parts: String },
    #[error("training stopped on request; the state is saved")]
    Interrupted,
    #[error("the training plan's {0}")]
    Plan(#[from] crate::train::PlanError),
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    #[error(transparent)]
    TensorFile(#[from] storage::arrays::TensorFileError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Torch(#[from] tch::TchError),
}

impl Failure for SupernetError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::MissingWeight { .. }
            | Self::WeightShape { .. }
            | Self::WeightNotFinite { .. }
            | Self::NegativeVariance { .. }
            | Self::OutputsNotFinite
            | Self::UnusedWeights { .. }
            | Self::Checkpoint { .. }
            | Self::OtherRun { .. }
            | Self::UnknownLayer { .. }
            | Self::UnknownPart { .. }
            | Self::Plan(_) => FailureKind::Content,
            Self::Launch(_) => FailureKind::Usage,
            Self::Data(error) => error.kind(),
            Self::TensorFile(error) => error.kind(),
            Self::Diverged { .. }
            | Self::GradientDiverged { .. }
            | Self::WeightDiverged { .. }
            | Self::Unstable { .. }
            | Self::Ranks(_)
            | Self::Interrupted
            | Self::Io(_)
            | Self::Torch(_) => FailureKind::Io,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingWeight { .. } | Self::WeightShape { .. } | Self::UnusedWeights { .. } => {
                Some("check that the weights were made for this search space".into())
            }
            Self::WeightNotFinite { .. } | Self::NegativeVariance { .. } | Self::OutputsNotFinite => {
                Some("the weights are damaged, or of a training that diverged: fetch them again, or train again".into())
            }
            Self::Checkpoint { .. } => Some("restore the file, or start the run again in a new folder".into()),
            Self::UnknownLayer { nearest, .. } => match nearest.as_slice() {
                [] => Some(format!("`{}` prints the layers", Setting("network show"))),
                near => Some(format!("did you mean {}?", near.join(" or "))),
            },
            Self::UnknownPart { nearest, parts, .. } => match nearest.as_slice() {
                [] => Some(format!("it consists of {parts}, and of the layers within them")),
                near => Some(format!("did you mean {}?", near.join(" or "))),
            },
            Self::OtherRun { .. } => {
                Some(format!("give those it was started with, or another folder with {}", Setting("out")))
            }
            Self::Unstable { last, .. } => last.hint(),
            Self::Diverged { .. } | Self::GradientDiverged { .. } | Self::WeightDiverged { .. } => {
                Some("lower `learning_rate` in the recipe, or lengthen its warm-up".into())
            }
            Self::Launch(_) => Some(
                "RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT say where a process belongs; without them it trains alone"
                    .into(),
            ),
            Self::Ranks(_) => Some(format!(
                "see what the other ranks say; start all of them again with {} to go on from the last checkpoint",
                Setting("resume")
            )),
            Self::Interrupted => Some(format!("run the same command with {}", Setting("resume"))),
            Self::Io(source) if source.kind() == std::io::ErrorKind::StorageFull => {
                Some("free some space on that disk".into())
            }
            Self::Data(error) => error.hint(),
            Self::TensorFile(error) => error.hint(),
            _ => None,
        }
    }

    fn is_interruption(&self) -> bool {
        matches!(self, Self::Interrupted)
    }
}

impl SupernetError {
    /// Whether numbers left the finite ones, which a lower learning rate may help.
    pub(crate) fn is_divergence(&self) -> bool {
        matches!(self, Self::Diverged { .. } | Self::GradientDiverged { .. } | Self::WeightDiverged { .. })
    }
}
