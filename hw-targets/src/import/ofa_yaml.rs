//! Latency tables of the published once-for-all implementation (`once-for-all` §5.1).
//!
//! One file per input size of the network, `{resolution}_lookup_table.yaml` (or `.yml`, `.json`): a mapping from an
//! operator's key to `{count, mean, std}` in milliseconds, or `median` where there is no mean. Keys name absolute shapes; `expand` is the absolute width inside a block. What
//! the keys leave out is the network they were measured in, OFA's MobileNetV3: 3×3 stem, squeeze-excite of a quarter of
//! the inner width, h-swish in stem and head.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::HwError;
use crate::import::Imported;
use crate::import::layer_key::{LayerKey, Unmapped};
use crate::import::layer_yaml::Layout;
use crate::manifest::{Manifest, TABLE_SCHEMA};
use crate::table::{OpTable, Row};
use crate::table_op::{TableKind, TableOp};
use network::op::Activation;
use storage::file::{FileError, read_text};

const FILE_ENDINGS: [&str; 3] = ["_lookup_table.yaml", "_lookup_table.yml", "_lookup_table.json"];

/// Reads a folder of tables, or one table.
///
/// # Errors
/// [`FileError::NotFound`] and [`FileError::Io`]; [`FileError::Malformed`] for what is not such a table,
/// [`HwError::BadField`] for a mean that is no measurement, [`HwError::Duplicate`], [`HwError::EmptyTable`].
pub fn read(path: &Path) -> Result<Imported, HwError> {
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for file in files(path)? {
        rows.extend(rows_of(&file, &read_text(&file, "ofa-yaml")?, &mut notes)?);
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

/// The rows of one file's text.
pub(crate) fn rows_of(path: &Path, text: &str, notes: &mut Vec<String>) -> Result<Vec<Row>, HwError> {
    let in_keys = |keys: &[&str]| {
        let stem = keys.iter().find_map(|key| key.strip_prefix("Conv-input:"))?;
        stem.split('x').next()?.parse().ok()
    };
    let layout = Layout { format: "ofa-yaml", op_of };
    let (named, mut stem) = (resolution_in_name(path), None);
    let resolution = |keys: &[&str]| {
        stem = in_keys(keys);
        named.or(stem)
    };
    let rows = layout.rows(path, text, resolution, notes)?;
    match (named, stem) {
        (Some(named), Some(stem)) if named != stem => {
            let problem = format!("its stem takes an image of {stem} px, and its name says {named}");
            Err(FileError::malformed(path, "ofa-yaml", problem).into())
        }
        _ => Ok(rows),
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, HwError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let io = |source| FileError::io(path, source);
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if FILE_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            files.push(file);
        }
    }
    if files.is_empty() {
        let problem = format!("the folder has no file *{}", FILE_ENDINGS[0]);
        return Err(FileError::malformed(path, "ofa-yaml", problem).into());
    }
    files.sort();
    Ok(files)
}

fn resolution_in_name(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    FILE_ENDINGS.iter().find_map(|ending| name.strip_suffix(ending))?.parse().ok()
}

/// Nearest multiple of 8, at least 8, never more than 10 % below: how the published networks round widths.
fn make_divisible(width: u32) -> u32 {
    let rounded = ((width + 4) / 8 * 8).max(8);
    if 10 * rounded < 9 * width { rounded + 8 } else { rounded }
}

/// The operator that a key names, or why it names none.
fn op_of(key: &LayerKey) -> Result<TableOp, Unmapped> {
    let plain = TableOp { activation: Activation::HSwish, ..key.plain()? };
    let bare = TableOp { activation: Activation::None, batch_norm: false, ..plain };
    match key.kind {
        "Conv" => Ok(TableOp { kernel: 3, stride: plain.in_size.div_ceil(plain.out_size), ..plain }),
        "Conv_1" => Ok(plain),
        "Conv_2" => Ok(TableOp { batch_norm: false, ..plain }),
        "AvgPool2D" => Ok(TableOp { kind: TableKind::AvgPool, ..bare }),
        "Logits" if plain.in_size > 1 => {
            Err(format!("a linear operator takes a vector, not {0}x{0}", plain.in_size).into())
        }
        "Logits" => Ok(TableOp { kind: TableKind::Linear, ..bare }),
        "expanded_conv" => {
            let mid_channels = key.number("expand")?;
            if key.field("se").is_err() || key.field("hs").is_err() || mid_channels < plain.in_channels {
                let reason =
                    "its expand is a ratio, as in ProxylessNAS tables, not a width: import it as proxyless-yaml";
                return Err(Unmapped::OtherFormat(reason.to_string()));
            }
            Ok(TableOp {
                kind: TableKind::MbConv,
                kernel: key.number("kernel")?,
                stride: key.number("stride")?,
                mid_channels,
                expand_conv: mid_channels != plain.in_channels,
                se_channels: if key.flag("se")? { make_divisible(mid_channels / 4) } else { 0 },
                activation: if key.flag("hs")? { Activation::HSwish } else { Activation::Relu },
                residual: key.flag("idskip")?,
                ..plain
            })
        }
        other => Err(format!("there is no operator {other:?} in this format").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_not_taken_for_a_width() {
        let op = |key: &str| op_of(&LayerKey::new(key));
        let refused =
            op("expanded_conv-input:112x112x32-output:112x112x16-expand:1-kernel:3-stride:1-idskip:0").unwrap_err();
        assert!(matches!(&refused, Unmapped::OtherFormat(reason) if reason.contains("ratio")), "{refused:?}");
        let odd = "expanded_conv-input:4x5x6-output:1x1x1-expand:6-kernel:3-stride:1-idskip:0-se:0-hs:0";
        assert!(matches!(op(odd), Err(Unmapped::Unknown(_))));
    }
}
