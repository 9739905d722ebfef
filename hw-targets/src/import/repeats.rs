//! Several measurements of one operator, as tables of layers have them, to one row.

use std::collections::HashMap;

use crate::cost::Statistic;
use crate::table::{Measurement, OpKey, Row};

/// Rows with each operator once, in order of first appearance: the value is the mean of the repeats, `std` their sample
/// standard deviation, `count` their number. Repeats that are all equal are copies and stay one value without a
/// deviation. Adds one note if there were repeats.
pub(super) fn merged(rows: Vec<Row>, notes: &mut Vec<String>) -> Vec<Row> {
    let mut index: HashMap<OpKey, usize> = HashMap::new();
    let mut groups: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        let at = *index.entry(row.key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[at].push(row);
    }
    let repeated = groups.iter().filter(|group| group.iter().filter(|row| row.latency.is_some()).count() > 1);
    let repeated = repeated.count().max(groups.iter().filter(|group| energies(group).len() > 1).count());
    if repeated > 0 {
        notes.push(format!("{repeated} operators stand in several places of the network: their mean was kept"));
    }
    groups
        .into_iter()
        .map(|group| {
            let latencies: Vec<Measurement> = group.iter().filter_map(|row| row.latency).collect();
            let (latency, energy) = (mean(&latencies), mean(&energies(&group)));
            let names: Vec<&str> = group.iter().filter_map(|row| row.source_key.as_deref()).collect();
            let source_key = names.first().map(|first| match names.iter().filter(|name| *name != first).count() {
                0 => first.to_string(),
                others => format!("{first} and {others} more"),
            });
            Row { latency, energy, source_key, ..group[0].clone() }
        })
        .collect()
}

fn energies(group: &[Row]) -> Vec<Measurement> {
    group.iter().filter_map(|row| row.energy).collect()
}

fn mean(measured: &[Measurement]) -> Option<Measurement> {
    let first = *measured.first()?;
    if measured.iter().all(|other| other.value == first.value) {
        return Some(first);
    }
    let n = measured.len() as f64;
    let value = measured.iter().map(|measurement| measurement.value).sum::<f64>() / n;
    let squares: f64 = measured.iter().map(|measurement| (measurement.value - value).powi(2)).sum();
    Some(Measurement {
        value,
        std: Some((squares / (n - 1.0)).sqrt()),
        count: Some(measured.len() as u64),
        rel_unc: first.rel_unc,
        statistic: Some(Statistic::Mean),
    })
}
