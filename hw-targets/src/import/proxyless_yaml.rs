//! The latency table of ProxylessNAS (Cai et al., ICLR 2019): one YAML file for networks of 224 px on a Pixel 1.
//!
//! The layout is that of the once-for-all tables, but `expand` is a **ratio** here, the spread is a variance (`var`),
//! and the network is MobileNetV2-like: ReLU6, no squeeze-excite, no expand convolution at ratio 1. The classifier's
//! row takes the last map, so average pooling is inside it and has no row of its own.

use std::path::Path;

use crate::error::HwError;
use crate::import::layer_key::{LayerKey, Unmapped};
use crate::import::layer_yaml::Layout;
use crate::import::{Imported, one_file};
use crate::manifest::{Manifest, TABLE_SCHEMA};
use crate::table::{OpTable, Row};
use crate::table_op::{TableKind, TableOp};
use network::op::Activation;
use storage::file::read_text;

/// Ratios beyond this are widths: the published ones are 1, 3 and 6.
const MAX_RATIO: u32 = 16;

/// Reads the file, or the only YAML file of a folder.
///
/// # Errors
/// [`HwError::File`] for what cannot be read and for what is not such a table (a once-for-all table
/// too), [`HwError::BadField`] for a mean that is no measurement, [`HwError::Duplicate`], [`HwError::EmptyTable`].
pub fn read(path: &Path) -> Result<Imported, HwError> {
    let file = one_file(path, "proxyless-yaml", &["yaml", "yml"])?;
    let mut notes = Vec::new();
    let rows = rows_of(&file, &read_text(&file, "proxyless-yaml")?, &mut notes)?;
    if rows.iter().any(|row| row.key.op().kind == TableKind::Linear) {
        notes.push("the classifier's row includes average pooling, which has no row of its own".to_string());
    }
    let manifest = Manifest {
        schema: TABLE_SCHEMA.to_string(),
        batch: Some(1),
        composition: Some("sum".to_string()),
        notes: vec!["imported from a table of the ProxylessNAS layout: latency of fused blocks".to_string()],
        ..Manifest::default()
    };
    Ok(Imported { manifest, table: OpTable::from_rows(&file, rows)?.with_notes(notes) })
}

/// The rows of the file's text.
pub(crate) fn rows_of(path: &Path, text: &str, notes: &mut Vec<String>) -> Result<Vec<Row>, HwError> {
    Layout { format: "proxyless-yaml", op_of }.rows(path, text, |_| None, notes)
}

/// The operator that a key names, or why it names none.
fn op_of(key: &LayerKey) -> Result<TableOp, Unmapped> {
    let plain = TableOp { activation: Activation::Relu6, ..key.plain()? };
    match key.kind {
        "Conv" => Ok(TableOp { kernel: 3, stride: plain.in_size.div_ceil(plain.out_size), ..plain }),
        "Conv_1" => Ok(plain),
        "Logits" => Ok(TableOp {
            kind: TableKind::Linear,
            in_size: 1,
            activation: Activation::None,
            batch_norm: false,
            ..plain
        }),
        "expanded_conv" => {
            let ratio = key.number("expand")?;
            if key.field("se").is_ok() || key.field("hs").is_ok() || ratio > MAX_RATIO {
                let reason = "its expand is a width, as in once-for-all tables, not a ratio: import it as ofa-yaml";
                return Err(Unmapped::OtherFormat(reason.to_string()));
            }
            Ok(TableOp {
                kind: TableKind::MbConv,
                kernel: key.number("kernel")?,
                stride: key.number("stride")?,
                mid_channels: plain.in_channels * ratio,
                expand_conv: ratio > 1,
                residual: key.flag("idskip")?,
                ..plain
            })
        }
        other => Err(format!("there is no operator {other:?} in this format").into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::import::testing::{read_back, refused};
    use crate::testing::shared;

    const BLOCK: &str = "expanded_conv-input:112x112x16-output:56x56x24-expand:6-kernel:5-stride:2-idskip:0";

    #[test]
    fn a_ratio_becomes_a_width_and_a_variance_a_deviation() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.yaml"), format!("{BLOCK}:\n  count: 4\n  mean: 6\n  var: 0.25\n")).unwrap();
        let imported = read(folder.path()).unwrap();
        let row = &imported.table.rows()[0];
        let latency = row.latency.unwrap();
        assert_eq!((row.key.op().mid_channels, row.key.op().expand_conv), (96, true));
        assert_eq!((latency.value, latency.std, latency.count), (6e-3, Some(0.5e-3), Some(4)));
        read_back(&imported);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        let check = |text: &str, words: &[&str]| {
            refused(rows_of(Path::new("t.yaml"), text, &mut Vec::new()).map(|_| ()), words);
        };
        check(&format!("{BLOCK}: {{mean: 0}}"), &[BLOCK, "no measurement"]);
        check(&format!("{BLOCK}: {{mean: 1, var: -1}}"), &["var", "negative"]);
        check(&format!("{BLOCK}: {{mean: 1, mode: 1}}"), &["mode"]);
        check(&format!("{}: {{mean: 1}}", BLOCK.replace("expand:6", "expand:96")), &["width", "ofa-yaml"]);
        check(&format!("{BLOCK}-se:0-hs:0: {{mean: 1}}"), &["ofa-yaml"]);
        check(&format!("{BLOCK}: {{mean: 1}}\n{BLOCK}: {{mean: 1}}"), &["duplicate"]);
    }

    #[test]
    fn the_published_table() {
        let Some(shared) = shared() else { return };
        let folder = shared.join("data/hw/proxylessnas-pixel1");
        let imported = read(&folder).unwrap();
        assert_eq!(imported.table.rows().len(), 72);
        read_back(&imported);
        // The same numbers as in an independent reading of the file.
        let text = fs::read_to_string(folder.join("proxyless_pixel1_lut.csv")).unwrap();
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let header = lines.next().unwrap();
        let at = |name: &str| header.iter().position(|column| *column == name).unwrap();
        for line in lines {
            let key = line[at("op_key")];
            let row = imported.table.rows().iter().find(|row| row.source_key.as_deref() == Some(key)).unwrap();
            assert_eq!(row.latency.unwrap().value, line[at("mean")].parse::<f64>().unwrap() / 1e3, "{key}");
            if let Ok(ratio) = line[at("expand")].parse::<f64>() {
                assert_eq!(f64::from(row.key.op().mid_channels), f64::from(row.key.op().in_channels) * ratio, "{key}");
            }
        }
        // Each format refuses the other's file.
        refused(crate::import::ofa_yaml::read(&folder.join("mobile_trim.yaml")).map(|_| ()), &["proxyless-yaml"]);
        refused(read(&shared.join("data/hw/ofa-note10/160_lookup_table.yaml")).map(|_| ()), &["ofa-yaml"]);
    }
}
