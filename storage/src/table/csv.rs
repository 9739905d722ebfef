//! CSV files as text cells: `#` begins a comment, and spaces around a cell are not part of it.

use std::io::Read;
use std::path::Path;

use csv::{Error, ErrorKind, Position, ReaderBuilder, Trim};

use super::Cells;
use crate::file::{FileError, Place};

impl Cells {
    /// All rows of a CSV file, read from `file`; `path` is its name, for messages.
    ///
    /// # Errors
    /// [`FileError::Malformed`] with the line for rows of unequal length and for what is not UTF-8; [`FileError::Io`].
    pub fn from_csv(path: &Path, file: impl Read) -> Result<Cells, FileError> {
        let mut reader = ReaderBuilder::new().comment(Some(b'#')).trim(Trim::All).from_reader(file);
        let headers = reader.headers().map_err(|error| malformed(path, error))?.clone();
        let columns = headers.iter().map(|name| name.trim_start_matches('\u{feff}').to_string()).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| malformed(path, error))?;
            let place = Place::Line(record.position().map_or(0, Position::line));
            rows.push((place, record.iter().map(str::to_string).collect()));
        }
        Ok(Cells { columns, rows })
    }
}

fn malformed(path: &Path, error: Error) -> FileError {
    let problem = match error.into_kind() {
        ErrorKind::Io(source) => return FileError::io(path, source),
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.map_or(0, |pos| pos.line());
            format!("line {line} has {len} cells where the header has {expected_len}")
        }
        ErrorKind::Utf8 { pos, .. } => format!("line {} is not UTF-8 text", pos.map_or(1, |pos| pos.line())),
        other => format!("{other:?}"),
    };
    FileError::malformed(path, "CSV", problem)
}
