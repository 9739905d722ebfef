//! How much memory images may take before they are decoded as they are needed.

use std::path::Path;

/// Share of the memory that is free which images may take; the rest is for training.
const SHARE: f64 = 0.5;

/// Bytes that images may take where nobody says: half of what is free on this machine, or left in this container; without
/// an end where the system does not say.
pub(super) fn for_images() -> usize {
    let system = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let bytes = [system, left_in_group(Path::new("/sys/fs/cgroup"))].into_iter().flatten().min();
    bytes.map_or(usize::MAX, |bytes| (bytes as f64 * SHARE) as usize)
}

/// `MemAvailable`, in bytes (proc(5)).
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// What a control group may take and has not (cgroup v2); none where it may take anything.
fn left_in_group(folder: &Path) -> Option<u64> {
    let number = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_are_read() {
        let text = "MemTotal:       16303428 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n";
        assert_eq!(available(text), Some(8_000_000 << 10));
        assert_eq!(available("MemTotal: 1 kB"), None);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(left_in_group(folder.path()), None);
        std::fs::write(folder.path().join("memory.current"), "1000\n").unwrap();
        std::fs::write(folder.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(left_in_group(folder.path()), None);
        std::fs::write(folder.path().join("memory.max"), "5000\n").unwrap();
        assert_eq!(left_in_group(folder.path()), Some(4000));
    }
}
