//! Tables as CSV and Parquet files: read cell by cell, refused with their line, written and read again.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use storage::failure::Failure;

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use hw_targets::error::HwError;
use hw_targets::table::OpTable;
use hw_targets::table_op::TableOp;
use storage::file::Place;

const HEADER: &str = "op_type,in_h,in_w,in_c,out_h,out_w,out_c,kernel,stride,groups,mid_c,se,se_mid_c,activation,residual,latency_ms,latency_ms_std,energy_mJ";
const STEM: &str = "conv,32,32,3,32,32,16,3,1,1,,,,relu6,,0.5,0.01,2";
const BLOCK: &str = "mbconv,32,32,16,16,16,24,5,2,1,48,1,16,hswish,0,1.25,,";

fn read_text_table(text: &str) -> Result<OpTable, HwError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    fs::write(&path, text).unwrap();
    OpTable::read(&path)
}

fn refused(text: &str, words: &str) {
    let error = read_text_table(text).unwrap_err();
    assert_eq!(error.kind().exit_code(), 3, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_table_is_read_cell_by_cell() {
    let table = read_text_table(&format!("# made by hand\n{HEADER}\n{STEM}\n{BLOCK}\nlinear,1,1,16,1,1,10,,,,,,,,,0.1,,\navgpool,8,8,16,1,1,16,8,1,1,,,,,,0.1,,\nidentity,8,8,16,8,8,16,,,,,,,,,0.1,,\n")).unwrap();
    assert_eq!(table.rows().len(), 4);
    let block = &table.rows()[1];
    assert!(block.key.op().expand_conv && block.key.op().se_channels == 16 && !block.key.op().residual);
    assert_eq!((block.latency.unwrap().value, block.energy), (1.25e-3, None));
    assert_eq!(block.place, Place::Line(4));
    assert_eq!(table.rows()[0].latency.unwrap().std, Some(1e-5));
    assert_eq!(table.rows()[3].key.op().kernel, 1);
    assert!(table.notes()[0].contains("identity"));
    // Batch norm is not part of the key.
    let op = TableOp { batch_norm: false, ..*block.key.op() };
    assert!(table.get(&op, 32).is_some());
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let with = |row: &str| format!("{HEADER}\n{STEM}\n{row}\n");
    refused(&with(&BLOCK.replace("1.25", "NaN")), "line 3, column \"latency_ms\": \"NaN\" is not a number");
    refused(&with(&BLOCK.replace("1.25", "-1.25")), "is negative");
    refused(&with(&BLOCK.replace("1.25", "0")), "is no measurement");
    refused(&with(&BLOCK.replace("1.25", "inf")), "not finite");
    refused(&with(&BLOCK.replace("1.25", "fast")), "is not a number");
    refused(&with(&BLOCK.replace("hswish", "swish")), "none relu relu6 hswish");
    refused(&with(&BLOCK.replace("mbconv", "fire")), "op_type");
    refused(&with(&BLOCK.replace(",48,", ",,")), "mid_c");
    refused(&with(&BLOCK.replace("1,16,hswish", "1,,hswish")), "se_mid_c");
    refused(&with(&BLOCK.replace("mbconv,32,32", "mbconv,32,31")), "square");
    refused(&with(&BLOCK.replace("5,2,1,48", "5,2,5,48")), "divide");
    refused(&with(&BLOCK.replace("mbconv,32,32,16", "mbconv,32,32,-16")), "is negative");
    refused(&with(&BLOCK.replace("mbconv,32,32,16", "mbconv,32,32,16.5")), "whole");
    refused(&with(STEM), "line 3: the same operator as in line 2: conv 32x32x3");
    refused(&with("conv,1"), "line 3 has 2 cells where the header has 18");
    refused(&with("").replace("kernel,", "").replace("3,1,1,,,,relu6", "1,1,,,,relu6"), "column \"kernel\" is missing");
    refused("op_type,op_type\nconv,conv\n", "same name");
    refused(&format!("{HEADER}\n"), "no operator");
    refused("", "missing");
    refused("\u{1}garbage", "missing");
    refused("\u{0}\u{1}garbage", "bytes of 0");
}

#[test]
fn a_table_needs_a_value_column() {
    let columns: Vec<&str> = HEADER.split(',').take(15).collect();
    refused(&format!("{}\n", columns.join(",")), "latency_ms or energy_mJ");
}

#[test]
fn written_tables_read_back() {
    let table = read_text_table(&format!("{HEADER}\n{STEM}\n{BLOCK}\n")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("again.csv");
    table.write_csv(&path).unwrap();
    let again = OpTable::read(&path).unwrap();
    for (before, after) in table.rows().iter().zip(again.rows()) {
        assert_eq!(before.key, after.key);
        assert!((before.latency.unwrap().value / after.latency.unwrap().value - 1.0).abs() < 1e-15);
        assert_eq!(before.energy.is_some(), after.energy.is_some());
    }
}

/// A Parquet file with the columns of [`HEADER`] that a stem needs.
fn parquet_table(path: &Path, latencies: &[f64]) {
    let whole = [
        "in_h", "in_w", "in_c", "out_h", "out_w", "out_c", "kernel", "stride", "groups", "mid_c", "se", "se_mid_c",
        "residual",
    ];
    let fields: String = whole.iter().map(|name| format!("REQUIRED INT64 {name}; ")).collect();
    let schema = format!(
        "message table {{ REQUIRED BYTE_ARRAY op_type (UTF8); REQUIRED BYTE_ARRAY activation (UTF8); {fields} REQUIRED DOUBLE latency_ms; OPTIONAL DOUBLE energy_mJ; }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let n = latencies.len();
    let words = |word: &str| vec![ByteArray::from(word.as_bytes().to_vec()); n];
    let mut at = 0;
    while let Some(mut column) = group.next_column().unwrap() {
        match at {
            0 => column.typed::<ByteArrayType>().write_batch(&words("conv"), None, None).unwrap(),
            1 => column.typed::<ByteArrayType>().write_batch(&words("relu"), None, None).unwrap(),
            15 => column.typed::<DoubleType>().write_batch(latencies, None, None).unwrap(),
            16 => column.typed::<DoubleType>().write_batch(&[], Some(&vec![0; n]), None).unwrap(),
            _ => {
                let value = match whole[at - 2] {
                    "mid_c" | "se" | "se_mid_c" | "residual" => 0,
                    "in_h" | "in_w" | "out_h" | "out_w" => 32,
                    "in_c" => 3,
                    "out_c" => 8,
                    _ => 1,
                };
                let rows: Vec<i64> =
                    (0..n as i64).map(|row| value + if whole[at - 2] == "out_c" { row } else { 0 }).collect();
                column.typed::<Int64Type>().write_batch(&rows, None, None).unwrap()
            }
        };
        column.close().unwrap();
        at += 1;
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_is_read_like_csv_and_broken_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.parquet");
    parquet_table(&path, &[0.5, 0.75]);
    let table = OpTable::read(&path).unwrap();
    assert_eq!(table.rows().len(), 2);
    assert_eq!(table.rows()[1].latency.unwrap().value, 0.75e-3);
    assert_eq!(table.rows()[1].energy, None);

    parquet_table(&path, &[0.5, f64::NAN]);
    let error = OpTable::read(&path).unwrap_err();
    assert!(error.to_string().contains("row 2, column \"latency_ms\""), "{error}");

    parquet_table(&path, &[0.5, 0.75]);
    let whole = fs::read(&path).unwrap();
    let broken = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        OpTable::read(&path).map_err(|error| assert_eq!(error.kind().exit_code(), 3, "{error}"))
    };
    for length in (0..whole.len()).step_by(5) {
        assert!(broken(&whole[..length]).is_err(), "{length} bytes of {} were read", whole.len());
    }
    for at in (0..whole.len()).step_by(3) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        let _ = broken(&flipped);
    }
    assert_eq!(OpTable::read(&folder.path().join("none.parquet")).unwrap_err().kind().exit_code(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Damaged tables are read or refused, never worse.
    #[test]
    fn a_damaged_table_is_no_crash(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400) {
        let mut text = format!("{HEADER}\n{STEM}\n{BLOCK}\n").into_bytes();
        let place = at % text.len();
        text[place] = byte;
        text.truncate(text.len() - cut % text.len() / 4);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        fs::write(&path, text).unwrap();
        if let Err(error) = OpTable::read(&path) {
            prop_assert_eq!(error.kind().exit_code(), 3);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens to its bytes, a Parquet file is read or refused.
    #[test]
    fn damaged_parquet_files_are_read_or_refused(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..5),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.parquet");
        parquet_table(&path, &[0.5, 0.75]);
        let mut bytes = fs::read(&path).unwrap();
        for (place, byte, kind) in damage {
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at + 1),
                2 => bytes.insert(at, byte),
                _ => drop(bytes.drain(at.saturating_sub(8)..at)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = OpTable::read(&path) {
            prop_assert_eq!(error.kind().exit_code(), 3, "{}", error);
        }
    }
}
