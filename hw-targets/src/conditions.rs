//! Columns about the conditions of a measurement: a table is one device under one set of them.

use std::collections::HashMap;
use std::path::Path;

use storage::file::{FileError, Place};
use storage::table::{Cells, Line};

/// Columns that say under which conditions a row was measured.
const CONDITIONS: [&str; 11] = [
    "device",
    "soc",
    "platform",
    "processing_unit",
    "runtime",
    "runtime_version",
    "precision",
    "threads",
    "batch",
    "clock",
    "power_mode",
];

/// Refuses a table whose rows were measured under different conditions, and remarks on columns beyond `known`.
pub(crate) fn check_conditions(
    path: &Path,
    table: &Cells,
    columns: &HashMap<&str, usize>,
    known: &[&str],
) -> Result<Vec<String>, FileError> {
    let mut notes = Vec::new();
    for column in table.columns.iter().filter(|column| !known.contains(&column.as_str())) {
        if !CONDITIONS.contains(&column.as_str()) {
            notes.push(format!("column {column:?} is not part of the format and was not read"));
            continue;
        }
        let mut first: Option<(Place, &str)> = None;
        for (place, cells) in &table.rows {
            let line = Line { path, place: *place, columns, cells };
            let here = line.text(column);
            match first {
                Some((other, word)) if word != here => {
                    let problem =
                        format!("differs from {word:?} in {other}: a table is one device under one set of conditions");
                    return Err(line.bad(column, problem));
                }
                _ => first = first.or(Some((*place, here))),
            }
        }
        if let Some((_, word)) = first {
            notes.push(format!("column {column:?} says {word:?} in every row: state it in the manifest"));
        }
    }
    Ok(notes)
}
