//! What a training plan is refused for.

/// A value that makes no sense, or not together with the others.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {value}, {reason}")]
pub struct PlanError {
    /// Dotted name, phases counted from 0: `phases.1.teacher`.
    pub field: String,
    /// What it is.
    pub value: String,
    /// What it must be.
    pub reason: &'static str,
}

impl PlanError {
    /// The same of a value of phase `index`.
    pub fn in_phase(self, index: usize) -> PlanError {
        PlanError { field: format!("phases.{index}.{}", self.field), ..self }
    }
}

/// Refuses `value` of `field` unless `holds`.
pub(super) fn require(
    holds: bool,
    field: &str,
    value: impl std::fmt::Display,
    reason: &'static str,
) -> Result<(), PlanError> {
    let error = || PlanError { field: field.to_owned(), value: value.to_string(), reason };
    if holds { Ok(()) } else { Err(error()) }
}
