//! Faults that files of operators and files of whole networks share: what is wrong with a value beside the others.
//!
//! A [`Sample`] is one row without what it stands for. Copies, powers that never change and slips of unit show in the
//! numbers alone.

use std::path::Path;

use crate::cost::Method;
use crate::error::HwError;
use network::units::Measured;
use storage::file::Place;

/// How far off its neighbours an operator's value must be to be one of another unit: a fifth of 1000 leaves room for
/// their own spread.
pub(crate) const UNIT_SLIP: f64 = 200.0;
/// How far off a whole network's must be, whose neighbours are alike, and how many times the usual distance from them that is.
const NETWORK_SLIP: f64 = 5.0;
const TIMES_USUAL: f64 = 8.0;
/// Neighbours on each side, in order of work, that a value is compared with.
const NEIGHBOURS: usize = 4;
/// Rows below which nothing can be said about a whole column.
const MIN_ROWS: usize = 5;
/// Mean powers in watts that devices have, from a small microcontroller to the largest accelerator.
const POWERS: std::ops::RangeInclusive<f64> = 3e-3..=1e3;
/// Joules per MAC that networks take, from fixed-function accelerators (1 pJ) to 8-bit microcontrollers (some 10 nJ).
const PER_MAC: std::ops::RangeInclusive<f64> = 5e-13..=1e-7;
/// Multiply-accumulates in a second that one image keeps a device busy with, from 8-bit microcontrollers to the largest
/// accelerator.
const SPEEDS: std::ops::RangeInclusive<f64> = 1e4..=3e12;
/// Spread from which on values are not nearly the same, and the share of rows that are taken to be all.
const NEARLY: f64 = 0.01;
const ALL: f64 = 0.9;
/// How much rounding may blur a power, relative to it, where a power that never changes is still proof.
const SHARP: f64 = 0.005;
/// How much larger than the smallest the largest piece of work is where costs cannot all be equal.
const UNEQUAL: f64 = 2.0;

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
    // Files of networks hold what was measured, and nothing says otherwise in them.
    if let Some((row, watts)) = constant_power(networks).filter(|found| found.is_sharp).map(|found| found.at()) {
        let problem = format!(
            "every energy is its latency × {watts:.6} W, so it was not measured: take the column out, and state the \
             power in the target's manifest if it is known"
        );
        return Err(row.defect(path, problem));
    }
    powers(networks, path, &mut warnings)?;
    per_mac(networks, &mut warnings);
    for quantity in [Measured::Latency, Measured::Energy] {
        warnings.extend(equal_values(networks, path, quantity)?);
        unit_slips(networks, path, quantity, NETWORK_SLIP)?;
    }
    Ok(warnings)
}

/// Different pieces of work that all cost the same were not measured one by one; a sentence where they nearly do.
pub(crate) fn equal_values(samples: &[Sample], path: &Path, quantity: Measured) -> Result<Option<String>, HwError> {
    let rows: Vec<(&Sample, f64)> = samples.iter().filter_map(|row| Some((row, row.value(quantity)?))).collect();
    let Some((first, value)) = rows.first() else { return Ok(None) };
    let works = || rows.iter().map(|(row, _)| row.work);
    let (least, most) = (works().fold(f64::INFINITY, f64::min), works().fold(0.0, f64::max));
    if rows.len() < MIN_ROWS || most < UNEQUAL * least {
        return Ok(None);
    }
    if rows.iter().any(|(_, other)| !same(*value, *other)) {
        let mut values: Vec<f64> = rows.iter().map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        let near = values.iter().filter(|value| (*value - median).abs() <= NEARLY * median).count();
        return Ok((near as f64 >= ALL * values.len() as f64).then(|| {
            let (value, all) = (quantity.format(median), values.len());
            format!("the {quantity} of {near} of {all} rows is {value} within 1 %, whatever the size: was it measured?")
        }));
    }
    let problem = format!("every {quantity} is {}, whatever the size: nothing was measured", quantity.format(*value));
    Err(first.defect(path, problem))
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
    let long = equal.iter().find(|(_, latency, _)| mantissa(latency * 1e3).1 >= 4);
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

/// The number from 1 to 10 that a value begins with, and its significant decimal digits, as it was written before
/// scaling left its last bits.
fn mantissa(value: f64) -> (f64, i32) {
    let text = format!("{value:.11e}");
    let mantissa = text.split('e').next().unwrap_or_default();
    let digits = mantissa.trim_end_matches('0').bytes().filter(u8::is_ascii_digit).count();
    (mantissa.parse().unwrap_or(1.0), i32::try_from(digits).unwrap_or(0))
}

/// One power that explains every row that has both quantities.
struct ConstantPower<'a> {
    first: &'a Sample,
    watts: f64,
    /// Whether enough rows have so many digits that measured powers would differ in them.
    is_sharp: bool,
}

impl<'a> ConstantPower<'a> {
    fn at(self) -> (&'a Sample, f64) {
        (self.first, self.watts)
    }
}

/// Whether the energies, of which nothing says how they came about, are nothing but latencies times a power.
pub(crate) fn are_derived(samples: &[Sample]) -> bool {
    both(samples).all(|(row, ..)| row.energy_method.is_none())
        && constant_power(samples).is_some_and(|found| found.is_sharp)
}

/// The power that is every energy over its latency within the rounding of both, if there is one.
fn constant_power(samples: &[Sample]) -> Option<ConstantPower<'_>> {
    let (mut low, mut high, mut sharp) = (0.0_f64, f64::INFINITY, 0);
    for (_, latency, energy) in both(samples) {
        // Half a unit of the last digit of each.
        let blur = |value: f64| {
            let (mantissa, digits) = mantissa(value);
            (0.5 * 10_f64.powi(1 - digits) / mantissa).max(1e-9)
        };
        let (watts, blur) = (energy / latency, blur(latency) + blur(energy));
        low = low.max(watts * (1.0 - blur));
        high = high.min(watts * (1.0 + blur));
        sharp += usize::from(blur <= SHARP);
    }
    let (first, ..) = both(samples).next()?;
    let rows = both(samples).count();
    (rows >= MIN_ROWS && low <= high).then(|| ConstantPower {
        first,
        watts: f64::midpoint(low, high),
        is_sharp: sharp >= MIN_ROWS,
    })
}

/// Energy over latency is a power: one that never changes was assumed, one that no device has is a wrong unit. So is an
/// energy per MAC that none has.
pub(crate) fn powers(samples: &[Sample], path: &Path, warnings: &mut Vec<String>) -> Result<(), HwError> {
    let mut watts: Vec<f64> = both(samples).map(|(_, latency, energy)| energy / latency).collect();
    watts.sort_by(f64::total_cmp);
    if watts.len() < MIN_ROWS {
        return Ok(());
    }
    let median = watts[watts.len() / 2];
    if let Some(ConstantPower { watts: median, is_sharp, .. }) = constant_power(samples) {
        let measured = [Method::Measured, Method::MeasuredRail, Method::MeasuredWall, Method::MeasuredBattery];
        let claimed =
            both(samples).find(|(row, ..)| row.energy_method.is_some_and(|method| measured.contains(&method)));
        if let Some((row, ..)) = claimed.filter(|_| is_sharp) {
            let problem = format!(
                "every energy is its latency × {median:.6} W, so it was not measured: write derived_power as its method"
            );
            return Err(row.defect(path, problem));
        }
        if both(samples).any(|(row, ..)| !row.is_derived()) {
            warnings.push(format!(
                "every energy is its latency × {median:.6} W: if it was derived, not measured, its method is derived_power"
            ));
        }
    }
    if !POWERS.contains(&median) {
        warnings.push(format!("energy over latency is {median:.3e} W in the median row: is a column in another unit?"));
    }
    Ok(())
}

/// Speeds and energies per multiply-accumulate that no device has: a column in another unit.
pub(crate) fn per_mac(samples: &[Sample], warnings: &mut Vec<String>) {
    let mut speeds: Vec<f64> = samples.iter().filter_map(|row| Some(row.work / row.latency?)).collect();
    speeds.sort_by(f64::total_cmp);
    if let Some(median) = speeds.get(speeds.len() / 2).filter(|median| !SPEEDS.contains(median)) {
        warnings.push(format!("{median:.3e} MACs a second in the median row: is the latency in another unit?"));
    }
    let mut joules: Vec<f64> = samples.iter().filter_map(|row| Some(row.energy? / row.work)).collect();
    joules.sort_by(f64::total_cmp);
    if let Some(median) = joules.get(joules.len() / 2).filter(|median| !PER_MAC.contains(median)) {
        warnings.push(format!("energy over MACs is {median:.3e} J in the median row: is it in another unit?"));
    }
}

/// A value of another unit, or of another power of ten, stands out among others of about the same work: it is at least
/// `slip` times theirs, and far more than others usually are.
pub(crate) fn unit_slips(samples: &[Sample], path: &Path, quantity: Measured, slip: f64) -> Result<(), HwError> {
    let mut rows: Vec<(f64, f64, &Sample)> =
        samples.iter().filter_map(|row| Some((row.work, row.value(quantity)?, row))).collect();
    if rows.len() < MIN_ROWS {
        return Ok(());
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut factors = Vec::with_capacity(rows.len());
    for (at, (work, value, _)) in rows.iter().enumerate() {
        let near = at.saturating_sub(NEIGHBOURS)..(at + NEIGHBOURS + 1).min(rows.len());
        // A floor of launch times leaves small operators equal; otherwise cost follows work. Either may explain it.
        let ratios = |scale: fn(f64, f64) -> f64| {
            let others = near.clone().filter(|other| *other != at);
            let mut ratios: Vec<f64> = others.map(|at| value / rows[at].1 * scale(rows[at].0, *work)).collect();
            ratios.sort_by(f64::total_cmp);
            ratios[ratios.len() / 2]
        };
        factors.push([ratios(|_, _| 1.0), ratios(|theirs, mine| theirs / mine)]);
    }
    let distance = |factor: f64| factor.ln().abs();
    let nearer = |factor: &[f64; 2]| distance(factor[0]).min(distance(factor[1]));
    let mut usual: Vec<f64> = factors.iter().map(nearer).collect();
    usual.sort_by(f64::total_cmp);
    let least = slip.ln().max(TIMES_USUAL * usual[usual.len() / 2]);
    for (factor, (_, value, row)) in factors.iter().zip(&rows) {
        if nearer(factor) >= least && (factor[0] > 1.0) == (factor[1] > 1.0) {
            let problem = format!(
                "its {quantity} of {} is {:.0} times {} than that of others of about its size: a slip of unit, or of the point",
                quantity.format(*value),
                factor[0].max(1.0 / factor[0]),
                if factor[0] > 1.0 { "larger" } else { "smaller" },
            );
            return Err(row.defect(path, problem));
        }
    }
    Ok(())
}
