//! Faults that files of operators and files of whole networks share: what is wrong with a value beside the others.
//!
//! A [`Sample`] is one row without what it stands for. Copies, powers that never change and slips of unit show in the
//! numbers alone.

use std::path::Path;

use crate::cost::Method;
use crate::error::HwError;
use network::units::Measured;
use storage::file::Place;

/// How far off its neighbours a value must be to be one of another unit: a fifth of 1000 leaves room for their own
/// spread.
const UNIT_SLIP: f64 = 200.0;
/// Neighbours on each side, in order of work, that a value is compared with.
const NEIGHBOURS: usize = 4;
/// Rows below which nothing can be said about a whole column.
const MIN_ROWS: usize = 5;
/// Mean powers in watts that devices have, from a sleeping microcontroller to a rack.
const POWERS: std::ops::RangeInclusive<f64> = 1e-4..=1e4;

/// One measured row: an operator or a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Where it stands in its file.
    pub place: Place,
    /// What was measured, for messages.
    pub words: String,
    /// What its cost follows: MACs, or MACs and elements.
    pub work: f64,
    /// In seconds.
    pub latency: Option<f64>,
    /// In joules.
    pub energy: Option<f64>,
    /// How the energy came about, if the file says.
    pub energy_method: Option<Method>,
}

impl Sample {
    fn value(&self, quantity: Measured) -> Option<f64> {
        match quantity {
            Measured::Latency => self.latency,
            Measured::Energy => self.energy,
        }
    }

    fn is_derived(&self) -> bool {
        self.energy_method == Some(Method::DerivedPower)
    }

    fn defect(&self, path: &Path, problem: String) -> HwError {
        HwError::Defect { path: path.to_path_buf(), place: self.place, op: self.words.clone(), problem }
    }
}

/// Warnings about whole networks, one sentence each; `path` is for messages.
///
/// # Errors
/// [`HwError::Defect`] for what makes values unusable.
pub fn check_networks(networks: &[Sample], path: &Path) -> Result<Vec<String>, HwError> {
    let mut warnings = Vec::new();
    copies(networks, path, &mut warnings)?;
    powers(networks, path, &mut warnings)?;
    for quantity in [Measured::Latency, Measured::Energy] {
        unit_slips(networks, path, quantity)?;
    }
    Ok(warnings)
}

/// Those that have both quantities.
fn both(samples: &[Sample]) -> impl Iterator<Item = (&Sample, f64, f64)> {
    samples.iter().filter_map(|sample| Some((sample, sample.latency?, sample.energy?)))
}

/// An energy in mJ that is its latency in ms. Round numbers may meet by chance, long ones and whole columns do not.
pub(crate) fn copies(samples: &[Sample], path: &Path, warnings: &mut Vec<String>) -> Result<(), HwError> {
    let comparable: Vec<_> = both(samples).filter(|(row, ..)| !row.is_derived()).collect();
    let equal: Vec<_> = comparable.iter().filter(|(_, latency, energy)| same(*latency, *energy)).collect();
    let Some((first, value, _)) = equal.first() else { return Ok(()) };
    let long = equal.iter().find(|(_, latency, _)| digits(latency * 1e3) >= 4);
    if let Some((row, value, _)) = long {
        let problem = format!("its energy and its latency are the same number, {}: one is a copy", value * 1e3);
        return Err(row.defect(path, problem));
    }
    if equal.len() == comparable.len() && equal.len() >= MIN_ROWS {
        let problem = "energies and latencies are the same numbers throughout: one column is a copy".to_string();
        return Err(first.defect(path, problem));
    }
    warnings.push(format!("{}: energy in mJ and latency in ms are both {}: is one a copy?", first.place, value * 1e3));
    Ok(())
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs()
}

/// Significant decimal digits of a number as it was written, before scaling left its last bits.
fn digits(value: f64) -> usize {
    let text = format!("{value:.11e}");
    let mantissa = text.split('e').next().unwrap_or_default().replace('.', "");
    mantissa.trim_end_matches('0').len()
}

/// Energy over latency is a power: one that never changes was assumed, one that no device has is a wrong unit.
pub(crate) fn powers(samples: &[Sample], path: &Path, warnings: &mut Vec<String>) -> Result<(), HwError> {
    let mut watts: Vec<f64> = both(samples).map(|(_, latency, energy)| energy / latency).collect();
    watts.sort_by(f64::total_cmp);
    if watts.len() < MIN_ROWS {
        return Ok(());
    }
    let (low, median, high) = (watts[0], watts[watts.len() / 2], watts[watts.len() - 1]);
    if high - low <= 1e-6 * median {
        let measured = [Method::Measured, Method::MeasuredRail, Method::MeasuredWall, Method::MeasuredBattery];
        let claimed =
            both(samples).find(|(row, ..)| row.energy_method.is_some_and(|method| measured.contains(&method)));
        if let Some((row, ..)) = claimed {
            let problem = format!(
                "every energy is its latency × {median:.6} W, so it was not measured: write derived_power as its method"
            );
            return Err(row.defect(path, problem));
        }
        if both(samples).any(|(row, ..)| !row.is_derived()) {
            warnings.push(format!(
                "every energy is its latency × {median:.6} W: it was derived, not measured: its method is derived_power"
            ));
        }
    }
    if !POWERS.contains(&median) {
        warnings.push(format!("energy over latency is {median:.3e} W in the median row: is a column in another unit?"));
    }
    Ok(())
}

/// A value of another unit, or of another power of ten, stands out among others of about the same work.
pub(crate) fn unit_slips(samples: &[Sample], path: &Path, quantity: Measured) -> Result<(), HwError> {
    let mut rows: Vec<(f64, f64, &Sample)> =
        samples.iter().filter_map(|row| Some((row.work, row.value(quantity)?, row))).collect();
    if rows.len() < MIN_ROWS {
        return Ok(());
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (at, (work, value, row)) in rows.iter().enumerate() {
        let near = at.saturating_sub(NEIGHBOURS)..(at + NEIGHBOURS + 1).min(rows.len());
        // A floor of launch times leaves small operators equal; otherwise cost follows work. Either may explain it.
        let ratios = |scale: fn(f64, f64) -> f64| {
            let others = near.clone().filter(|other| *other != at);
            let mut ratios: Vec<f64> = others.map(|at| value / rows[at].1 * scale(rows[at].0, *work)).collect();
            ratios.sort_by(f64::total_cmp);
            ratios[ratios.len() / 2]
        };
        let factor = [ratios(|_, _| 1.0), ratios(|theirs, mine| theirs / mine)];
        let far = |factor: f64| factor.max(1.0 / factor) >= UNIT_SLIP;
        if factor.into_iter().all(far) && (factor[0] > 1.0) == (factor[1] > 1.0) {
            let problem = format!(
                "its {quantity} of {} is {:.0} times {} than that of others of about its size: a slip of unit",
                quantity.format(*value),
                factor[0].max(1.0 / factor[0]),
                if factor[0] > 1.0 { "larger" } else { "smaller" },
            );
            return Err(row.defect(path, problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::testing::refused;

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
        let warnings = checked(|_, values| values[1] = 2.0 * values[0]).unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("derived"), "{warnings:?}");
    }
}
