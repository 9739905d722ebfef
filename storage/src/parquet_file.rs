//! Parquet files, opened with care and written column by column.
//!
//! The `parquet` crate believes a file's footer, and answers one that contradicts the pages with a panic rather than an
//! error: what can be checked first is, by [`open`], and the rest is caught, by [`ask`].

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use parquet::data_type::{DataType, DoubleType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::reader::{FileReader, Length, SerializedFileReader};
use parquet::file::writer::SerializedRowGroupWriter;

use crate::atomic::write_atomically;
use crate::guard::guarded;

/// Opens a Parquet file whose columns lie inside it and whose counts add up.
///
/// # Errors
/// What the reader says of a file that is none, and of one whose footer cannot be true.
pub fn open(file: File) -> Result<SerializedFileReader<File>, ParquetError> {
    let length = file.len();
    let reader = ask(|| SerializedFileReader::new(file))?;
    check_layout(reader.metadata(), length)?;
    Ok(reader)
}

/// Asks a reader; its panic on malformed content is an error like others, and nothing is printed.
///
/// # Errors
/// What the reader says, or its panic said.
pub fn ask<T>(question: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    guarded(question).unwrap_or_else(|panic| Err(ParquetError::General(panic)))
}

/// Whether every column chunk lies inside a file of `length` bytes and no count is negative.
fn check_layout(metadata: &ParquetMetaData, length: u64) -> Result<(), ParquetError> {
    let wrong = |problem: String| Err(ParquetError::General(problem));
    let mut rows: i64 = 0;
    for group in metadata.row_groups() {
        match rows.checked_add(group.num_rows()) {
            Some(sum) if group.num_rows() >= 0 => rows = sum,
            _ => return wrong("a row count is negative".to_owned()),
        }
        if let Some(column) = group.columns().iter().find(|column| !lies_inside(column, length)) {
            return wrong(format!("column {} lies outside the file", column.column_path()));
        }
    }
    if rows != metadata.file_metadata().num_rows() {
        return wrong("its row groups do not add up to its rows".to_owned());
    }
    Ok(())
}

fn lies_inside(column: &ColumnChunkMetaData, length: u64) -> bool {
    let (data, dictionary) = (column.data_page_offset(), column.dictionary_page_offset());
    let sizes =
        [data, dictionary.unwrap_or(0), column.compressed_size(), column.uncompressed_size(), column.num_values()];
    // The reader begins at the dictionary where the footer names one. Some writers say 0 where there is none.
    let starts = [dictionary.unwrap_or(data), dictionary.filter(|at| *at > 0).map_or(data, |at| at.min(data))];
    let ends = starts.map(|start| start.checked_add(column.compressed_size()));
    sizes.iter().all(|size| *size >= 0) && ends.iter().all(|end| end.is_some_and(|end| end.cast_unsigned() <= length))
}

/// Writes `path` whole or not at all, through a writer of Parquet.
///
/// # Errors
/// What the operating system said, the path named in the message: a full disk should be named as one.
pub fn write(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<(), ParquetError>) -> io::Result<()> {
    write_atomically(path, |file| write(file).map_err(as_io))
}

fn as_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    }
}

/// Writes the next column of a row group, which may not be null.
///
/// # Errors
/// What the writer says; a column that the schema does not have.
pub fn column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: impl IntoIterator<Item = T::T>,
) -> Result<(), ParquetError> {
    let values: Vec<T::T> = values.into_iter().collect();
    next_column::<T, W>(group, &values, None)
}

/// Writes the next column of a row group, in which `None` is a null.
///
/// # Errors
/// As [`column`].
pub fn optional_column<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: impl IntoIterator<Item = Option<f64>>,
) -> Result<(), ParquetError> {
    let values: Vec<Option<f64>> = values.into_iter().collect();
    let present: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<f64> = values.into_iter().flatten().collect();
    next_column::<DoubleType, W>(group, &values, Some(&present))
}

fn next_column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    present: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let Some(mut writer) = group.next_column()? else {
        return Err(ParquetError::General("the schema has fewer columns than the rows".to_owned()));
    };
    writer.typed::<T>().write_batch(values, present, None)?;
    writer.close()
}

#[cfg(test)]
#[path = "parquet_file_tests.rs"]
mod tests;
