//! The cells of a table, and the checks that every kind of table shares.

use std::collections::HashMap;
use std::path::Path;

use crate::file::{FileError, Place, open};

/// A table as text cells, whatever file it came from.
pub struct Cells {
    /// Names of the columns, in order.
    pub columns: Vec<String>,
    /// Where each row stands, and its cells.
    pub rows: Vec<(Place, Vec<String>)>,
}

impl Cells {
    /// Reads a table: Parquet if the name ends so, else CSV.
    ///
    /// # Errors
    /// [`FileError::NotFound`], [`FileError::Io`], [`FileError::Malformed`].
    pub fn read(path: &Path) -> Result<Cells, FileError> {
        let file = open(path)?;
        let is_parquet = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("parquet"));
        if is_parquet { Cells::from_parquet(path, file) } else { Cells::from_csv(path, file) }
    }

    /// Where each column is.
    ///
    /// # Errors
    /// [`FileError::Malformed`] if two columns have the same name.
    pub fn index(&self, path: &Path) -> Result<HashMap<&str, usize>, FileError> {
        let columns: HashMap<&str, usize> =
            self.columns.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        if columns.len() != self.columns.len() {
            let twice = self.columns.iter().enumerate().find(|(at, name)| columns[name.as_str()] != *at);
            let name = twice.map_or("", |(_, name)| name);
            return Err(FileError::malformed(path, "table", format!("two columns have the same name, {name:?}")));
        }
        Ok(columns)
    }

    /// An error about a column that is not there.
    pub fn missing(&self, path: &Path, column: &str) -> FileError {
        let (column, found) = (column.to_string(), self.columns.clone());
        FileError::MissingColumn { path: path.to_path_buf(), column, found }
    }
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
    pub fn bad(&self, column: &str, problem: impl Into<String>) -> FileError {
        FileError::BadCell {
            path: self.path.to_path_buf(),
            place: self.place,
            column: column.to_string(),
            value: self.text(column).to_string(),
            problem: problem.into(),
        }
    }

    /// A whole number from `least` to a million; `empty` if the cell is.
    pub fn whole(&self, column: &str, least: u32, empty: Option<u32>) -> Result<u32, FileError> {
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
    pub fn flag(&self, column: &str) -> Result<Option<bool>, FileError> {
        // Programs that know only floating point write 1.0, and Python writes True.
        match self.text(column).to_ascii_lowercase().as_str() {
            "" => Ok(None),
            "0" | "0.0" | "false" => Ok(Some(false)),
            "1" | "1.0" | "true" => Ok(Some(true)),
            _ => Err(self.bad(column, "is neither 0 nor 1")),
        }
    }

    /// A number at or above zero; `None` if the cell is empty.
    pub fn number(&self, column: &str) -> Result<Option<f64>, FileError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        let value: f64 = text.parse().map_err(|_| match text.replacen(',', ".", 1).parse::<f64>() {
            Ok(_) => self.bad(column, "is not a number: write a point before decimals, and nothing between thousands"),
            Err(_) => self.bad(column, "is not a number"),
        })?;
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
    pub fn word<T>(&self, column: &str, parse: fn(&str) -> Option<T>, known: &str) -> Result<Option<T>, FileError> {
        match self.text(column) {
            "" | "none" => Ok(None),
            word => parse(word).map(Some).ok_or_else(|| self.bad(column, format!("is none of: {}", known.trim_end()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_read_as_programs_write_it() {
        let columns = HashMap::from([("se", 0)]);
        let flag = |text: &str| {
            let (path, place, cells) = (Path::new("t.csv"), Place::Line(2), [text.to_string()]);
            Line { path, place, columns: &columns, cells: &cells }.flag("se").ok()
        };
        assert_eq!(["1", "1.0", "true", "True", "TRUE"].map(flag), [Some(Some(true)); 5]);
        assert_eq!(
            ["0", "0.0", "False", ""].map(flag),
            [Some(Some(false)), Some(Some(false)), Some(Some(false)), Some(None)]
        );
        assert_eq!((flag("yes"), flag("2")), (None, None));
    }

    #[test]
    fn a_name_that_two_columns_have_is_said() {
        let cells = Cells { columns: ["a", "b", "a"].map(str::to_string).to_vec(), rows: Vec::new() };
        assert!(cells.index(Path::new("t.csv")).unwrap_err().to_string().contains("\"a\""));
    }
}
