//! Parquet files with one encoded image and one label per row, in the layout image hubs use.
//!
//! `image: struct<bytes: binary, path: string>` or a plain binary column, named `image` or `img`; `label: int64`, `int32`
//! or text. Other columns are found where there is only one of the kind, or can be named. Class names come from the schema
//! metadata that Hugging Face `datasets` writes, where a file has them; labels in words are names themselves, in
//! alphabetical order.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use storage::parquet_file::{self, ask};

use super::classes;
use super::collector::Collector;
use super::error::{DataError, Place};
use super::parquet_columns::{self, Places};
use super::source::Columns;

/// Rows decoded at a time: enough to keep all threads busy, little enough to hold twice.
const ROWS_AT_ONCE: usize = 256;

/// Appends all rows of the files of one part; gives its class names, where the files have them. Files that list them in
/// another order than the first are mapped to its order.
pub(super) fn read_all(
    files: &[PathBuf],
    columns: &Columns,
    images: &mut Collector,
) -> Result<Option<Vec<String>>, DataError> {
    let mut names: Option<Vec<String>> = None;
    let (mut words, mut are_words) = (Words::default(), None);
    for file in files {
        let before = images.len();
        let own = read(file, columns, &mut words, images)?;
        if *are_words.get_or_insert(own.are_words) != own.are_words {
            return Err(DataError::content(file.as_path(), "labels are words in one file and numbers in another"));
        }
        match (&names, own.names) {
            (Some(names), Some(own)) => classes::map(file, images.labels_from(before), &own, names)?,
            (None, own) => names = own,
            (Some(_), None) => {}
        }
    }
    if words.known.is_empty() {
        return Ok(names);
    }
    let mut sorted: Vec<String> = words.known.into_keys().collect();
    sorted.sort();
    let place = |name: &String| sorted.binary_search(name).expect("one of them") as i64;
    let places: Vec<i64> = words.in_order.iter().map(place).collect();
    images.labels_from(0).iter_mut().for_each(|label| *label = places[*label as usize]);
    Ok(Some(sorted))
}

/// Labels in words, numbered as they come.
#[derive(Default)]
struct Words {
    known: HashMap<String, i64>,
    in_order: Vec<String>,
}

impl Words {
    fn number(&mut self, word: &str) -> i64 {
        if let Some(number) = self.known.get(word) {
            return *number;
        }
        let number = self.in_order.len() as i64;
        self.known.insert(word.to_owned(), number);
        self.in_order.push(word.to_owned());
        number
    }
}

/// What a file says about its labels.
struct OfLabels {
    are_words: bool,
    names: Option<Vec<String>>,
}

/// Appends all rows of a file.
fn read(path: &Path, columns: &Columns, words: &mut Words, images: &mut Collector) -> Result<OfLabels, DataError> {
    let whole = |error: ParquetError| DataError::content(path, format!("not a whole Parquet file: {error}"));
    let file = File::open(path).map_err(|source| DataError::read(path, source))?;
    let reader = parquet_file::open(file).map_err(whole)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let places = parquet_columns::find(schema, columns, path)?;
    let rows = usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0);
    let mut row = 0;
    for group in 0..reader.num_row_groups() {
        let group = ask(|| reader.get_row_group(group)).map_err(whole)?;
        read_group(group.as_ref(), &places, path, &mut row, words, images, rows)?;
    }
    if row != rows {
        return Err(DataError::content(path, format!("{rows} rows announced, {row} found")));
    }
    let names = class_names(&reader, &places.label.name);
    let are_words = places.label.kind == PhysicalType::BYTE_ARRAY;
    Ok(OfLabels { are_words, names: names.filter(|_| !are_words) })
}

/// Appends one row group; `row` counts the file's rows and `total` is how many it announces.
fn read_group(
    group: &dyn RowGroupReader,
    places: &Places,
    path: &Path,
    row: &mut usize,
    words: &mut Words,
    images: &mut Collector,
    total: usize,
) -> Result<(), DataError> {
    let at = |row: usize, error: ParquetError| {
        DataError::content(Place::row(path, row), format!("cannot read on from here: {error}"))
    };
    let Places { image, label } = places;
    let ColumnReader::ByteArrayColumnReader(mut image_column) =
        ask(|| group.get_column_reader(image.index)).map_err(|error| at(*row, error))?
    else {
        return Err(DataError::content(path, "the image column is not binary"));
    };
    let mut label_column = ask(|| group.get_column_reader(label.index)).map_err(|error| at(*row, error))?;
    loop {
        let encoded = values::<ByteArrayType>(&mut image_column, image.deepest).map_err(|error| at(*row, error))?;
        let labels: Vec<Option<i64>> = match &mut label_column {
            ColumnReader::Int64ColumnReader(column) => {
                values(column, label.deepest).map_err(|error| at(*row, error))?
            }
            ColumnReader::Int32ColumnReader(column) => {
                let labels = values(column, label.deepest).map_err(|error| at(*row, error))?;
                labels.into_iter().map(|label| label.map(i64::from)).collect()
            }
            ColumnReader::ByteArrayColumnReader(column) => {
                let labels = values(column, label.deepest).map_err(|error| at(*row, error))?;
                let mut number = |word: ByteArray| words.number(&String::from_utf8_lossy(word.data()));
                labels.into_iter().map(|word| word.map(&mut number)).collect()
            }
            _ => return Err(DataError::content(path, "the label column is neither of integers nor of words")),
        };
        if encoded.len() != labels.len() {
            let what = format!("{} images but {} labels from here on", encoded.len(), labels.len());
            return Err(DataError::content(Place::row(path, *row), what));
        }
        if encoded.is_empty() {
            return Ok(());
        }
        if let Some(index) = labels.iter().position(|label| label.is_some_and(|label| label < 0)) {
            let label = labels[index].unwrap_or(0);
            let what = format!("label {label} is negative");
            return Err(DataError::content(Place::row(path, *row + index), what));
        }
        let bytes: Vec<Result<&[u8], String>> = encoded
            .iter()
            .zip(&labels)
            .map(|pair| match pair {
                (Some(bytes), Some(_)) => Ok(bytes.data()),
                (None, _) => Err("the image is null".to_owned()),
                (_, None) => Err("the label is null".to_owned()),
            })
            .collect();
        let labels: Vec<i64> = labels.into_iter().map(|label| label.unwrap_or(0)).collect();
        images.extend(&bytes, &labels, |index| Place::row(path, *row + index), |_| None)?;
        if *row == 0 {
            images.reserve(total.saturating_sub(encoded.len()), &path.into())?;
        }
        *row += encoded.len();
    }
}

/// The next values of a column, whose definition level is `deepest` where there is one.
fn values<T: DataType>(column: &mut ColumnReaderImpl<T>, deepest: i16) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let (records, found, _) = ask(|| column.read_records(ROWS_AT_ONCE, Some(&mut levels), None, &mut values))?;
    if found == records {
        return Ok(values.into_iter().map(Some).collect());
    }
    // Anything less deep is a null, of the struct or of its field.
    let mut values = values.into_iter();
    let values: Vec<Option<T::T>> =
        levels.iter().map(|level| if *level == deepest { values.next() } else { None }).collect();
    match values.len() == records {
        true => Ok(values),
        false => Err(ParquetError::General(format!("{} levels of {records} values", values.len()))),
    }
}

/// Names of a `ClassLabel` feature: `{"info": {"features": {"label": {"names": […], "_type": "ClassLabel"}}}}`.
fn class_names(reader: &SerializedFileReader<File>, label: &str) -> Option<Vec<String>> {
    let entries = reader.metadata().file_metadata().key_value_metadata()?;
    let entry = entries.iter().find(|entry| entry.key == "huggingface")?;
    let metadata: serde_json::Value = serde_json::from_str(entry.value.as_deref()?).ok()?;
    let names = metadata["info"]["features"][label]["names"].as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_string)).collect()
}
