//! The energy counter of an NVIDIA GPU, through the driver's own library (NVML, which is loaded where there is one).
//!
//! It counts millijoules of the whole board since the driver was loaded, on Volta and later. Where the driver has no
//! such counter, energy is unknown, never 0.

use std::time::Duration;

use hw_targets::cost::Scope;

use crate::instruments::energy_counter::EnergyCounter;

/// One GPU.
#[derive(Debug)]
pub(crate) struct Nvml {
    library: nvml_wrapper::Nvml,
    index: u32,
}

impl Nvml {
    /// The GPU that CUDA calls `index`, if its energy is counted; `None` if there is none, or it cannot be said which it is.
    pub(crate) fn find(index: usize) -> Option<Nvml> {
        Nvml::open(index).filter(|gpu| gpu.read().is_some())
    }

    /// The name of the GPU that CUDA calls `index`.
    pub(crate) fn name(index: usize) -> Option<String> {
        let gpu = Nvml::open(index)?;
        gpu.library.device_by_index(gpu.index).ok()?.name().ok()
    }

    /// Watts that the board of the GPU that CUDA calls `index` is allowed to draw.
    pub(crate) fn power_limit(index: usize) -> Option<f64> {
        let gpu = Nvml::open(index)?;
        let milliwatts = gpu.library.device_by_index(gpu.index).ok()?.enforced_power_limit().ok()?;
        (milliwatts > 0).then_some(f64::from(milliwatts) * 1e-3)
    }

    fn open(index: usize) -> Option<Nvml> {
        let library = nvml_wrapper::Nvml::init().ok()?;
        let variable = |name: &str| std::env::var(name).ok();
        let (order, visible) = (variable("CUDA_DEVICE_ORDER"), variable("CUDA_VISIBLE_DEVICES"));
        let index = driver_index(index, library.device_count().ok()?, order.as_deref(), visible.as_deref())?;
        Some(Nvml { library, index })
    }
}

/// What the driver calls the GPU that CUDA calls `index`. The driver counts in the order of the bus; CUDA counts the
/// visible GPUs, the fastest first unless `CUDA_DEVICE_ORDER` says otherwise.
fn driver_index(index: usize, count: u32, order: Option<&str>, visible: Option<&str>) -> Option<u32> {
    if count == 1 {
        return (index == 0).then_some(0);
    }
    if order != Some("PCI_BUS_ID") {
        return None;
    }
    let chosen = match visible {
        None => u32::try_from(index).ok()?,
        Some(list) => list.split(',').nth(index)?.trim().parse().ok()?,
    };
    (chosen < count).then_some(chosen)
}

impl EnergyCounter for Nvml {
    fn read(&self) -> Option<Vec<u64>> {
        Some(vec![self.library.device_by_index(self.index).ok()?.total_energy_consumption().ok()?])
    }

    fn joules(&self, before: &[u64], after: &[u64]) -> f64 {
        let passed = before.iter().zip(after).map(|(before, after)| after.saturating_sub(*before));
        passed.sum::<u64>() as f64 * 1e-3
    }

    fn window(&self) -> Duration {
        // Many times the tenth of a second in which it moves.
        Duration::from_secs(1)
    }

    fn scope(&self) -> Scope {
        Scope::BoardDc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_gpu_is_found_and_of_several_only_what_is_certain() {
        assert_eq!(driver_index(0, 1, None, Some("GPU-8f2a")), Some(0));
        assert_eq!(driver_index(1, 1, None, None), None);
        assert_eq!(driver_index(1, 4, None, None), None);
        assert_eq!(driver_index(1, 4, Some("FASTEST_FIRST"), None), None);
        assert_eq!(driver_index(1, 4, Some("PCI_BUS_ID"), None), Some(1));
        assert_eq!(driver_index(1, 4, Some("PCI_BUS_ID"), Some("3, 2")), Some(2));
        assert_eq!(driver_index(1, 4, Some("PCI_BUS_ID"), Some("GPU-8f2a,GPU-9b1c")), None);
        assert_eq!(driver_index(2, 4, Some("PCI_BUS_ID"), Some("3,2")), None);
        assert_eq!(driver_index(0, 2, Some("PCI_BUS_ID"), Some("7")), None);
    }

    #[test]
    fn a_counter_in_millijoules() {
        // Only where there is a driver can the rest be tried.
        let Some(counter) = Nvml::find(0) else {
            eprintln!("SKIPPED: no NVIDIA driver with an energy counter is here");
            return;
        };
        let before = counter.read().unwrap();
        std::thread::sleep(counter.window());
        assert!(counter.joules(&before, &counter.read().unwrap()) > 0.0);
    }
}
