//! Latency tables of the published once-for-all implementation (`once-for-all` §5.1).
//!
//! One file per input size of the network, `{resolution}_lookup_table.yaml`: a mapping from an operator's key to
//! `{count, mean, std}` in milliseconds. Keys name absolute shapes; `expand` is the absolute width inside a block. What
//! the keys leave out is the network they were measured in, OFA's MobileNetV3: 3×3 stem, squeeze-excite of a quarter of
//! the inner width, h-swish in stem and head.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cost::Statistic;
use crate::error::{HwError, Place};
use crate::import::Imported;
use crate::manifest::{Manifest, TABLE_SCHEMA};
use crate::table::{Measurement, OpKey, OpTable, Row};
use crate::table_file::read_text;
use crate::workload::{Activation, Op, OpKind};

const FILE_ENDING: &str = "_lookup_table.yaml";

#[derive(Deserialize)]
struct Entry {
    mean: f64,
    std: Option<f64>,
    count: Option<u64>,
}

/// Reads a folder of tables, or one table.
///
/// # Errors
/// [`HwError::NotFound`] and [`HwError::Io`]; [`HwError::Malformed`] for what is not such a table, [`HwError::BadField`]
/// for a mean that is no measurement, [`HwError::Duplicate`], [`HwError::EmptyTable`].
pub fn read(path: &Path) -> Result<Imported, HwError> {
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for file in files(path)? {
        read_file(&file, &mut rows, &mut notes)?;
    }
    let manifest = Manifest {
        schema: TABLE_SCHEMA.to_string(),
        batch: Some(1),
        composition: Some("sum".to_string()),
        notes: vec!["imported from tables of the once-for-all layout: latency of fused blocks".to_string()],
        ..Manifest::default()
    };
    Ok(Imported { manifest, table: OpTable::from_rows(path, rows)?.with_notes(notes) })
}

fn files(path: &Path) -> Result<Vec<PathBuf>, HwError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let io = |source| HwError::Io { path: path.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        if file.file_name().is_some_and(|name| name.to_string_lossy().ends_with(FILE_ENDING)) {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(HwError::Malformed {
            path: path.to_path_buf(),
            format: "ofa-yaml",
            problem: format!("the folder has no file *{FILE_ENDING}"),
        });
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path, rows: &mut Vec<Row>, notes: &mut Vec<String>) -> Result<(), HwError> {
    let malformed = |problem: String| HwError::Malformed { path: path.to_path_buf(), format: "ofa-yaml", problem };
    // A mapping of values refuses a key that is there twice; a map of entries would keep the last one.
    let mapping: serde_yaml::Mapping =
        serde_yaml::from_str(&read_text(path, "ofa-yaml")?).map_err(|error| malformed(error.to_string()))?;
    let resolution = resolution_in_name(path).or_else(|| {
        let stem = mapping.keys().filter_map(|key| key.as_str()).find_map(|key| key.strip_prefix("Conv-input:"))?;
        stem.split('x').next()?.parse().ok()
    });
    for (at, (key, value)) in mapping.into_iter().enumerate() {
        let key = key.as_str().ok_or_else(|| malformed(format!("key {key:?} is not text")))?.to_string();
        let entry: Entry = serde_yaml::from_value(value).map_err(|error| malformed(format!("{key}: {error}")))?;
        let op = match op_of(&key) {
            Ok(op) => op,
            Err(reason) => {
                notes.push(format!("{}: {key} was left out: {reason}", path.display()));
                continue;
            }
        };
        let bad = |field: &str, problem: &str| HwError::BadField {
            path: path.to_path_buf(),
            field: format!("{key}: {field}"),
            problem: problem.to_string(),
        };
        if !(entry.mean.is_finite() && entry.mean > 0.0) {
            return Err(bad("mean", &format!("{} is no measurement", entry.mean)));
        }
        if entry.std.is_some_and(|std| !(std.is_finite() && std >= 0.0)) {
            return Err(bad("std", "is negative or not a number"));
        }
        rows.push(Row {
            key: OpKey::new(&op, resolution),
            latency: Some(Measurement {
                value: entry.mean / 1e3,
                std: entry.std.map(|std| std / 1e3),
                count: entry.count,
                rel_unc: None,
                statistic: Some(Statistic::Mean),
            }),
            energy: None,
            energy_method: None,
            energy_scope: None,
            source_key: Some(key),
            place: Place::Row(at as u64 + 1),
        });
    }
    Ok(())
}

fn resolution_in_name(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_suffix(FILE_ENDING)?.parse().ok()
}

/// Nearest multiple of 8, at least 8, never more than 10 % below: how the published networks round widths.
fn make_divisible(width: u32) -> u32 {
    let rounded = ((width + 4) / 8 * 8).max(8);
    if 10 * rounded < 9 * width { rounded + 8 } else { rounded }
}

/// Height (= width) and channels of `HxWxC`; a bare number is a vector.
fn shape(text: &str) -> Result<(u32, u32), String> {
    let numbers: Result<Vec<u32>, _> = text.split('x').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([channels]) if *channels > 0 => Ok((1, *channels)),
        Ok([height, width, channels]) if height == width && *height > 0 && *channels > 0 => Ok((*height, *channels)),
        _ => Err(format!("{text:?} is not the shape of a square map")),
    }
}

/// The operator that a key names, or why it names none.
fn op_of(key: &str) -> Result<Op, String> {
    let mut parts = key.split('-');
    let kind = parts.next().unwrap_or_default();
    let fields: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once(':')).collect();
    let field = |name: &str| {
        let found = fields.iter().find(|(field, _)| *field == name);
        found.map(|(_, value)| *value).ok_or(format!("the key has no {name}"))
    };
    let number = |name: &str| {
        let value = field(name)?;
        value.parse::<u32>().ok().filter(|n| *n <= 1_000_000).ok_or(format!("{name} is {value:?}"))
    };
    let flag = |name: &str| match field(name)? {
        "0" => Ok(false),
        "1" => Ok(true),
        other => Err(format!("{name} is {other:?}")),
    };
    let (in_size, in_channels) = shape(field("input")?)?;
    let (out_size, out_channels) = shape(field("output")?)?;
    if in_size.max(out_size) > 65_535 || in_channels.max(out_channels) > 1_000_000 {
        return Err("its shape is beyond any network".to_string());
    }
    let plain = Op {
        kind: OpKind::Conv,
        in_size,
        in_channels,
        out_size,
        out_channels,
        kernel: 1,
        stride: 1,
        groups: 1,
        mid_channels: 0,
        expand_conv: false,
        se_channels: 0,
        activation: Activation::HSwish,
        residual: false,
        batch_norm: true,
    };
    match kind {
        "Conv" => Ok(Op { kernel: 3, stride: in_size.div_ceil(out_size), ..plain }),
        "Conv_1" => Ok(plain),
        "Conv_2" => Ok(Op { batch_norm: false, ..plain }),
        "AvgPool2D" => Ok(Op { kind: OpKind::AvgPool, activation: Activation::None, batch_norm: false, ..plain }),
        "Logits" => Ok(Op { kind: OpKind::Linear, activation: Activation::None, batch_norm: false, ..plain }),
        "expanded_conv" => {
            let mid_channels = number("expand")?;
            if field("se").is_err() || field("hs").is_err() || mid_channels < in_channels {
                return Err("its expand is a ratio, as in ProxylessNAS tables, not a width".to_string());
            }
            Ok(Op {
                kind: OpKind::MbConv,
                kernel: number("kernel")?,
                stride: number("stride")?,
                mid_channels,
                expand_conv: mid_channels != in_channels,
                se_channels: if flag("se")? { make_divisible(mid_channels / 4) } else { 0 },
                activation: if flag("hs")? { Activation::HSwish } else { Activation::Relu },
                residual: flag("idskip")?,
                ..plain
            })
        }
        other => Err(format!("there is no operator {other:?} in this format")),
    }
}

#[cfg(test)]
#[path = "ofa_yaml_tests.rs"]
mod tests;
