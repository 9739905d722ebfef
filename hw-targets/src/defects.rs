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
use crate::samples::{self, Sample};
use crate::table::{Measurement, OpTable, Row};
use crate::table_op::{TableKind, TableOp};
use network::units::Measured;

/// Largest number that is taken for an expand ratio where a width belongs.
const MAX_RATIO: u32 = 10;

/// Warnings about `table`, one sentence each; `path` is for messages.
///
/// # Errors
/// [`HwError::Defect`] for what makes values unusable.
pub fn check(table: &OpTable, path: &Path) -> Result<Vec<String>, HwError> {
    let mut warnings = Vec::new();
    ratios(table, path, &mut warnings)?;
    let samples = |is_one: &dyn Fn(TableKind) -> bool| -> Vec<Sample> {
        table.rows().iter().filter(|row| is_one(row.key.op().kind)).map(sample).collect()
    };
    let all = samples(&|_| true);
    samples::copies(&all, path, &mut warnings)?;
    scopes(table, path, &mut warnings)?;
    samples::powers(&all, path, &mut warnings)?;
    samples::per_mac(&all, &mut warnings);
    for quantity in [Measured::Latency, Measured::Energy] {
        for kind in [TableKind::Conv, TableKind::MbConv, TableKind::AvgPool, TableKind::Linear] {
            samples::unit_slips(&samples(&|other| other == kind), path, quantity, samples::UNIT_SLIP)?;
        }
        warnings.extend(samples::equal_values(&all, path, quantity)?);
        warnings.extend(spreads(table, quantity));
        warnings.extend(dear_pooling(table, quantity));
        warnings.extend(not_monotone(table, quantity));
    }
    Ok(warnings)
}

/// `table`, its energies marked as derived where they are nothing but latencies times a power and nothing says otherwise.
pub(crate) fn with_methods(table: OpTable) -> OpTable {
    let all: Vec<Sample> = table.rows().iter().map(sample).collect();
    if samples::are_derived(&all) { table.with_energy_method(Method::DerivedPower) } else { table }
}

fn sample(row: &Row) -> Sample {
    let op = row.key.op();
    let value = |quantity| row.measurement(quantity).map(|measured| measured.value);
    Sample {
        place: row.place,
        words: op.to_string(),
        work: work(op),
        latency: value(Measured::Latency),
        energy: value(Measured::Energy),
        energy_method: row.energy_method,
    }
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
