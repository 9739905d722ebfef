use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::{
    ColumnChunkMetaDataBuilder, FileMetaData, ParquetMetaDataWriter, RowGroupMetaData, RowGroupMetaDataBuilder,
};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Row;
use parquet::schema::parser::parse_message_type;

use super::*;
use crate::failure::{Failure, FailureKind};
use crate::file::FileError;
use crate::table::Cells;

const ROWS: i64 = 40;

/// Two groups of rows: words that repeat, and so have a dictionary, numbers that do not, and some that are absent.
fn written(folder: &Path) -> PathBuf {
    let path = folder.join("table.parquet");
    let schema = "message m { REQUIRED BYTE_ARRAY word (UTF8); REQUIRED INT64 number; OPTIONAL DOUBLE maybe; }";
    write(&path, |file| {
        let schema = Arc::new(parse_message_type(schema)?);
        let properties = WriterProperties::builder().set_column_dictionary_enabled("number".into(), false).build();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
        for first in [0, ROWS / 2] {
            let rows = first..first + ROWS / 2;
            let mut group = writer.next_row_group()?;
            let word = |row: i64| ByteArray::from(if row % 3 == 0 { "three" } else { "other" });
            column::<ByteArrayType, _>(&mut group, rows.clone().map(word))?;
            column::<Int64Type, _>(&mut group, rows.clone())?;
            optional_column(&mut group, rows.map(|row| (row % 2 == 0).then_some(row as f64 / 2.0)))?;
            group.close()?;
        }
        writer.close().map(drop)
    })
    .unwrap();
    path
}

fn rows_of(path: &Path) -> Result<Vec<Row>, ParquetError> {
    let reader = open(File::open(path)?)?;
    ask(|| reader.get_row_iter(None)?.collect())
}

/// Reads `bytes` row by row and as a table: both agree on whether they can be read, and an error is one about content.
fn read(path: &Path, bytes: &[u8]) -> Result<usize, FileError> {
    fs::write(path, bytes).unwrap();
    let rows = rows_of(path);
    let cells = Cells::read(path).map(|cells| cells.rows.len());
    if let Err(error) = &cells {
        assert_eq!(error.kind(), FailureKind::Content, "{error}");
    }
    assert!(rows.is_ok() || cells.is_err(), "{:?} as rows, but {cells:?} as a table", rows.err());
    cells
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let cells = Cells::read(&path).unwrap();
    assert_eq!(cells.columns, ["word", "number", "maybe"]);
    assert_eq!(cells.rows.len(), ROWS as usize);
    assert_eq!(cells.rows[3].1, ["three", "3", ""]);
    assert_eq!(cells.rows[20].1, ["other", "20", "10"]);
}

#[test]
fn a_schema_with_fewer_columns_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let failed = write(&folder.path().join("t.parquet"), |file| {
        let schema = Arc::new(parse_message_type("message m { REQUIRED INT64 number; }")?);
        let mut writer = SerializedFileWriter::new(file, schema, Arc::default())?;
        let mut group = writer.next_row_group()?;
        column::<Int64Type, _>(&mut group, [1])?;
        column::<Int64Type, _>(&mut group, [1])
    });
    assert!(failed.unwrap_err().to_string().contains("fewer columns"));
}

#[test]
fn a_file_cut_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(3) {
        assert!(read(&path, &whole[..length]).is_err(), "{length} bytes of {} were read", whole.len());
    }
}

#[test]
fn flipped_bytes_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let whole = fs::read(&path).unwrap();
    let mut problems = BTreeSet::new();
    for at in (0..whole.len()).step_by(2) {
        let mut flipped = whole.clone();
        flipped[at] ^= [0x01, 0x80, 0xFF][at % 3];
        problems.extend(read(&path, &flipped).err().map(|error| error.to_string()));
    }
    assert!(problems.len() > 10, "{problems:?}");
}

/// The metadata of a good file with one column of its second group, or that group, changed.
fn lying(
    path: &Path,
    column: impl Fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder,
    group: impl Fn(RowGroupMetaDataBuilder) -> RowGroupMetaDataBuilder,
) -> ParquetMetaData {
    let honest = open(File::open(path).unwrap()).unwrap().metadata().clone();
    let mut groups = honest.row_groups().to_vec();
    let mut columns = groups[1].columns().to_vec();
    columns[1] = column(columns[1].clone().into_builder()).build().unwrap();
    groups[1] = group(groups[1].clone().into_builder().set_column_metadata(columns)).build().unwrap();
    ParquetMetaData::new(honest.file_metadata().clone(), groups)
}

/// `metadata` behind the pages of `whole`.
fn with_footer(whole: &[u8], metadata: &ParquetMetaData) -> Vec<u8> {
    let length = whole[whole.len() - 8..][..4].try_into().map(u32::from_le_bytes).unwrap() as usize;
    let mut bytes = whole[..whole.len() - 8 - length].to_vec();
    ParquetMetaDataWriter::new(&mut bytes, metadata).finish().unwrap();
    bytes
}

#[test]
fn counts_and_places_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let whole = fs::read(&path).unwrap();
    let refused = |words: &str, metadata: ParquetMetaData| {
        let error = check_layout(&metadata, whole.len() as u64).unwrap_err();
        assert!(error.to_string().contains(words), "{words:?} is not in: {error}");
        assert!(read(&path, &with_footer(&whole, &metadata)).is_err(), "{words}");
    };
    let column = |change: &dyn Fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder| {
        refused("column \"number\" lies outside the file", lying(&written(folder.path()), change, |group| group));
    };
    for wrong in [-1, i64::MIN] {
        column(&|column| column.set_num_values(wrong));
        column(&|column| column.set_data_page_offset(wrong));
        column(&|column| column.set_dictionary_page_offset(Some(wrong)));
        column(&|column| column.set_total_compressed_size(wrong));
        column(&|column| column.set_total_uncompressed_size(wrong));
        let group = lying(&written(folder.path()), |column| column, |group| group.set_num_rows(wrong));
        refused("a row count is negative", group);
    }
    for far in [whole.len() as i64, i64::MAX] {
        column(&|column| column.set_data_page_offset(far));
        column(&|column| column.set_dictionary_page_offset(Some(far)));
        column(&|column| column.set_total_compressed_size(far));
    }
}

#[test]
fn row_groups_that_do_not_add_up_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let honest = open(File::open(written(folder.path())).unwrap()).unwrap().metadata().clone();
    let announce = |rows: i64, groups: Vec<RowGroupMetaData>| {
        let file = honest.file_metadata();
        let schema = file.schema_descr_ptr();
        let file = FileMetaData::new(file.version(), rows, None, None, schema, None);
        check_layout(&ParquetMetaData::new(file, groups), u64::MAX).map_err(|error| error.to_string())
    };
    let groups = honest.row_groups();
    announce(ROWS, groups.to_vec()).unwrap();
    for rows in [-1, 0, ROWS - 1, ROWS + 1, i64::MAX] {
        assert!(announce(rows, groups.to_vec()).unwrap_err().contains("do not add up"), "{rows}");
    }
    assert!(announce(ROWS, groups[..1].to_vec()).unwrap_err().contains("do not add up"));
    let most = groups[0].clone().into_builder().set_num_rows(i64::MAX).build().unwrap();
    assert!(announce(ROWS, vec![most, groups[1].clone()]).unwrap_err().contains("a row count"));
}

#[test]
fn lies_that_only_the_pages_tell_are_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let whole = fs::read(&path).unwrap();
    let mut readable = 0;
    for value in [0, 1, 7, 19, 21, 4096, whole.len() as i64 / 2, i64::from(i32::MAX), 1 << 40] {
        let changes: [&dyn Fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder; 5] = [
            &|column| column.set_num_values(value),
            &|column| column.set_data_page_offset(value),
            &|column| column.set_dictionary_page_offset(Some(value)),
            &|column| column.set_total_compressed_size(value),
            &|column| column.set_total_uncompressed_size(value),
        ];
        let good = written(folder.path());
        let mut lies: Vec<_> = changes.map(|change| lying(&good, change, |group| group)).into();
        lies.push(lying(&good, |column| column, |group| group.set_num_rows(value)));
        for metadata in lies {
            readable += usize::from(read(&path, &with_footer(&whole, &metadata)).is_ok());
        }
    }
    assert!(readable > 0, "sizes that nobody reads may be wrong");
}
