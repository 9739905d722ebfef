//! CSV files as text cells: `#` begins a comment, and spaces around a cell are not part of it. Cells are divided by
//! commas, or by the semicolons or tabs that stand in the header in place of commas. Columns without a name and a cell,
//! and rows without a cell, are left out.

use std::io::Read;
use std::path::Path;

use csv::{Error, ErrorKind, Position, ReaderBuilder, StringRecord, Trim};

use super::Cells;
use crate::file::{FileError, Place, text_of};

impl Cells {
    /// All rows of a CSV file, read from `file`, packed by gzip or not; `path` is its name, for messages.
    ///
    /// # Errors
    /// [`FileError::Malformed`] with the line for rows of unequal length and for what is no text; [`FileError::Io`].
    pub fn from_csv(path: &Path, file: impl Read) -> Result<Cells, FileError> {
        // The reader counts and ends lines in its own way, so it sees one kind of line break only.
        let text = text_of(path, "CSV", file)?.replace("\r\n", "\n").replace('\r', "\n");
        let mut lines = Lines { text: &text, at: 0, line: 1 };
        let mut reader = ReaderBuilder::new()
            .comment(Some(b'#'))
            .trim(Trim::All)
            .delimiter(delimiter(&text))
            .from_reader(text.as_bytes());
        let headers = reader.headers().map_err(|error| malformed(path, error, &mut lines))?.clone();
        let mut cells = Cells { columns: texts(&headers), rows: Vec::new() };
        for record in reader.records() {
            let record = record.map_err(|error| malformed(path, error, &mut lines))?;
            if record.iter().any(|cell| !cell.is_empty()) {
                let place = Place::Line(lines.of(record.position()));
                cells.rows.push((place, texts(&record)));
            }
        }
        cells.leave_out_empty();
        Ok(cells)
    }

    /// Spreadsheets write columns that are nothing but commas.
    fn leave_out_empty(&mut self) {
        for at in (0..self.columns.len()).rev() {
            let is_empty = |cells: &[String]| cells.get(at).is_none_or(String::is_empty);
            if is_empty(&self.columns) && self.rows.iter().all(|(_, cells)| is_empty(cells)) {
                self.columns.remove(at);
                self.rows.iter_mut().for_each(|(_, cells)| drop(cells.remove(at)));
            }
        }
    }
}

fn texts(record: &StringRecord) -> Vec<String> {
    record.iter().map(str::to_string).collect()
}

/// What divides the cells of the header: a comma, unless it has none and semicolons or tabs.
fn delimiter(text: &str) -> u8 {
    let header = text.lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let other = [b';', b'\t'].into_iter().find(|other| header.contains(char::from(*other)));
    other.filter(|_| !header.contains(',')).unwrap_or(b',')
}

/// Lines by the place of a record in the text, in order.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line, from 1, on which the record at `position` begins: the reader's place is before the blank lines and the
    /// comments ahead of it.
    fn of(&mut self, position: Option<&Position>) -> u64 {
        let target = position.map_or(self.at, |position| position.byte() as usize).min(self.text.len());
        let passed = self.text.as_bytes().get(self.at..target).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = self.at.max(target);
        while let Some(rest) = self.text.get(self.at..).filter(|rest| rest.starts_with(['\n', '#'])) {
            let Some(end) = rest.find('\n') else { break };
            (self.at, self.line) = (self.at + end + 1, self.line + 1);
        }
        self.line
    }
}

fn malformed(path: &Path, error: Error, lines: &mut Lines) -> FileError {
    let problem = match error.into_kind() {
        ErrorKind::Io(source) => return FileError::io(path, source),
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            format!("line {} has {len} cells where the header has {expected_len}", lines.of(pos.as_ref()))
        }
        other => format!("{other:?}"),
    };
    FileError::malformed(path, "CSV", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Cells {
        Cells::from_csv(Path::new("t.csv"), text.as_bytes()).unwrap()
    }

    fn lines(text: &str) -> Vec<Place> {
        cells(text).rows.iter().map(|(place, _)| *place).collect()
    }

    #[test]
    fn a_line_is_the_one_that_an_editor_shows() {
        let text = "# made\n\na,b\n1,2\n\n# more\n\"3\n3\",4\n5,6\n";
        let expected = [4, 7, 9].map(Place::Line);
        assert_eq!(lines(text), expected);
        assert_eq!(lines(&text.replace('\n', "\r\n")), expected);
        assert_eq!(lines(&text.replace('\n', "\r")), expected);
        assert_eq!(lines(&format!("\u{feff}{text}")), expected);
        for end in ["\n", "\r\n", "\r"] {
            let text = "a,b\n1,2\n\n1\n".replace('\n', end);
            let error = Cells::from_csv(Path::new("t.csv"), text.as_bytes()).err().unwrap();
            assert!(error.to_string().contains("line 4 has 1 cells"), "{error}");
        }
    }

    #[test]
    fn other_dividers_and_empty_columns_and_rows_are_understood() {
        for text in ["a;b\n1;2,5\n", "a\tb\n1\t\"2,5\"\n", "a,b,,\n1,\"2,5\",,\n,,,\n"] {
            let cells = cells(text);
            assert_eq!(cells.columns, ["a", "b"], "{text:?}");
            assert_eq!(cells.rows, [(Place::Line(2), vec!["1".to_string(), "2,5".to_string()])], "{text:?}");
        }
    }
}
