//! What search makes as large as it can.

use crate::error::ForeignError;
use crate::space::arch::ArchSpec;

/// Judges architectures: an accuracy predictor, or a supernet on real images.
///
/// Search hands over batches of distinct architectures that it has not asked about before, so an evaluator needs no
/// memory of its own, may work through a batch in parallel, and must score each by itself, whatever else is in the batch.
pub trait Evaluator: Send {
    /// One score per architecture, in order; higher is better (top-1 as a fraction).
    ///
    /// # Errors
    /// Whatever stops the evaluator; search ends with it.
    fn evaluate(&mut self, archs: &[ArchSpec]) -> Result<Vec<f64>, ForeignError>;

    /// Whether nothing more is to be asked, because the time is up: search ends with what it has. Asked after every
    /// batch.
    fn is_over(&mut self) -> bool {
        false
    }
}

impl<F: FnMut(&[ArchSpec]) -> Result<Vec<f64>, ForeignError> + Send> Evaluator for F {
    fn evaluate(&mut self, archs: &[ArchSpec]) -> Result<Vec<f64>, ForeignError> {
        self(archs)
    }
}
