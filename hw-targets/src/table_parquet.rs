//! Parquet files as text cells, so that both kinds of table are checked by the same rules.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use crate::cells::Cells;
use crate::error::{HwError, Place};

/// All rows of a flat Parquet file.
pub(crate) fn parquet_cells(path: &Path, file: File) -> Result<Cells, HwError> {
    let malformed = |problem: String| HwError::Malformed { path: path.to_path_buf(), format: "Parquet", problem };
    let length = file.metadata().map_err(|source| HwError::Io { path: path.to_path_buf(), source })?.len();
    // The reader asserts where a damaged file breaks its rules: what can be checked first is, and the rest is caught.
    std::panic::catch_unwind(AssertUnwindSafe(|| {
        let reader = SerializedFileReader::new(file).map_err(|error| malformed(error.to_string()))?;
        check_layout(reader.metadata(), length).map_err(|problem| malformed(problem.to_string()))?;
        let schema = reader.metadata().file_metadata().schema();
        let columns = schema.get_fields().iter().map(|field| field.name().to_string()).collect();
        let mut rows = Vec::new();
        for (at, row) in reader.get_row_iter(None).map_err(|error| malformed(error.to_string()))?.enumerate() {
            let place = Place::Row(at as u64 + 1);
            let row = row.map_err(|error| malformed(format!("{place}: {error}")))?;
            let cells = row.get_column_iter().map(|(_, field)| match field {
                Field::Null => Ok(String::new()),
                Field::Str(text) => Ok(text.trim().to_string()),
                Field::Bool(yes) => Ok(u8::from(*yes).to_string()),
                Field::Double(value) => Ok(value.to_string()),
                Field::Float(value) => Ok(value.to_string()),
                Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) | Field::Bytes(_) => {
                    Err(malformed(format!("{place}: nested or binary columns are not part of a table")))
                }
                number => Ok(number.to_string()),
            });
            rows.push((place, cells.collect::<Result<Vec<String>, HwError>>()?));
        }
        Ok(Cells { columns, rows })
    }))
    .unwrap_or_else(|_| Err(malformed("its pages contradict each other".to_string())))
}

/// Whether every column chunk lies inside a file of `length` bytes and no count is negative.
fn check_layout(metadata: &ParquetMetaData, length: u64) -> Result<(), &'static str> {
    let mut rows: i64 = 0;
    for group in metadata.row_groups() {
        rows = rows.checked_add(group.num_rows()).filter(|_| group.num_rows() >= 0).ok_or("a row count is negative")?;
        for column in group.columns() {
            let dictionary = column.dictionary_page_offset().unwrap_or(0);
            let offset =
                if dictionary > 0 { dictionary.min(column.data_page_offset()) } else { column.data_page_offset() };
            let end = offset.checked_add(column.compressed_size());
            let sizes = [offset, dictionary, column.compressed_size(), column.uncompressed_size(), column.num_values()];
            if sizes.iter().any(|size| *size < 0) || end.is_none_or(|end| end as u64 > length) {
                return Err("a column lies outside the file");
            }
        }
    }
    if rows != metadata.file_metadata().num_rows() {
        return Err("its row groups do not add up to its rows");
    }
    Ok(())
}
