//! The runtime model of Single-Path NAS (Stamoulis et al., ECML-PKDD 2019, arXiv:1904.02877) on a Pixel 1.
//!
//! A JSON object: layer 0…21 → option 0…3 → milliseconds, means only. The file has no shapes; they are those of the
//! paper's search space (its Fig. 2 and Table 1: MobileNetV2-like at 224 px, 16-24-40-80-96-192-320 channels). Options
//! are k3e3, k3e6, k5e3, k5e6. The first and the last block are not searched (k3e1, k3e6), so their four entries are
//! measurements of one operator. Stem, head and classifier are not in the file.

use std::path::Path;

use crate::error::HwError;
use crate::import::json_entries::Entries;
use crate::import::repeats::merged;
use crate::import::{Imported, one_file};
use crate::manifest::{Manifest, TABLE_SCHEMA};
use crate::table::{Measurement, OpKey, OpTable, Row};
use crate::table_op::{TableKind, TableOp};
use network::op::Activation;
use storage::file::{FileError, Place, read_text};

/// Blocks, stride of the first one, and output width of each stage.
const STAGES: [(usize, u32, u32); 7] =
    [(1, 1, 16), (4, 2, 24), (4, 2, 40), (4, 2, 80), (4, 1, 96), (4, 2, 192), (1, 1, 320)];
/// What the blocks begin with: 224 px after a stem of stride 2, 32 channels.
const FIRST: (u32, u32) = (112, 32);
/// Kernel size and expand ratio of options 0…3.
const OPTIONS: [(u32, u32); 4] = [(3, 3), (3, 6), (5, 3), (5, 6)];

/// Reads the file, or the only JSON file of a folder.
///
/// # Errors
/// [`FileError::NotFound`], [`FileError::Io`]; [`FileError::Malformed`] if layers or options are missing or too many,
/// [`HwError::BadField`] for a number that is no measurement.
pub fn read(path: &Path) -> Result<Imported, HwError> {
    let file = one_file(path, "single-path-nas", &["json"])?;
    parse(&file, &read_text(&file, "single-path-nas")?)
}

/// Reads the text of such a file.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Imported, HwError> {
    let malformed = |problem: String| HwError::from(FileError::malformed(path, "single-path-nas", problem));
    let layers: Entries<Entries<f64>> = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let blocks = blocks();
    if let Some((odd, _)) = layers.0.iter().find(|(key, _)| number_below(key, blocks.len()).is_none()) {
        return Err(malformed(format!("layer {odd:?} is not one of 0 to {}", blocks.len() - 1)));
    }
    let mut rows = Vec::new();
    for (layer, block) in blocks.iter().enumerate() {
        let options = layers.get(&layer.to_string()).ok_or_else(|| malformed(format!("layer {layer} is missing")))?;
        if let Some((odd, _)) = options.0.iter().find(|(key, _)| number_below(key, OPTIONS.len()).is_none()) {
            return Err(malformed(format!("layer {layer}: option {odd:?} is not one of 0 to 3")));
        }
        for (option, searched) in OPTIONS.iter().enumerate() {
            let missing = || malformed(format!("layer {layer}: option {option} is missing"));
            let milliseconds = *options.get(&option.to_string()).ok_or_else(missing)?;
            if !(milliseconds.is_finite() && milliseconds > 0.0) {
                return Err(HwError::BadField {
                    path: path.to_path_buf(),
                    field: format!("layer {layer}, option {option}"),
                    problem: format!("{milliseconds} is no measurement"),
                });
            }
            rows.push(Row {
                key: OpKey::new(&block.op(block.fixed.unwrap_or(*searched)), None),
                latency: Some(Measurement::of(milliseconds / 1e3)),
                energy: None,
                energy_method: None,
                energy_scope: None,
                source_key: Some(format!("layer {layer} option {option}")),
                place: Place::Row((layer * OPTIONS.len() + option) as u64 + 1),
            });
        }
    }
    let mut notes = vec![
        "the first and the last block are not searched: their four entries are one operator each".to_string(),
        "stem, head, pooling and classifier are not in the file".to_string(),
    ];
    let rows = merged(rows, &mut notes);
    let manifest = Manifest {
        schema: TABLE_SCHEMA.to_string(),
        batch: Some(1),
        composition: Some("sum".to_string()),
        notes: vec!["imported from a Single-Path NAS runtime model: latency of fused blocks, means only".to_string()],
        ..Manifest::default()
    };
    Ok(Imported { manifest, table: OpTable::from_rows(path, rows)?.with_notes(notes) })
}

fn number_below(key: &str, end: usize) -> Option<usize> {
    key.parse().ok().filter(|number: &usize| *number < end && number.to_string() == key)
}

/// One block of the search space.
struct Block {
    in_size: u32,
    in_channels: u32,
    stride: u32,
    width: u32,
    /// Kernel size and expand ratio, where they are not searched.
    fixed: Option<(u32, u32)>,
}

impl Block {
    fn op(&self, (kernel, ratio): (u32, u32)) -> TableOp {
        TableOp {
            kind: TableKind::MbConv,
            in_size: self.in_size,
            in_channels: self.in_channels,
            out_size: self.in_size / self.stride,
            out_channels: self.width,
            kernel,
            stride: self.stride,
            groups: 1,
            mid_channels: self.in_channels * ratio,
            expand_conv: ratio > 1,
            se_channels: 0,
            activation: Activation::Relu,
            residual: self.stride == 1 && self.in_channels == self.width,
            batch_norm: true,
        }
    }
}

fn blocks() -> Vec<Block> {
    let (mut size, mut channels) = FIRST;
    let mut blocks = Vec::new();
    for (stage, (depth, stride, width)) in STAGES.into_iter().enumerate() {
        for at in 0..depth {
            let stride = if at == 0 { stride } else { 1 };
            let fixed = match stage {
                0 => Some((3, 1)),
                6 => Some((3, 6)),
                _ => None,
            };
            blocks.push(Block { in_size: size, in_channels: channels, stride, width, fixed });
            (size, channels) = (size / stride, width);
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::testing::{read_back, refused};
    use crate::testing::shared;

    fn made_up() -> String {
        let layer = |layer: usize| format!("\"{layer}\": {{\"0\": 1.5, \"1\": 3, \"2\": 2, \"3\": 4.25}}");
        let layers: Vec<String> = (0..22).map(layer).collect();
        format!("{{{}}}", layers.join(", "))
    }

    #[test]
    fn shapes_come_from_the_search_space() {
        let imported = parse(Path::new("t.json"), &made_up()).unwrap();
        // Two fixed blocks; five stages with a first and three equal others, four options each.
        assert_eq!(imported.table.rows().len(), 2 + 5 * 2 * 4);
        let last = imported.table.rows().last().unwrap();
        assert_eq!((last.key.op().in_size, last.key.op().mid_channels, last.key.op().out_channels), (7, 1152, 320));
        assert!((last.latency.unwrap().value - (1.5 + 3.0 + 2.0 + 4.25) / 4.0 / 1e3).abs() < 1e-15);
        assert_eq!(imported.table.notes().len(), 3);
        read_back(&imported);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        let check = |text: &str, words: &[&str]| refused(parse(Path::new("t.json"), text).map(|_| ()), words);
        check(&made_up().replace("\"21\"", "\"22\""), &["layer \"22\""]);
        check(&made_up().replace(", \"21\"", ", \"20\""), &["twice"]);
        check(&made_up().replacen("\"3\": 4.25", "\"4\": 4.25", 1), &["layer 0", "option \"4\""]);
        check(&made_up().replacen("4.25", "0", 1), &["layer 0, option 3", "no measurement"]);
        check("{\"0\": {}}", &["layer 0", "option 0"]);
        check("[]", &["single-path-nas"]);
    }

    #[test]
    fn the_published_table() {
        let Some(shared) = shared() else { return };
        let folder = shared.join("data/hw/single-path-nas-pixel1");
        let imported = read(&folder).unwrap();
        assert_eq!(imported.table.rows().len(), 42);
        read_back(&imported);
        let published: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join("pixel1_runtime_model.json")).unwrap()).unwrap();
        // Layer 13 (14 px, 80 to 96 channels) stands alone in its shape.
        let of = |option: &str| published["13"][option].as_f64().unwrap() / 1e3;
        let alone: Vec<f64> = imported
            .table
            .rows()
            .iter()
            .filter(|row| (row.key.op().in_channels, row.key.op().out_channels) == (80, 96))
            .map(|row| row.latency.unwrap().value)
            .collect();
        assert_eq!(alone, ["0", "1", "2", "3"].map(of));
    }
}
