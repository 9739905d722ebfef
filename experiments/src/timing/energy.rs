//! Counters of energy that some processors have.

use std::path::Path;
use std::time::Duration;

use hw_targets::cost::Scope;
use tch::Device;

use crate::timing::nvml::Nvml;
use crate::timing::rapl::{self, Rapl};

/// Counts the energy of what is timed.
pub trait EnergyCounter: Send {
    /// Where it stands; `None` where it cannot be read.
    fn read(&self) -> Option<Vec<u64>>;

    /// Joules from one reading to the next.
    fn joules(&self, before: &[u64], after: &[u64]) -> f64;

    /// Least time over which it says anything.
    fn window(&self) -> Duration;

    /// What it includes.
    fn scope(&self) -> Scope;
}

/// The counter of `device`; `None` where there is none, or where it may not be read.
pub fn counter_of(device: Device) -> Option<Box<dyn EnergyCounter>> {
    match device {
        Device::Cuda(index) => Nvml::find(index).map(|counter| Box::new(counter) as Box<dyn EnergyCounter>),
        Device::Cpu => Rapl::find(Path::new(rapl::ROOT)).map(|counter| Box::new(counter) as Box<dyn EnergyCounter>),
        _ => None,
    }
}
