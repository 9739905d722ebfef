//! Energy counters of the processor, as Linux shows them: `/sys/class/powercap/intel-rapl:N/energy_uj`.
//!
//! One counter per package, in microjoules, that starts again at 0 after `max_energy_range_uj`. It counts everything in
//! the package, idle cores included. Where there is none, or it may not be read (it needs root since 2020,
//! CVE-2020-8694), energy is unknown, never 0.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hw_targets::cost::Scope;

use crate::instruments::energy_counter::EnergyCounter;

/// Where Linux shows them.
pub(crate) const ROOT: &str = "/sys/class/powercap";

/// The counters of all packages.
#[derive(Clone, Debug)]
pub(crate) struct Rapl {
    /// File and range in microjoules.
    packages: Vec<(PathBuf, u64)>,
}

impl Rapl {
    /// The readable package counters under `root`; `None` without any.
    pub(crate) fn find(root: &Path) -> Option<Rapl> {
        let folders = fs::read_dir(root).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        // Parts of a package are `intel-rapl:N:M`.
        let is_package = |folder: &PathBuf| {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.strip_prefix("intel-rapl:").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
                && fs::read_to_string(folder.join("name")).is_ok_and(|name| name.starts_with("package"))
        };
        let counter = |folder: PathBuf| {
            let range = number(&folder.join("max_energy_range_uj"))?;
            number(&folder.join("energy_uj"))?;
            Some((folder.join("energy_uj"), range))
        };
        let mut packages: Vec<(PathBuf, u64)> = folders.filter(is_package).filter_map(counter).collect();
        packages.sort();
        (!packages.is_empty()).then_some(Rapl { packages })
    }
}

impl EnergyCounter for Rapl {
    fn read(&self) -> Option<Vec<u64>> {
        self.packages.iter().map(|(file, _)| number(file)).collect()
    }

    fn joules(&self, before: &[u64], after: &[u64]) -> f64 {
        let counts = before.iter().zip(after).zip(&self.packages);
        let passed = counts.map(|((&before, &after), (_, range))| match after.checked_sub(before) {
            Some(passed) => passed,
            None => range.saturating_sub(before) + after,
        });
        passed.sum::<u64>() as f64 * 1e-6
    }

    fn window(&self) -> Duration {
        // Many times the millisecond in which the counters move.
        Duration::from_millis(100)
    }

    fn scope(&self) -> Scope {
        Scope::Chip
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_counted_and_a_counter_may_go_round() {
        let root = tempfile::tempdir().unwrap();
        let file = |folder: &str, name: &str, text: &str| {
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), text).unwrap();
        };
        assert!(Rapl::find(root.path()).is_none());
        for (folder, name) in [("intel-rapl:0", "package-0"), ("intel-rapl:1", "psys"), ("intel-rapl:0:0", "core")] {
            file(folder, "name", &format!("{name}\n"));
            file(folder, "max_energy_range_uj", "262143328850\n");
            file(folder, "energy_uj", "262143000000\n");
        }
        let counters = Rapl::find(root.path()).unwrap();
        let before = counters.read().unwrap();
        assert_eq!(before, [262_143_000_000]);
        file("intel-rapl:0", "energy_uj", "671150\n");
        let joules = counters.joules(&before, &counters.read().unwrap());
        assert!((joules - 1.0).abs() < 1e-9, "{joules}");
    }
}
