//! NetAdapt's tables (Yang et al., ECCV 2018) as JSON: every width of every layer of one network.
//!
//! An object: layer → its full-width shape (`layer_type_str`, `input_feature_map_size`, `kernel_size`, `stride`,
//! `padding`, `groups`, …) and `latency` or `energy`, a list of `[channels in, channels out, value]`. Values are
//! seconds or joules per forward pass; of how many images, the files do not say. Layers are bare: no batch norm or
//! activation inside. Files of a folder are read together, so that latencies and energies of one device meet.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::HwError;
use crate::import::json_entries::Entries;
use crate::import::repeats::merged;
use crate::import::{Imported, files_in};
use crate::manifest::{LAYERS, Manifest, TABLE_SCHEMA};
use crate::table::{Measurement, OpKey, OpTable, Row};
use crate::table_op::{TableKind, TableOp};
use storage::file::{FileError, Place, read_text};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    is_depthwise: bool,
    num_in_channels: u32,
    num_out_channels: u32,
    kernel_size: [u32; 2],
    stride: [u32; 2],
    padding: [u32; 2],
    groups: u32,
    layer_type_str: String,
    input_feature_map_size: Vec<u32>,
    latency: Option<Vec<(u32, u32, f64)>>,
    energy: Option<Vec<(u32, u32, f64)>>,
}

/// Reads a file, or all JSON files of a folder as one table.
///
/// # Errors
/// [`FileError::NotFound`] and [`FileError::Io`]; [`FileError::Malformed`] for what is not such a table,
/// [`HwError::BadField`] for a value that is no measurement or a shape that cannot be, [`HwError::EmptyTable`].
pub fn read(path: &Path) -> Result<Imported, HwError> {
    let files: Vec<PathBuf> =
        if path.is_dir() { files_in(path, "netadapt", &["json"])? } else { vec![path.to_path_buf()] };
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for file in files {
        rows.extend(rows_of(&file, &read_text(&file, "netadapt")?, &mut notes)?);
    }
    // Latency and energy of one operator stand in different files, and two networks may share an operator.
    let rows = merged(rows, &mut notes);
    notes.push("values are per forward pass of a batch whose size the files do not say: set `batch`".to_string());
    let manifest = Manifest {
        schema: TABLE_SCHEMA.to_string(),
        composition: Some(LAYERS.to_string()),
        notes: vec!["imported from NetAdapt tables: bare layers, without batch norm and activation".to_string()],
        ..Manifest::default()
    };
    Ok(Imported { manifest, table: OpTable::from_rows(path, rows)?.with_notes(notes) })
}

/// The rows of one file's text, in its order: an operator as often as layers have it.
pub(crate) fn rows_of(path: &Path, text: &str, notes: &mut Vec<String>) -> Result<Vec<Row>, HwError> {
    let malformed = |problem: String| HwError::from(FileError::malformed(path, "netadapt", problem));
    if text.trim_start().starts_with('[') {
        let problem = "it is a list of layers without shapes, which operators cannot be made of";
        return Err(malformed(problem.to_string()));
    }
    let layers: Entries<Layer> = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let mut rows = Vec::new();
    for (at, (name, layer)) in layers.0.iter().enumerate() {
        let bad = |field: String, problem: String| HwError::BadField {
            path: path.to_path_buf(),
            field: format!("{name}: {field}"),
            problem,
        };
        if layer.latency.is_none() && layer.energy.is_none() {
            return Err(bad("latency".to_string(), "is missing, and so is energy".to_string()));
        }
        let kind = match layer.layer_type_str.as_str() {
            "Conv2d" => TableKind::Conv,
            "Linear" => TableKind::Linear,
            other => {
                notes.push(format!("{}: {name} was left out: a layer of type {other}", path.display()));
                continue;
            }
        };
        let shape = Shape::of(layer, kind).map_err(|problem| bad("shape".to_string(), problem))?;
        for (field, values) in [("latency", &layer.latency), ("energy", &layer.energy)] {
            for (input, output, value) in values.iter().flatten() {
                let what = || format!("{field} of [{input}, {output}]");
                if !(value.is_finite() && *value > 0.0) {
                    return Err(bad(what(), format!("{value} is no measurement")));
                }
                let op = shape.op(layer, kind, *input, *output).map_err(|problem| bad(what(), problem))?;
                let measured = Some(Measurement::of(*value));
                let (latency, energy) = if field == "latency" { (measured, None) } else { (None, measured) };
                rows.push(Row {
                    key: OpKey::new(&op, None),
                    latency,
                    energy,
                    energy_method: None,
                    energy_scope: None,
                    source_key: Some(name.clone()),
                    place: Place::Row(at as u64 + 1),
                });
            }
        }
    }
    Ok(rows)
}

struct Shape {
    in_size: u32,
    out_size: u32,
    kernel: u32,
    stride: u32,
}

impl Shape {
    fn of(layer: &Layer, kind: TableKind) -> Result<Self, String> {
        let size = match (kind, layer.input_feature_map_size.as_slice()) {
            (TableKind::Linear, [_, _] | [_, _, 1, 1]) => 1,
            (TableKind::Conv, [_, channels, height, width])
                if height == width && *channels == layer.num_in_channels =>
            {
                *height
            }
            (_, other) => return Err(format!("{other:?} is not the shape of a square map of the layer's channels")),
        };
        let square = |name: &str, pair: [u32; 2], least| match pair {
            [a, b] if a == b && (least..=255).contains(&a) => Ok(a),
            other => Err(format!("{name} {other:?} is not square or not from {least} to 255")),
        };
        let kernel = square("kernel_size", layer.kernel_size, 1)?;
        let stride = square("stride", layer.stride, 1)?;
        let padding = square("padding", layer.padding, 0)?;
        if !(1..=65_535).contains(&size) || kernel > size + 2 * padding {
            return Err(format!("a map of {size} px and a kernel of {kernel} do not fit"));
        }
        if layer.groups == 0 || layer.num_out_channels == 0 {
            return Err("it has no groups or no channels".to_string());
        }
        Ok(Self { in_size: size, out_size: (size + 2 * padding - kernel) / stride + 1, kernel, stride })
    }

    fn op(&self, layer: &Layer, kind: TableKind, input: u32, output: u32) -> Result<TableOp, String> {
        if !(1..=1_000_000).contains(&input) || !(1..=1_000_000).contains(&output) {
            return Err("channels are not from 1 to 1000000".to_string());
        }
        let groups = if layer.is_depthwise { input } else { layer.groups };
        if !input.is_multiple_of(groups) || !output.is_multiple_of(groups) {
            return Err(format!("{groups} groups do not divide the channels"));
        }
        Ok(TableOp {
            kernel: self.kernel,
            stride: self.stride,
            groups,
            batch_norm: true,
            ..TableOp::plain(kind, self.in_size, input, self.out_size, output)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::import::testing::{read_back, refused};
    use crate::testing::shared;
    use network::units::Measured;

    const LAYER: &str = r#"{"is_depthwise":false,"num_in_channels":3,"num_out_channels":16,"kernel_size":[3,3],
        "stride":[2,2],"padding":[1,1],"groups":1,"layer_type_str":"Conv2d","input_feature_map_size":[1,3,32,32],
        "latency":[[3,16,0.004],[3,8,0.003]]}"#;

    fn rows(text: &str) -> Result<Vec<Row>, HwError> {
        rows_of(Path::new("t.json"), text, &mut Vec::new())
    }

    #[test]
    fn widths_of_a_layer_become_operators() {
        let depthwise = LAYER
            .replace("false", "true")
            .replace("\"groups\":1", "\"groups\":16")
            .replace("\"num_in_channels\":3", "\"num_in_channels\":16")
            .replace("[1,3,32,32]", "[1,16,16,16]")
            .replace("[[3,16,0.004],[3,8,0.003]]", "[[8,8,0.001]]");
        let read = rows(&format!("{{\"a\":{LAYER},\"b\":{depthwise},\"c\":{depthwise}}}")).unwrap();
        let read = merged(read, &mut Vec::new());
        assert_eq!(read.len(), 3, "equal layers are one operator");
        let op = read[1].key.op();
        assert_eq!((op.in_size, op.out_size, op.out_channels, op.kernel, op.stride), (32, 16, 8, 3, 2));
        assert_eq!(read[0].latency.unwrap().value, 0.004);
        assert_eq!((read[2].key.op().groups, read[2].latency.unwrap().count), (8, None));
    }

    #[test]
    fn latencies_and_energies_of_a_folder_meet() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("latency.json"), format!("{{\"a\":{LAYER}}}")).unwrap();
        let energy = LAYER.replace("latency", "energy").replace("0.004", "0.5");
        fs::write(folder.path().join("energy.json"), format!("{{\"a\":{energy}}}")).unwrap();
        let imported = read(folder.path()).unwrap();
        assert_eq!(imported.table.rows().len(), 2);
        let row = &imported.table.rows()[0];
        assert_eq!((row.latency.unwrap().value, row.energy.unwrap().value), (0.004, 0.5));
        read_back(&imported);
        let other = energy.replace("0.5", "0.7");
        fs::write(folder.path().join("other.json"), format!("{{\"a\":{other}}}")).unwrap();
        let energy = read(folder.path()).unwrap().table.rows()[0].energy.unwrap();
        assert!((energy.value - 0.6).abs() < 1e-12 && energy.count == Some(2), "two networks share an operator");
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        let check = |from: &str, to: &str, words: &[&str]| {
            refused(rows(&format!("{{\"a\":{}}}", LAYER.replace(from, to))).map(|_| ()), words);
        };
        check("0.004", "0", &["a: latency of [3, 16]", "no measurement"]);
        check("0.004", "-1", &["no measurement"]);
        check("[3,8,", "[0,8,", &["channels"]);
        check("[1,3,32,32]", "[1,3,32,31]", &["square"]);
        check("[1,3,32,32]", "[1,3,1,1]},\"b\":{}", &["missing field"]);
        check("\"kernel_size\":[3,3]", "\"kernel_size\":[99,99]", &["do not fit"]);
        check("\"groups\":1", "\"groups\":2", &["do not divide"]);
        check("latency", "time", &["unknown field", "time"]);
        refused(rows("[[{\"in\": 3, \"out\": 16, \"value\": 1}]]").map(|_| ()), &["without shapes"]);
    }

    #[test]
    fn the_published_tables() {
        let Some(shared) = shared() else { return };
        let folder = shared.join("data/systems/netadapt");
        refused(read(&folder.join("helloworld_lut.json")).map(|_| ()), &["without shapes"]);
        let imported = read(&folder.join("v100_luts")).unwrap();
        assert!(imported.table.has(Measured::Energy) && imported.table.has(Measured::Latency));
        read_back(&imported);
        let golden: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.join("golden_values.json")).unwrap()).unwrap();
        // The published sums of full-width layers, out of the imported rows of those shapes.
        for (network, quantity) in ["alexnet", "mobilenet"]
            .into_iter()
            .flat_map(|network| [Measured::Energy, Measured::Latency].map(|quantity| (network, quantity)))
        {
            let file = folder.join(format!("v100_luts/{quantity}_{network}.json"));
            let text = fs::read_to_string(&file).unwrap();
            let rows = rows_of(&file, &text, &mut Vec::new()).unwrap();
            let layers: Entries<Layer> = serde_json::from_str(&text).unwrap();
            let values = layers.0.iter().map(|(name, layer)| {
                let kind = if layer.layer_type_str == "Linear" { TableKind::Linear } else { TableKind::Conv };
                let shape = Shape::of(layer, kind).unwrap();
                let op = shape.op(layer, kind, layer.num_in_channels, layer.num_out_channels).unwrap();
                let of_layer = |row: &&Row| row.source_key.as_ref() == Some(name) && *row.key.op() == op;
                rows.iter().find(of_layer).unwrap().measurement(quantity).unwrap().value
            });
            let key = format!("{network}_{}", if quantity == Measured::Energy { "energy_J" } else { "latency_s" });
            let published = golden["v100_energy_runs"]["lut_sum"][&key].as_f64().unwrap();
            assert!((values.sum::<f64>() / published - 1.0).abs() < 1e-9, "{key}");
        }
    }
}
