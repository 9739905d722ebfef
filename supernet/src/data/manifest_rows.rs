//! Tables of image files and labels as text: CSV with a header, or one JSON object a line.
//!
//! Cells are quoted as RFC 4180 has it; commas, semicolons or tabs part them, whichever the header has most of.

use std::path::Path;

use serde_json::Value;

use super::error::{DataError, Place, read_file};
use super::source::Columns;

/// One row, or what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Where it begins, counted from 1.
    pub(super) line: u64,
    pub(super) cells: Result<Cells, String>,
}

/// What a row says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cells {
    pub(super) image: String,
    pub(super) label: String,
    /// None where there is no such column, or nothing in it.
    pub(super) split: Option<String>,
}

/// What the columns are usually called, the likeliest first.
const IMAGE: [&str; 9] =
    ["image", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "img"];
const LABEL: [&str; 8] = ["label", "class", "label_name", "class_name", "labels", "category", "target", "y"];
const SPLIT: [&str; 4] = ["split", "part", "set", "subset"];

/// Reads a CSV file.
///
/// # Errors
/// No file, no header, no column for images or labels.
pub(super) fn read_csv(path: &Path, columns: &Columns) -> Result<Vec<Row>, DataError> {
    let bytes = read_file(path)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| first.iter().filter(|byte| **byte == delimiter).count();
    let delimiter = [b'\t', b';', b','].into_iter().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',');
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).trim(csv::Trim::All).from_reader(text);
    let broken = |error: csv::Error| DataError::content(path, format!("not CSV: {error}"));
    let header: Vec<String> =
        reader.byte_headers().map_err(broken)?.iter().map(|name| String::from_utf8_lossy(name).into()).collect();
    let places = Places::find(&header, columns, path)?;
    let mut rows = Vec::new();
    let (mut counted, mut line) = (0, 1);
    for record in reader.into_byte_records() {
        let record = record.map_err(broken)?;
        // The reader's own lines are one less where `\r\n` ends them: it says where the end of the row before begins.
        let start = record.position().map_or(0, |position| position.byte() as usize);
        let blank = text[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        line += text[counted..start + blank].iter().filter(|byte| **byte == b'\n').count() as u64;
        counted = start + blank;
        let cell = |at: usize| {
            let bytes = record.get(at).unwrap_or_default();
            String::from_utf8(bytes.to_vec()).map_err(|_| "it is not UTF-8".to_owned())
        };
        let cells = if record.len() == header.len() {
            // A file's name may have several lines; as a class's name they are the rest of the table.
            places.cells(cell).and_then(|cells| match cells.label.contains('\n') {
                true => Err("its label goes on over several lines: is a quote not closed?".into()),
                false => Ok(cells),
            })
        } else {
            Err(format!("{} cells, but the header has {}", record.len(), header.len()))
        };
        rows.push(Row { line, cells });
    }
    Ok(rows)
}

/// Reads a file of JSON objects, one a line.
///
/// # Errors
/// No file, no field for images or labels in the first object.
pub(super) fn read_json_lines(path: &Path, columns: &Columns) -> Result<Vec<Row>, DataError> {
    let bytes = read_file(path)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    let mut rows = Vec::new();
    let mut names: Option<[Option<String>; 3]> = None;
    for (text, line) in lines.filter(|(text, _)| !text.trim_ascii().is_empty()) {
        let object = match storage::json::parse(text) {
            Ok(Value::Object(object)) => object,
            Ok(_) => {
                rows.push(Row { line, cells: Err("no JSON object".into()) });
                continue;
            }
            Err(error) => {
                rows.push(Row { line, cells: Err(format!("not JSON: {error}")) });
                continue;
            }
        };
        if names.is_none() {
            let keys: Vec<String> = object.keys().cloned().collect();
            let Places { image, label, split } = Places::find(&keys, columns, path)?;
            names = Some([Some(image), Some(label), split].map(|place| place.map(|place| keys[place].clone())));
        }
        let [image, label, split] = names.as_ref().expect("just found");
        let cell = |name: &Option<String>| match name.as_ref().and_then(|name| object.get(name)) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
            Some(other) => {
                Err(format!("`{}` is {other}, not a text or a whole number", name.as_ref().unwrap_or(&String::new())))
            }
        };
        let cells = [cell(image), cell(label), cell(split)];
        let cells = cells
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .and_then(|cells| checked(cells.try_into().expect("three")));
        rows.push(Row { line, cells });
    }
    if rows.is_empty() {
        return Err(DataError::content(path, "no rows in it"));
    }
    if names.is_none() {
        return Err(DataError::content(Place::line(path, rows[0].line, None), "no line of it is a JSON object"));
    }
    Ok(rows)
}

/// Places of the columns in the header.
struct Places {
    image: usize,
    label: usize,
    split: Option<usize>,
}

impl Places {
    fn find(header: &[String], columns: &Columns, path: &Path) -> Result<Places, DataError> {
        let place = |given: &Option<String>, usual: &[&str]| match given {
            Some(given) => header.iter().position(|name| name == given),
            None => usual.iter().find_map(|usual| header.iter().position(|name| name.eq_ignore_ascii_case(usual))),
        };
        let found = |given: &Option<String>, usual: &[&str], what: &str| {
            place(given, usual).ok_or_else(|| {
                let called = given.as_ref().map_or(String::new(), |given| format!(" `{given}`"));
                let (there, usual) = (header.join(", "), usual.join(", "));
                let how =
                    format!("one of them can be named, as in `csv:FILE,{what}=COLUMN`, else it is one of {usual}");
                DataError::content(path, format!("no column{called} for the {what}; the columns are {there}; {how}"))
            })
        };
        Ok(Places {
            image: found(&columns.image, &IMAGE, "image")?,
            label: found(&columns.label, &LABEL, "label")?,
            split: match &columns.split {
                Some(_) => Some(found(&columns.split, &SPLIT, "split")?),
                None => place(&None, &SPLIT),
            },
        })
    }

    fn cells(&self, cell: impl Fn(usize) -> Result<String, String>) -> Result<Cells, String> {
        checked([cell(self.image)?, cell(self.label)?, self.split.map_or(Ok(String::new()), &cell)?])
    }
}

/// The cells of image, label and split.
fn checked([image, label, split]: [String; 3]) -> Result<Cells, String> {
    if image.is_empty() {
        return Err("no image in it".into());
    }
    if label.is_empty() {
        return Err("no label in it".into());
    }
    Ok(Cells { image, label, split: Some(split).filter(|split| !split.is_empty()) })
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    type Read = fn(&Path, &Columns) -> Result<Vec<Row>, DataError>;

    fn read(text: &str, columns: &Columns, read: Read) -> Result<Vec<Row>, String> {
        let folder = tempdir().unwrap();
        let path = folder.path().join("list");
        std::fs::write(&path, text).unwrap();
        read(&path, columns).map_err(|error| error.to_string())
    }

    fn cells(image: &str, label: &str, split: Option<&str>) -> Result<Cells, String> {
        Ok(Cells { image: image.into(), label: label.into(), split: split.map(String::from) })
    }

    fn named(image: &str, label: &str) -> Columns {
        Columns { image: Some(image.into()), label: Some(label.into()), split: None }
    }

    #[test]
    fn csv_is_quoted_and_bad_rows_keep_their_lines() {
        let text = "\u{feff}Label, Path ,note\r\ncat,a.png,x\r\n\"big \"\"cat\"\"\",\"b,\nc.png\",\r\ndog\r\n,d.png,\r\ndog,,\r\n7,e.png,x\r\n";
        let rows = read(text, &Columns::default(), read_csv).unwrap();
        let lines: Vec<u64> = rows.iter().map(|row| row.line).collect();
        assert_eq!(lines, [2, 3, 5, 6, 7, 8]);
        let expected = [
            cells("a.png", "cat", None),
            cells("b,\nc.png", "big \"cat\"", None),
            Err("1 cells, but the header has 3".into()),
            Err("no label in it".into()),
            Err("no image in it".into()),
            cells("e.png", "7", None),
        ];
        assert_eq!(rows.into_iter().map(|row| row.cells).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_no_class() {
        let rows = read("image,label\na.png,x\nb.png,\"y\nc.png,x\nd.png,x\n", &Columns::default(), read_csv).unwrap();
        assert_eq!(rows.len(), 2);
        assert!(rows[1].line == 3 && rows[1].cells.as_ref().unwrap_err().contains("quote"), "{rows:?}");
    }

    #[test]
    fn columns_are_found_or_named_and_other_delimiters_read() {
        let rows = read("file;class;split\na.png;x;train\nb.png;y;\n", &Columns::default(), read_csv).unwrap();
        assert_eq!(rows[0].cells, cells("a.png", "x", Some("train")));
        assert_eq!(rows[1].cells, cells("b.png", "y", None));
        let rows = read("id\twhat\timage\n1.png\tx\t0\n", &named("id", "what"), read_csv).unwrap();
        assert_eq!(rows[0].cells, cells("1.png", "x", None));
        let error = read("id,what\n1.png,x\n", &Columns::default(), read_csv).unwrap_err();
        assert!(error.contains("no column for the image; the columns are id, what"), "{error}");
        let error = read("id,label\n1.png,x\n", &named("pic", "label"), read_csv).unwrap_err();
        assert!(error.contains("no column `pic` for the image"), "{error}");
    }

    #[test]
    fn json_lines_hold_texts_and_whole_numbers() {
        let text = "{\"file_name\": \"a.png\", \"label\": 3}\n\n[1]\n{\"file_name\": \"b.png\"}\n{oops\n{\"label\": \"x\", \"file_name\": \"c.png\"}\n{\"file_name\": \"d.png\", \"label\": 0.5}";
        let rows = read(text, &Columns::default(), read_json_lines).unwrap();
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 3, 4, 5, 6, 7]);
        assert_eq!((&rows[0].cells, &rows[4].cells), (&cells("a.png", "3", None), &cells("c.png", "x", None)));
        for (row, word) in [(1, "no JSON object"), (2, "no label"), (3, "not JSON"), (5, "`label` is 0.5")] {
            assert!(rows[row].cells.as_ref().unwrap_err().contains(word), "{:?}", rows[row]);
        }
        assert!(read("", &Columns::default(), read_json_lines).unwrap_err().contains("no rows"));
        assert!(read("x\n", &Columns::default(), read_json_lines).unwrap_err().contains("list:1: no line"));
    }
}
