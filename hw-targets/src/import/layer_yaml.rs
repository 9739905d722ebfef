//! The YAML that once-for-all and ProxylessNAS publish: a mapping from a layer's key to its statistics in milliseconds.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cost::Statistic;
use crate::error::HwError;
use crate::import::layer_key::{LayerKey, Unmapped};
use crate::table::{Measurement, OpKey, Row};
use crate::table_op::TableOp;
use storage::file::{FileError, Place};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    mean: Option<f64>,
    median: Option<f64>,
    std: Option<f64>,
    var: Option<f64>,
    /// Programs that know only floating point write 9.0.
    count: Option<f64>,
    #[serde(rename = "min")]
    _min: Option<IgnoredAny>,
    #[serde(rename = "max")]
    _max: Option<IgnoredAny>,
}

/// What one format makes of the shared layout.
pub(super) struct Layout {
    /// Its name, for messages.
    pub(super) format: &'static str,
    /// The operator that a key names.
    pub(super) op_of: fn(&LayerKey) -> Result<TableOp, Unmapped>,
}

impl Layout {
    /// The rows of one file, in its order; what they could not be made of goes to `notes`. `resolution` is made from
    /// the file's keys.
    pub(super) fn rows(
        &self,
        path: &Path,
        text: &str,
        resolution: impl FnOnce(&[&str]) -> Option<u32>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Row>, HwError> {
        let malformed = |problem: String| HwError::from(FileError::malformed(path, self.format, problem));
        // A mapping of values refuses a key that is there twice; a map of entries would keep the last one.
        let mapping: serde_yaml::Mapping = serde_yaml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let keys: Vec<&str> = mapping.keys().filter_map(|key| key.as_str()).collect();
        let network_resolution = resolution(&keys);
        let mut rows = Vec::with_capacity(mapping.len());
        for (at, (key, value)) in mapping.into_iter().enumerate() {
            let key = key.as_str().ok_or_else(|| malformed(format!("key {key:?} is not text")))?.to_string();
            let entry: Entry = serde_yaml::from_value(value).map_err(|error| malformed(format!("{key}: {error}")))?;
            let op = match (self.op_of)(&LayerKey::new(&key)) {
                Ok(op) => op,
                Err(Unmapped::OtherFormat(reason)) => return Err(malformed(format!("{key}: {reason}"))),
                Err(Unmapped::Unknown(reason)) => {
                    notes.push(format!("{}: {key} was left out: {reason}", path.display()));
                    continue;
                }
            };
            let bad = |field: &str, problem: String| HwError::BadField {
                path: path.to_path_buf(),
                field: format!("{key}: {field}"),
                problem,
            };
            let (value, statistic) = match (entry.mean, entry.median) {
                (Some(mean), _) => (mean, Statistic::Mean),
                (None, Some(median)) => (median, Statistic::Median),
                (None, None) => return Err(bad("mean", "is missing".to_string())),
            };
            if !(value.is_finite() && value > 0.0) {
                return Err(bad("mean", format!("{value} is no measurement")));
            }
            if entry.count.is_some_and(|count| count.fract() != 0.0 || !(0.0..=1e15).contains(&count)) {
                return Err(bad("count", "is not a whole number".to_string()));
            }
            for (field, value) in [("std", entry.std), ("var", entry.var)] {
                if value.is_some_and(|value| !(value.is_finite() && value >= 0.0)) {
                    return Err(bad(field, "is negative or not a number".to_string()));
                }
            }
            let std = entry.std.or(entry.var.map(f64::sqrt));
            rows.push(Row {
                key: OpKey::new(&op, network_resolution),
                latency: Some(Measurement {
                    value: value / 1e3,
                    std: std.map(|std| std / 1e3),
                    count: entry.count.map(|count| count as u64),
                    rel_unc: None,
                    statistic: Some(statistic),
                }),
                energy: None,
                energy_method: None,
                energy_scope: None,
                source_key: Some(key),
                place: Place::Row(at as u64 + 1),
            });
        }
        Ok(rows)
    }
}
