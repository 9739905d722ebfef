//! Which columns of a Parquet file hold the image and its label.

use std::path::Path;

use parquet::basic::Type as PhysicalType;
use parquet::schema::types::SchemaDescriptor;

use super::error::DataError;
use super::source::Columns;

/// What the columns are usually called, the likeliest first.
const IMAGE: [&str; 2] = ["image", "img"];
const LABEL: [&str; 4] = ["label", "labels", "fine_label", "class"];

/// A leaf column of a file.
pub(super) struct Leaf {
    pub(super) index: usize,
    /// Of the whole column.
    pub(super) name: String,
    pub(super) kind: PhysicalType,
    /// Definition level of a value.
    pub(super) deepest: i16,
}

/// Where the image and its label are.
pub(super) struct Places {
    pub(super) image: Leaf,
    pub(super) label: Leaf,
}

/// The columns that are named, else those that are called as usual, else the only struct with binary `bytes`.
///
/// # Errors
/// No such column, or one of another type.
pub(super) fn find(schema: &SchemaDescriptor, columns: &Columns, path: &Path) -> Result<Places, DataError> {
    let leaf = |names: &[&str], end: &str, kinds: &[PhysicalType], what: &str| -> Result<Leaf, DataError> {
        let is = |index: usize, name: &str| schema.column(index).path().string() == name;
        let find = |name: &str| (0..schema.num_columns()).find(|index| is(*index, name));
        let within = names.iter().find_map(|name| find(&format!("{name}{end}")));
        let found = within.or_else(|| names.iter().find_map(|name| find(name)));
        let there = || schema.columns().iter().map(|column| column.path().string()).collect::<Vec<_>>().join(", ");
        let missing = || DataError::content(path, format!("no column {what}; the columns are {}", there()));
        let index = found.ok_or_else(missing)?;
        let column = schema.column(index);
        let (name, kind) = (column.path().string(), column.physical_type());
        if !kinds.contains(&kind) || column.max_rep_level() > 0 {
            return Err(DataError::content(path, format!("column `{name}` is {kind}, not {what}")));
        }
        let name = name.strip_suffix(end).filter(|_| !end.is_empty()).unwrap_or(&name).to_owned();
        Ok(Leaf { index, name, kind, deepest: column.max_def_level() })
    };
    let only = only_struct(schema);
    let images: Vec<&str> = match &columns.image {
        Some(given) => vec![given],
        None => IMAGE.iter().copied().chain(only.as_deref()).collect(),
    };
    let what = format!("`{}` (struct with binary `bytes`, or binary)", images[0]);
    let image = leaf(&images, ".bytes", &[PhysicalType::BYTE_ARRAY], &what)?;
    let labels: Vec<&str> = columns.label.as_deref().map_or(LABEL.to_vec(), |given| vec![given]);
    let what = format!("`{}` (int64 or text)", labels[0]);
    let kinds = [PhysicalType::INT64, PhysicalType::INT32, PhysicalType::BYTE_ARRAY];
    Ok(Places { image, label: leaf(&labels, "", &kinds, &what)? })
}

/// The column that alone has a field `bytes`.
fn only_struct(schema: &SchemaDescriptor) -> Option<String> {
    let paths = schema.columns().iter().map(|column| column.path().string());
    let mut structs = paths.filter_map(|path| path.strip_suffix(".bytes").map(str::to_owned));
    structs.next().filter(|_| structs.next().is_none())
}
