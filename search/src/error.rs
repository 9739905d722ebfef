//! Everything that can go wrong here, with where it went wrong and what to try.

use network::op::Op;
use network::units::Quantity;
use storage::failure::{Failure, FailureKind};

use crate::cost::infeasible::Infeasible;

/// An error from outside (an evaluator, a cost model), with the kind of failure it is.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct ForeignError {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// The error itself.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl ForeignError {
    /// Wraps `source`, whose kind the caller knows.
    pub fn new(kind: FailureKind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        ForeignError { kind, source: source.into() }
    }
}

/// Failures of reading spaces and subnets, and of searching.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// No space of that name.
    #[error("there is no search space `{got}`")]
    UnknownSpace {
        /// The name asked for.
        got: String,
        /// All names.
        known: Vec<&'static str>,
        /// The name closest to it.
        nearest: &'static str,
    },
    /// A space file is not YAML of the right shape.
    #[error("not a search space: {problem}")]
    SpaceSyntax {
        /// The parser's words, with line and column where known.
        problem: String,
        /// What to try.
        hint: Option<String>,
    },
    /// A value in a space file makes no sense.
    #[error("search space `{space}`: {problem} ({field})")]
    SpaceField {
        /// The space's name.
        space: String,
        /// Path of the value: `stages[2].kernels`.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What to try.
        hint: Option<String>,
    },
    /// A subnet is not JSON of a known shape.
    #[error("not a subnet: {problem}")]
    SubnetSyntax {
        /// What is wrong.
        problem: String,
    },
    /// A list or field of a subnet has the wrong form or length for its space.
    #[error("subnet does not fit space `{space}`: {problem} ({field})")]
    SubnetField {
        /// The space it was read for.
        space: String,
        /// Path of the value: `ks`, `stages[2]`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The subnet names another space.
    #[error("the subnet belongs to space `{got}`, not to `{expected}`")]
    WrongSpace {
        /// The space the subnet names.
        got: String,
        /// The space it was read for.
        expected: String,
    },
    /// A kernel size or expand ratio that the stage does not offer. Stage and block count from 1.
    #[error("stage {stage}, block {block} uses {what} {got}, which space `{space}` does not offer ({field})")]
    BlockNotOffered {
        /// The space.
        space: String,
        /// Stage from 1.
        stage: usize,
        /// Block from 1.
        block: usize,
        /// `kernel size` or `expand ratio`.
        what: &'static str,
        /// The value met.
        got: u64,
        /// The values offered.
        offered: Vec<u32>,
        /// Path of the value.
        field: String,
    },
    /// A depth that the stage does not offer. Stages count from 1.
    #[error("stage {stage} has {got} blocks, which space `{space}` does not offer ({field})")]
    DepthNotOffered {
        /// The space.
        space: String,
        /// Stage from 1.
        stage: usize,
        /// Number of blocks met.
        got: u64,
        /// The depths offered.
        offered: Vec<u32>,
        /// Path of the value.
        field: String,
    },
    /// A resolution that the space does not offer.
    #[error("resolution {got} is not offered by space `{space}` ({field})")]
    ResolutionNotOffered {
        /// The space.
        space: String,
        /// The resolution met.
        got: u64,
        /// What is offered, in words.
        offered: String,
        /// Path of the value.
        field: String,
    },
    /// A cost model could not answer.
    #[error("{0}")]
    Cost(#[source] ForeignError),
    /// A cost model answered with something that is no cost.
    #[error("{quantity} of an operator is {value}, not a number of at least 0: {op:?}")]
    BadCost {
        /// The quantity.
        quantity: Quantity,
        /// The answer.
        value: f64,
        /// The operator.
        op: Box<Op>,
    },
    /// The evaluator failed.
    #[error("{0}")]
    Evaluation(#[source] ForeignError),
    /// The evaluator answered with something that is no score.
    #[error("the evaluator scored a subnet {score}: {subnet}")]
    BadScore {
        /// The answer.
        score: f64,
        /// The subnet.
        subnet: String,
    },
    /// A budget on a quantity that the device does not know.
    #[error("this target does not know {0}")]
    UnknownQuantity(Quantity),
    /// No subnet fits.
    #[error("{0}")]
    Infeasible(Box<Infeasible>),
    /// Something is wrong at one line or item of a file with many subnets.
    #[error("{place}: {source}")]
    At {
        /// `line 14` or `item 3`.
        place: String,
        /// What is wrong there.
        source: Box<SearchError>,
    },
}

impl Failure for SearchError {
    fn kind(&self) -> FailureKind {
        match self {
            SearchError::UnknownSpace { .. } | SearchError::UnknownQuantity(_) => FailureKind::Usage,
            SearchError::Cost(error) | SearchError::Evaluation(error) => error.kind,
            SearchError::Infeasible(_) => FailureKind::Infeasible,
            SearchError::At { source, .. } => source.kind(),
            SearchError::SpaceSyntax { .. }
            | SearchError::SpaceField { .. }
            | SearchError::SubnetSyntax { .. }
            | SearchError::SubnetField { .. }
            | SearchError::WrongSpace { .. }
            | SearchError::BlockNotOffered { .. }
            | SearchError::DepthNotOffered { .. }
            | SearchError::ResolutionNotOffered { .. }
            | SearchError::BadCost { .. }
            | SearchError::BadScore { .. } => FailureKind::Content,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SearchError::UnknownSpace { known, nearest, .. } => {
                Some(format!("did you mean `{nearest}`? Known spaces: {}", known.join(", ")))
            }
            SearchError::SpaceSyntax { hint, .. } | SearchError::SpaceField { hint, .. } => hint.clone(),
            SearchError::SubnetSyntax { .. } => Some(
                "a subnet is {\"schema\":\"ofa.subnet/1\",\"space\":…,\"resolution\":…,\"stages\":[[{\"kernel\":…,\"expand\":…},…],…]} \
                 or a genome {\"ks\":[…],\"e\":[…],\"d\":[…],\"r\":…}; where refined ones are taken, it may also be a \
                 subnet.json of a step of `ofa refine --supernet`"
                    .into(),
            ),
            SearchError::SubnetField { .. }
            | SearchError::Cost(_)
            | SearchError::Evaluation(_)
            | SearchError::BadCost { .. }
            | SearchError::BadScore { .. } => None,
            SearchError::UnknownQuantity(_) => Some("every target knows macs, params and flash".into()),
            SearchError::Infeasible(infeasible) => Some(infeasible.hint()),
            SearchError::WrongSpace { expected, .. } => {
                Some(format!("name the subnet's own space, or make a subnet of `{expected}`"))
            }
            SearchError::BlockNotOffered { offered, .. } | SearchError::DepthNotOffered { offered, .. } => {
                Some(format!("this stage offers {}", in_words(offered)))
            }
            SearchError::ResolutionNotOffered { offered, .. } => Some(format!("offered: {offered}")),
            SearchError::At { source, .. } => source.hint(),
        }
    }
}

impl SearchError {
    /// This error at a place (`line 14`) of a file.
    pub fn at(self, place: impl Into<String>) -> Self {
        SearchError::At { place: place.into(), source: Box::new(self) }
    }
}

/// `3, 5 and 7`.
pub(crate) fn in_words(values: &[u32]) -> String {
    match values {
        [] => "nothing".into(),
        [one] => one.to_string(),
        [head @ .., last] => {
            let head: Vec<String> = head.iter().map(u32::to_string).collect();
            format!("{} and {last}", head.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_words() {
        assert_eq!(in_words(&[3, 5, 7]), "3, 5 and 7");
        assert_eq!(in_words(&[3]), "3");
    }
}
