//! Tables as text cells, whatever file they come from, and the checks that every kind of table shares.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::{HwError, Place};

/// Largest text that is read: far beyond any table, and small enough that a file that unpacks without end is refused.
const MAX_TEXT: u64 = 1 << 29;
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

/// A table as text cells, whatever file it came from.
pub struct Cells {
    /// Names of the columns, in order.
    pub columns: Vec<String>,
    /// Where each row stands, and its cells.
    pub rows: Vec<(Place, Vec<String>)>,
}

impl Cells {
    /// Where each column is.
    pub fn index(&self, path: &Path) -> Result<HashMap<&str, usize>, HwError> {
        let columns: HashMap<&str, usize> =
            self.columns.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        if columns.len() != self.columns.len() {
            let problem = "two columns have the same name".to_string();
            return Err(HwError::Malformed { path: path.to_path_buf(), format: "table", problem });
        }
        Ok(columns)
    }
}

/// Refuses a table whose rows were measured under different conditions, and remarks on columns beyond `known`.
pub(crate) fn check_conditions(
    path: &Path,
    table: &Cells,
    columns: &HashMap<&str, usize>,
    known: &[&str],
) -> Result<Vec<String>, HwError> {
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

/// Opens a file that the user named.
pub fn open(path: &Path) -> Result<File, HwError> {
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => HwError::NotFound { path: path.to_path_buf() },
        _ => HwError::Io { path: path.to_path_buf(), source },
    })
}

/// Reads a text file that the user named; one that ends in `.gz` is unpacked.
pub fn read_text(path: &Path, format: &'static str) -> Result<String, HwError> {
    let malformed =
        |problem: &str| HwError::Malformed { path: path.to_path_buf(), format, problem: problem.to_string() };
    let file = open(path)?;
    let is_packed = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gz"));
    let mut reader: Box<dyn Read> = if is_packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut text = String::new();
    reader.by_ref().take(MAX_TEXT + 1).read_to_string(&mut text).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => malformed("not UTF-8 text"),
        io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof if is_packed => malformed("not a whole gzip file"),
        _ => HwError::Io { path: path.to_path_buf(), source },
    })?;
    if text.len() as u64 > MAX_TEXT {
        return Err(malformed("too large for a table"));
    }
    Ok(text)
}

/// All rows of a CSV file.
pub fn csv_cells(path: &Path, file: impl Read) -> Result<Cells, HwError> {
    let malformed = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(source) => HwError::Io { path: path.to_path_buf(), source },
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => HwError::Malformed {
            path: path.to_path_buf(),
            format: "CSV",
            problem: format!(
                "line {} has {len} cells where the header has {expected_len}",
                pos.map_or(0, |pos| pos.line())
            ),
        },
        csv::ErrorKind::Utf8 { pos, .. } => HwError::Malformed {
            path: path.to_path_buf(),
            format: "CSV",
            problem: format!("line {} is not UTF-8 text", pos.map_or(1, |pos| pos.line())),
        },
        other => HwError::Malformed { path: path.to_path_buf(), format: "CSV", problem: format!("{other:?}") },
    };
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(file);
    let headers = reader.headers().map_err(malformed)?.clone();
    let columns = headers.iter().map(|name| name.trim_start_matches('\u{feff}').to_string()).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(malformed)?;
        let place = Place::Line(record.position().map_or(0, csv::Position::line));
        rows.push((place, record.iter().map(str::to_string).collect()));
    }
    Ok(Cells { columns, rows })
}

/// One row of text cells with what an error about it needs.
pub struct Line<'a> {
    /// The file.
    pub path: &'a Path,
    /// Where the row stands in it.
    pub place: Place,
    /// Where each column is.
    pub columns: &'a HashMap<&'a str, usize>,
    /// The row.
    pub cells: &'a [String],
}

impl<'a> Line<'a> {
    /// The cell of a column; empty where the table has no such column.
    pub fn text(&self, column: &str) -> &'a str {
        self.columns.get(column).and_then(|&at| self.cells.get(at)).map_or("", String::as_str)
    }

    /// An error about a cell.
    pub fn bad(&self, column: &str, problem: impl Into<String>) -> HwError {
        HwError::BadCell {
            path: self.path.to_path_buf(),
            place: self.place,
            column: column.to_string(),
            value: self.text(column).to_string(),
            problem: problem.into(),
        }
    }

    /// A whole number from `least` to a million; `empty` if the cell is.
    pub fn whole(&self, column: &str, least: u32, empty: Option<u32>) -> Result<u32, HwError> {
        let text = self.text(column);
        if text.is_empty() {
            return empty.ok_or_else(|| self.bad(column, "is empty"));
        }
        // Programs that know only floating point write 16.0.
        let value: f64 = text.parse().map_err(|_| self.bad(column, "is not a whole number"))?;
        if value < 0.0 {
            return Err(self.bad(column, "is negative"));
        }
        if value.fract() != 0.0 || !value.is_finite() {
            return Err(self.bad(column, "is not a whole number"));
        }
        if !(f64::from(least)..=1e6).contains(&value) {
            return Err(self.bad(column, format!("is not from {least} to 1000000")));
        }
        Ok(value as u32)
    }

    /// 0, 1, `true` or `false`; `None` if the cell is empty.
    ///
    /// # Errors
    /// Anything else.
    pub fn flag(&self, column: &str) -> Result<Option<bool>, HwError> {
        match self.text(column) {
            "" => Ok(None),
            "0" | "false" => Ok(Some(false)),
            "1" | "true" => Ok(Some(true)),
            _ => Err(self.bad(column, "is neither 0 nor 1")),
        }
    }

    /// A number at or above zero; `None` if the cell is empty.
    pub fn number(&self, column: &str) -> Result<Option<f64>, HwError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        let value: f64 = text.parse().map_err(|_| self.bad(column, "is not a number"))?;
        if value.is_nan() {
            return Err(self.bad(column, "is not a number"));
        }
        if value < 0.0 {
            return Err(self.bad(column, "is negative"));
        }
        if value.is_infinite() {
            return Err(self.bad(column, "is not finite"));
        }
        Ok(Some(value))
    }

    /// A word of a list; `None` if the cell is empty or `none`.
    ///
    /// # Errors
    /// A word that `parse` does not know.
    pub fn word<T>(&self, column: &str, parse: fn(&str) -> Option<T>, known: &str) -> Result<Option<T>, HwError> {
        match self.text(column) {
            "" | "none" => Ok(None),
            word => parse(word).map(Some).ok_or_else(|| self.bad(column, format!("is none of: {}", known.trim_end()))),
        }
    }
}
