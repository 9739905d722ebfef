//! Which counter of energy a device has.

use std::path::Path;

use tch::Device;

use crate::instruments::energy_counter::EnergyCounter;
use crate::instruments::nvml::Nvml;
use crate::instruments::rapl::{self, Rapl};

/// The counter of `device`; `None` where there is none, or where it may not be read.
pub(crate) fn counter_of(device: Device) -> Option<Box<dyn EnergyCounter>> {
    match device {
        Device::Cuda(index) => Nvml::find(index).map(|counter| Box::new(counter) as Box<dyn EnergyCounter>),
        Device::Cpu => Rapl::find(Path::new(rapl::ROOT)).map(|counter| Box::new(counter) as Box<dyn EnergyCounter>),
        _ => None,
    }
}
