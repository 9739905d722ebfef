//! Parquet files as text cells.

use std::fs::File;
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::FileReader;
use parquet::record::{Field, Row};

use super::Cells;
use crate::file::{FileError, Place};
use crate::guard::guarded;
use crate::parquet_file;

impl Cells {
    /// All rows of a flat Parquet file; `path` is its name, for messages.
    ///
    /// # Errors
    /// [`FileError::Malformed`] for what is no such file, is damaged, or has nested or binary columns.
    pub fn from_parquet(path: &Path, file: File) -> Result<Cells, FileError> {
        let cells = guarded(|| read(file)).unwrap_or_else(|_| Err("its pages contradict each other".to_string()));
        cells.map_err(|problem| FileError::malformed(path, "Parquet", problem))
    }
}

fn read(file: File) -> Result<Cells, String> {
    let said = |error: ParquetError| error.to_string();
    let reader = parquet_file::open(file).map_err(said)?;
    let schema = reader.metadata().file_metadata().schema();
    let columns = schema.get_fields().iter().map(|field| field.name().to_string()).collect();
    let mut rows = Vec::new();
    for (at, row) in reader.get_row_iter(None).map_err(said)?.enumerate() {
        let place = Place::Row(at as u64 + 1);
        let cells = row.map_err(said).and_then(|row| texts(&row));
        rows.push((place, cells.map_err(|problem| format!("{place}: {problem}"))?));
    }
    Ok(Cells { columns, rows })
}

fn texts(row: &Row) -> Result<Vec<String>, String> {
    let text = |field: &Field| match field {
        Field::Null => Ok(String::new()),
        Field::Str(text) => Ok(text.trim().to_string()),
        Field::Bool(yes) => Ok(u8::from(*yes).to_string()),
        Field::Double(value) => Ok(value.to_string()),
        Field::Float(value) => Ok(value.to_string()),
        Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) | Field::Bytes(_) => {
            Err("nested or binary columns are not part of a table".to_string())
        }
        number => Ok(number.to_string()),
    };
    row.get_column_iter().map(|(_, field)| text(field)).collect()
}
