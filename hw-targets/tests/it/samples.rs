//! What is wrong with numbers of networks beside each other.

use std::path::Path;

use hw_targets::error::HwError;
use hw_targets::samples::{Sample, check_networks};
use storage::file::Place;

use crate::support::refused;

/// Twelve networks of growing size; `change` may spoil one's latency and energy in milliseconds and millijoules.
fn checked(change: impl Fn(usize, &mut [f64; 2])) -> Result<Vec<String>, HwError> {
    let sample = |at: usize| {
        let mut values = [1.2345 + 0.1 * at as f64, 2.3456 + 0.3 * at as f64];
        change(at, &mut values);
        Sample {
            place: Place::Line(at as u64 + 2),
            words: "network".to_string(),
            work: 1e6 * (at + 5) as f64,
            latency: Some(values[0] / 1e3),
            energy: Some(values[1] / 1e3),
            energy_method: None,
        }
    };
    let networks: Vec<Sample> = (0..12).map(sample).collect();
    check_networks(&networks, Path::new("n.csv"))
}

#[test]
fn whole_networks_are_looked_over_as_operators_are() {
    assert!(checked(|_, _| ()).unwrap().is_empty());
    refused(checked(|at, values| values[1] = if at == 3 { values[0] } else { values[1] }).map(|_| ()), &["line 5"]);
    refused(
        checked(|at, values| values[0] /= if at == 4 { 1e3 } else { 1.0 }).map(|_| ()),
        &["line 6", "slip of unit"],
    );
    refused(checked(|at, values| values[1] *= if at == 7 { 10.0 } else { 1.0 }).map(|_| ()), &["line 9", "slip"]);
    let warnings = checked(|at, values| values[0] = 3.5 + 1e-3 * at as f64).unwrap();
    assert!(warnings.iter().any(|warning| warning.contains("whatever the size")), "{warnings:?}");
    refused(checked(|_, values| values[0] = 3.5).map(|_| ()), &["every latency", "3.5", "nothing was measured"]);
}

#[test]
fn a_power_that_never_changes_shows_through_rounding() {
    let derived = |digits: usize, factor: f64| {
        checked(|_, values| {
            let round = |value: f64| format!("{value:.*e}", digits - 1).parse::<f64>().unwrap();
            *values = [round(values[0]), round(values[0] * factor)];
        })
    };
    for digits in [4, 6, 16] {
        for factor in [1.3, 2.0, 1e-2, 1e3] {
            refused(derived(digits, factor).map(|_| ()), &["line 2", "was not measured"]);
        }
    }
    // Two digits could be like that by chance.
    let warnings = derived(2, 1.3).unwrap();
    assert!(warnings.iter().any(|warning| warning.contains("derived")), "{warnings:?}");
}

#[test]
fn powers_and_energies_per_mac_that_no_device_has_are_named() {
    let scaled = |latency: f64, energy: f64| {
        checked(|at, values| {
            let spread = 1.0 + 0.05 * (at % 3) as f64;
            *values = [latency * (at + 5) as f64 * spread, energy * (at + 5) as f64];
        })
        .unwrap()
    };
    // 1 ms and 2 mJ per 10 MMACs is a telephone, 20 ms and 1 mJ per MMAC a microcontroller.
    for (latency, energy) in [(0.1, 0.2), (20.0, 1.0)] {
        assert!(scaled(latency, energy).is_empty());
        for (latency, energy) in [(latency, energy * 1e3), (latency * 1e3, energy), (latency, energy / 1e3)] {
            assert!(!scaled(latency, energy).is_empty(), "{latency} ms {energy} mJ");
        }
    }
}
