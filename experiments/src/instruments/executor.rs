//! Where works are run: the machine at hand, or one that is reached from it.

use crate::instruments::result::Visit;

/// Runs works that are known by their numbers.
pub(crate) trait Executor {
    /// Makes `work` ready, and times it.
    fn visit(&self, work: usize) -> Visit;
}
