//! Faults that published tables have been seen to have, looked for whenever a table is kept.
//!
//! What makes values unusable is an error that names the row: an energy column copied from latencies, an expand ratio
//! where a width belongs, a value 1000 times its neighbours, energies of different scope, a "measured" energy that is
//! latency × a constant. What is only odd is a warning: larger operators that cost less, spreads larger than values,
//! powers that no device has. Zeros, NaN and negative values never get this far.

use std::collections::HashMap;
use std::path::Path;

use crate::cost::Method;
use crate::error::HwError;
use crate::table::{Measurement, OpTable, Row};
use crate::table_op::{TableKind, TableOp};
use network::units::Measured;

/// Largest number that is taken for an expand ratio where a width belongs.
const MAX_RATIO: u32 = 10;
/// How far off its neighbours a value must be to be one of another unit: a fifth of 1000 leaves room for their own
/// spread.
const UNIT_SLIP: f64 = 200.0;
/// Neighbours on each side, in order of MACs, that a value is compared with.
const NEIGHBOURS: usize = 4;
/// Rows below which nothing can be said about a whole column.
const MIN_ROWS: usize = 5;
/// Mean powers in watts that devices have, from a sleeping microcontroller to a rack.
const POWERS: std::ops::RangeInclusive<f64> = 1e-4..=1e4;

/// Warnings about `table`, one sentence each; `path` is for messages.
///
/// # Errors
/// [`HwError::Defect`] for what makes values unusable.
pub fn check(table: &OpTable, path: &Path) -> Result<Vec<String>, HwError> {
    let mut warnings = Vec::new();
    ratios(table, path, &mut warnings)?;
    copies(table, path, &mut warnings)?;
    scopes(table, path, &mut warnings)?;
    powers(table, path, &mut warnings)?;
    for quantity in [Measured::Latency, Measured::Energy] {
        unit_slips(table, path, quantity)?;
        warnings.extend(spreads(table, quantity));
        warnings.extend(dear_pooling(table, quantity));
        warnings.extend(not_monotone(table, quantity));
    }
    Ok(warnings)
}

fn defect(path: &Path, row: &Row, problem: String) -> HwError {
    HwError::Defect { path: path.to_path_buf(), place: row.place, op: row.key.op().to_string(), problem }
}

/// `mid_c` is a width. Blocks widen, so a small number below the input's channels is the ratio of another convention.
fn ratios(table: &OpTable, path: &Path, warnings: &mut Vec<String>) -> Result<(), HwError> {
    let narrow = |row: &&Row| {
        let op = row.key.op();
        op.kind == TableKind::MbConv && op.mid_channels < op.in_channels
    };
    for row in table.rows().iter().filter(narrow) {
        let op = row.key.op();
        let (ratio, width) = (op.mid_channels, op.in_channels);
        if ratio <= MAX_RATIO {
            let meant = width.saturating_mul(ratio);
            let problem = format!("mid_c is {ratio}, which looks like an expand ratio: it is a width, here {meant}");
            return Err(defect(path, row, problem));
        }
        warnings.push(format!("{}: {op} is narrower inside than its input; is mid_c the absolute width?", row.place));
    }
    Ok(())
}

/// Rows that have both quantities.
fn both(table: &OpTable) -> impl Iterator<Item = (&Row, f64, f64)> {
    table.rows().iter().filter_map(|row| Some((row, row.latency?.value, row.energy?.value)))
}

fn is_derived(row: &Row) -> bool {
    row.energy_method == Some(Method::DerivedPower)
}

/// An energy in mJ that is its latency in ms. Round numbers may meet by chance, long ones and whole columns do not.
fn copies(table: &OpTable, path: &Path, warnings: &mut Vec<String>) -> Result<(), HwError> {
    let comparable: Vec<_> = both(table).filter(|(row, ..)| !is_derived(row)).collect();
    let equal: Vec<_> = comparable.iter().filter(|(_, latency, energy)| same(*latency, *energy)).collect();
    let Some((first, value, _)) = equal.first() else { return Ok(()) };
    let long = equal.iter().find(|(_, latency, _)| digits(latency * 1e3) >= 4);
    if let Some((row, value, _)) = long {
        let problem = format!("its energy and its latency are the same number, {}: one is a copy", value * 1e3);
        return Err(defect(path, row, problem));
    }
    if equal.len() == comparable.len() && equal.len() >= MIN_ROWS {
        let problem = "energies and latencies are the same numbers throughout: one column is a copy".to_string();
        return Err(defect(path, first, problem));
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

/// Energies of different scope have no sum.
fn scopes(table: &OpTable, path: &Path, warnings: &mut Vec<String>) -> Result<(), HwError> {
    let mut rows = table.rows().iter().filter(|row| row.energy.is_some());
    let Some(first) = rows.next() else { return Ok(()) };
    let word = |scope: Option<crate::cost::Scope>| scope.map_or("unstated", crate::cost::Scope::name);
    let mut methods = false;
    for row in rows {
        if row.energy_scope != first.energy_scope {
            let (here, there) = (word(row.energy_scope), word(first.energy_scope));
            let problem =
                format!("its energy scope is {here}, and {there} in {}: such energies have no sum", first.place);
            return Err(defect(path, row, problem));
        }
        methods |= row.energy_method != first.energy_method;
    }
    if methods {
        warnings.push("energies came about by different methods: their sums carry the weakest".to_string());
    }
    Ok(())
}

/// Energy over latency is a power: one that never changes was assumed, one that no device has is a wrong unit.
fn powers(table: &OpTable, path: &Path, warnings: &mut Vec<String>) -> Result<(), HwError> {
    let mut watts: Vec<f64> = both(table).map(|(_, latency, energy)| energy / latency).collect();
    watts.sort_by(f64::total_cmp);
    if watts.len() < MIN_ROWS {
        return Ok(());
    }
    let (low, median, high) = (watts[0], watts[watts.len() / 2], watts[watts.len() - 1]);
    if high - low <= 1e-6 * median {
        let measured = [Method::Measured, Method::MeasuredRail, Method::MeasuredWall, Method::MeasuredBattery];
        let claimed = both(table).find(|(row, ..)| row.energy_method.is_some_and(|method| measured.contains(&method)));
        if let Some((row, ..)) = claimed {
            let problem = format!(
                "every energy is its latency × {median:.6} W, so it was not measured: write derived_power as its method"
            );
            return Err(defect(path, row, problem));
        }
        if both(table).any(|(row, ..)| !is_derived(row)) {
            warnings.push(format!(
                "every energy is its latency × {median:.6} W: it was derived, not measured; state derived_power"
            ));
        }
    }
    if !POWERS.contains(&median) {
        warnings.push(format!("energy over latency is {median:.3e} W in the median row: is a column in another unit?"));
    }
    Ok(())
}

/// A value of another unit, or of another power of ten, stands out among operators of about the same work.
fn unit_slips(table: &OpTable, path: &Path, quantity: Measured) -> Result<(), HwError> {
    for kind in [TableKind::Conv, TableKind::MbConv, TableKind::AvgPool, TableKind::Linear] {
        let mut rows: Vec<(f64, f64, &Row)> = table
            .rows()
            .iter()
            .filter(|row| row.key.op().kind == kind)
            .filter_map(|row| Some((work(row.key.op()), row.measurement(quantity)?.value, row)))
            .collect();
        if rows.len() < MIN_ROWS {
            continue;
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
                    "its {quantity} of {} is {:.0} times {} than that of operators of about its size: a slip of unit",
                    quantity.format(*value),
                    factor[0].max(1.0 / factor[0]),
                    if factor[0] > 1.0 { "larger" } else { "smaller" },
                );
                return Err(defect(path, row, problem));
            }
        }
    }
    Ok(())
}

/// MACs, and the elements of both maps for operators that have none.
fn work(op: &TableOp) -> f64 {
    let map = |size: u32, channels: u32| f64::from(size) * f64::from(size) * f64::from(channels);
    op.macs().0 as f64 + map(op.in_size, op.in_channels) + map(op.out_size, op.out_channels)
}

fn spreads(table: &OpTable, quantity: Measured) -> Option<String> {
    let wide = |measured: &&Measurement| measured.std.is_some_and(|std| std > measured.value);
    let measured = table.rows().iter().filter_map(|row| row.measurement(quantity));
    let count = measured.filter(wide).count();
    (count > 0).then(|| format!("{count} rows have a standard deviation of {quantity} above the value itself"))
}

/// Pooling reads a map once, so it does not cost more than every convolution.
fn dear_pooling(table: &OpTable, quantity: Measured) -> Option<String> {
    let of = |pools: bool| {
        let rows = table.rows().iter().filter(move |row| (row.key.op().kind == TableKind::AvgPool) == pools);
        let values = rows.filter_map(|row| Some((row.measurement(quantity)?.value, row)));
        values.max_by(|a, b| a.0.total_cmp(&b.0))
    };
    let ((pool, row), (other, _)) = (of(true)?, of(false)?);
    (pool > other).then(|| {
        let (op, pool, other) = (row.key.op(), quantity.format(pool), quantity.format(other));
        format!("{op} has a {quantity} of {pool}, more than any operator with weights ({other})")
    })
}

/// Operators that differ in one size only, of which the larger costs less: more than 5 % and two deviations less.
fn not_monotone(table: &OpTable, quantity: Measured) -> Option<String> {
    type Size = (&'static str, fn(&mut TableOp) -> &mut u32);
    let sizes: [Size; 4] = [
        ("kernel", |op| &mut op.kernel),
        ("width inside", |op| &mut op.mid_channels),
        ("input channels", |op| &mut op.in_channels),
        ("output channels", |op| &mut op.out_channels),
    ];
    let (mut pairs, mut worst): (usize, Option<(f64, String)>) = (0, None);
    for (name, size) in sizes {
        let mut groups: HashMap<_, Vec<(u32, &Row, &Measurement)>> = HashMap::new();
        for row in table.rows() {
            let Some(measured) = row.measurement(quantity) else { continue };
            let mut op = *row.key.op();
            let value = std::mem::replace(size(&mut op), 0);
            groups.entry((op, row.key.network_resolution())).or_default().push((value, row, measured));
        }
        for group in groups.values_mut() {
            group.sort_by_key(|(value, ..)| *value);
            for pair in group.windows(2) {
                let [(small, row, less), (large, _, more)] = pair else { continue };
                let noise = 2.0 * less.std.unwrap_or(0.0).hypot(more.std.unwrap_or(0.0));
                let drop = less.value - more.value;
                if drop <= noise.max(0.05 * less.value) {
                    continue;
                }
                pairs += 1;
                let rel = drop / less.value;
                if worst.as_ref().is_none_or(|(most, _)| rel > *most) {
                    let costs = format!("{} against {}", quantity.format(more.value), quantity.format(less.value));
                    worst = Some((rel, format!("{} with {name} {large}, not {small}: {costs}", row.key.op())));
                }
            }
        }
    }
    let (_, example) = worst?;
    Some(format!(
        "{quantity} falls where an operator grows, in {pairs} pairs that differ in one size; most in {example}"
    ))
}

#[cfg(test)]
#[path = "defects_tests.rs"]
mod tests;
