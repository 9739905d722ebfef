//! Parquet files with one encoded image and one label per row, in the layout image hubs use.
//!
//! `image: struct<bytes: binary, path: string>` or a plain binary column, named `image` or `img`; `label: int64` or
//! `int32`. Class names come from the schema metadata that Hugging Face `datasets` writes, where a file has them.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;
use storage::parquet_file::{self, ask};

use super::classes;
use super::decode::Collector;
use super::error::{DataError, Place};

/// Rows decoded at a time: enough to keep all threads busy, little enough to hold twice.
const ROWS_AT_ONCE: usize = 1024;

/// Appends all rows of the files of one part; gives its class names, where the files have them. Files that list them in
/// another order than the first are mapped to its order.
pub(super) fn read_all(
    files: &[PathBuf],
    images: &mut Collector,
    labels: &mut Vec<i64>,
) -> Result<Option<Vec<String>>, DataError> {
    let mut names: Option<Vec<String>> = None;
    for file in files {
        let before = labels.len();
        match (&names, read(file, images, labels)?) {
            (Some(names), Some(own)) => classes::map(file, &mut labels[before..], &own, names)?,
            (None, own) => names = own,
            (Some(_), None) => {}
        }
    }
    Ok(names)
}

/// Appends all rows of a file; gives its class names, where it has them.
fn read(path: &Path, images: &mut Collector, labels: &mut Vec<i64>) -> Result<Option<Vec<String>>, DataError> {
    let whole = |error: ParquetError| DataError::content(path, format!("not a whole Parquet file: {error}"));
    let file = File::open(path).map_err(|source| DataError::read(path, source))?;
    let reader = parquet_file::open(file).map_err(whole)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let columns = Columns::find(schema, path)?;
    let rows = usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0);
    let mut row = 0;
    for group in 0..reader.num_row_groups() {
        let group = ask(|| reader.get_row_group(group)).map_err(whole)?;
        read_group(group.as_ref(), &columns, path, &mut row, images, labels, rows)?;
    }
    if row != rows {
        return Err(DataError::content(path, format!("{rows} rows announced, {row} found")));
    }
    Ok(class_names(&reader, &columns.label_name))
}

/// Where the image and its label are among the file's leaf columns.
struct Columns {
    image: usize,
    label: usize,
    label_name: String,
}

impl Columns {
    fn find(schema: &SchemaDescriptor, path: &Path) -> Result<Columns, DataError> {
        let leaf = |names: &[&str], kinds: &[PhysicalType], what: &str| {
            let found = schema.columns().iter().position(|column| names.contains(&column.path().string().as_str()));
            let there = || schema.columns().iter().map(|column| column.path().string()).collect::<Vec<_>>().join(", ");
            let index = found
                .ok_or_else(|| DataError::content(path, format!("no column {what}; the columns are {}", there())))?;
            let column = schema.column(index);
            if !kinds.contains(&column.physical_type()) || column.max_rep_level() > 0 {
                let what = format!("column `{}` is {}, not {what}", column.path().string(), column.physical_type());
                return Err(DataError::content(path, what));
            }
            Ok(index)
        };
        let image = leaf(
            &["image.bytes", "img.bytes", "image", "img"],
            &[PhysicalType::BYTE_ARRAY],
            "`image` (struct with binary `bytes`, or binary)",
        )?;
        let label = leaf(&["label", "labels"], &[PhysicalType::INT64, PhysicalType::INT32], "`label` (int64)")?;
        Ok(Columns { image, label, label_name: schema.column(label).path().string() })
    }
}

/// Appends one row group; `row` counts the file's rows and `total` is how many it announces.
fn read_group(
    group: &dyn RowGroupReader,
    columns: &Columns,
    path: &Path,
    row: &mut usize,
    images: &mut Collector,
    labels: &mut Vec<i64>,
    total: usize,
) -> Result<(), DataError> {
    let at = |row: usize, error: ParquetError| {
        DataError::content(Place::row(path, row), format!("cannot read on from here: {error}"))
    };
    let ColumnReader::ByteArrayColumnReader(mut image_column) =
        ask(|| group.get_column_reader(columns.image)).map_err(|error| at(*row, error))?
    else {
        return Err(DataError::content(path, "the image column is not binary"));
    };
    let mut label_column = ask(|| group.get_column_reader(columns.label)).map_err(|error| at(*row, error))?;
    loop {
        let encoded = present::<ByteArrayType>(&mut image_column, "image", path, *row)?;
        let batch_labels = match &mut label_column {
            ColumnReader::Int64ColumnReader(column) => present(column, "label", path, *row)?,
            ColumnReader::Int32ColumnReader(column) => {
                present(column, "label", path, *row)?.into_iter().map(i64::from).collect()
            }
            _ => return Err(DataError::content(path, "the label column is not of integers")),
        };
        if encoded.len() != batch_labels.len() {
            let what = format!("{} images but {} labels from here on", encoded.len(), batch_labels.len());
            return Err(DataError::content(Place::row(path, *row), what));
        }
        if encoded.is_empty() {
            return Ok(());
        }
        let encoded: Vec<&[u8]> = encoded.iter().map(ByteArray::data).collect();
        images.extend(&encoded, |index| Place::row(path, *row + index))?;
        if *row == 0 {
            images.reserve(total.saturating_sub(encoded.len()), &path.into())?;
        }
        if let Some(index) = batch_labels.iter().position(|&label| label < 0) {
            let what = format!("label {} is negative", batch_labels[index]);
            return Err(DataError::content(Place::row(path, *row + index), what));
        }
        *row += encoded.len();
        labels.extend(batch_labels);
    }
}

/// The next values of a column, none of which may be null.
fn present<T: DataType>(
    column: &mut ColumnReaderImpl<T>,
    name: &str,
    path: &Path,
    row: usize,
) -> Result<Vec<T::T>, DataError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let (records, found, _) = ask(|| column.read_records(ROWS_AT_ONCE, Some(&mut levels), None, &mut values))
        .map_err(|error| DataError::content(Place::row(path, row), format!("cannot read on from here: {error}")))?;
    if found < records {
        // The deepest definition level marks a value; anything less is a null, of the struct or of its field.
        let deepest = levels.iter().copied().max().unwrap_or(0).max(1);
        let index = if found == 0 { 0 } else { levels.iter().position(|&level| level < deepest).unwrap_or(0) };
        return Err(DataError::content(Place::row(path, row + index), format!("the {name} is null")));
    }
    Ok(values)
}

/// Names of a `ClassLabel` feature: `{"info": {"features": {"label": {"names": […], "_type": "ClassLabel"}}}}`.
fn class_names(reader: &SerializedFileReader<File>, label: &str) -> Option<Vec<String>> {
    let entries = reader.metadata().file_metadata().key_value_metadata()?;
    let entry = entries.iter().find(|entry| entry.key == "huggingface")?;
    let metadata: serde_json::Value = serde_json::from_str(entry.value.as_deref()?).ok()?;
    let names = metadata["info"]["features"][label]["names"].as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_string)).collect()
}
