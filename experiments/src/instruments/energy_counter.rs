//! What a counter of energy can be asked.

use std::time::Duration;

use hw_targets::cost::Scope;

/// Counts the energy of what is timed.
pub(crate) trait EnergyCounter: Send {
    /// Where it stands; `None` where it cannot be read.
    fn read(&self) -> Option<Vec<u64>>;

    /// Joules from one reading to the next.
    fn joules(&self, before: &[u64], after: &[u64]) -> f64;

    /// Least time over which it says anything.
    fn window(&self) -> Duration;

    /// What it includes.
    fn scope(&self) -> Scope;
}
