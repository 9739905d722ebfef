//! Image files named in a table, each with its label and, where there is such a column, its part.
//!
//! Paths are relative to the table's folder. Labels that are all whole numbers are places, as in files of numbers; else
//! they are names, and a class's label is its name's place in alphabetical order, as with folders. Rows come out in the
//! order of the table.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::collector::Collector;
use super::error::{DataError, Place};
use super::manifest_rows::{Row, read_csv, read_json_lines};
use super::part::Part;
use super::source::Columns;

/// Files read and decoded at a time.
const FILES_AT_ONCE: usize = 256;
/// Largest label: beyond it, it is a number of something else.
const LARGEST_LABEL: i64 = (1 << 20) - 1;

/// A table that was read; its images were not.
pub(super) struct Manifest {
    path: PathBuf,
    entries: Vec<Entry>,
    /// Names of the classes, where labels are names.
    names: Option<Vec<String>>,
    /// Rows of parts that another one of the kind stands before.
    unused: Vec<String>,
}

/// A row of one part.
struct Entry {
    line: u64,
    part: Part,
    /// Image and label.
    cells: Result<(PathBuf, String), String>,
}

impl Entry {
    fn place(&self, manifest: &Path) -> Place {
        Place::line(manifest, self.line, self.cells.as_ref().ok().map(|(image, _)| image.as_path()))
    }
}

impl Manifest {
    /// Reads the table at `path`, CSV or JSON lines.
    ///
    /// # Errors
    /// A table that cannot be read or lacks a column.
    pub(super) fn read(path: &Path, is_csv: bool, columns: &Columns) -> Result<Manifest, DataError> {
        let rows = if is_csv { read_csv(path, columns) } else { read_json_lines(path, columns) }?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let has_split = rows.iter().any(|row| row.cells.as_ref().is_ok_and(|cells| cells.split.is_some()));
        let words = |part: Part| part.words().iter();
        let split = |row: &Row| row.cells.as_ref().ok()?.split.as_ref().map(|split| split.to_lowercase());
        let present: BTreeSet<String> = rows.iter().filter_map(split).collect();
        // `test` stands before `validation`, as with folders.
        let tested = words(Part::Test).find(|word| present.contains(**word));
        let mut unused: Vec<(String, usize)> = Vec::new();
        let mut entries = Vec::new();
        for row in rows {
            let word = split(&row);
            let (part, is_known) = match &word {
                Some(word) if Some(&word.as_str()) == tested => (Part::Test, true),
                Some(word) if words(Part::Test).any(|known| known == word) => {
                    match unused.iter_mut().find(|(known, _)| known == word) {
                        Some((_, count)) => *count += 1,
                        None => unused.push((word.clone(), 1)),
                    }
                    continue;
                }
                Some(word) => (Part::Train, words(Part::Train).any(|known| known == word)),
                None => (Part::Train, !has_split || row.cells.is_err()),
            };
            let cells = row.cells.and_then(|cells| match is_known {
                true => Ok((folder.join(cells.image), cells.label)),
                false => Err(match word {
                    Some(word) => format!("`{word}` is no part, which are train, test and validation"),
                    None => "no part in it, which other rows have".into(),
                }),
            });
            entries.push(Entry { line: row.line, part, cells });
        }
        let unused = unused.into_iter().map(|(word, count)| format!("{count} rows of `{word}` are not used")).collect();
        let mut manifest = Manifest { path: path.to_path_buf(), entries, names: None, unused };
        manifest.settle_names();
        Ok(manifest)
    }

    /// Whether there are rows of the test part.
    pub(super) fn has_test_part(&self) -> bool {
        self.entries.iter().any(|entry| entry.part == Part::Test)
    }

    /// What is not used, in words.
    pub(super) fn notes(&self) -> &[String] {
        &self.unused
    }

    /// Names of the classes, in the order of their labels; none where labels are numbers.
    pub(super) fn names(&self) -> Option<Vec<String>> {
        self.names.clone()
    }

    /// Appends the images of a part.
    ///
    /// # Errors
    /// No rows of the part, or a class that the training part does not have.
    pub(super) fn append(&self, part: Part, images: &mut Collector) -> Result<(), DataError> {
        let rows: Vec<&Entry> = self.entries.iter().filter(|entry| entry.part == part).collect();
        if rows.is_empty() {
            let looked_for = format!("rows of `{}`", part.words().join("`, `"));
            return Err(DataError::NoPart { path: self.path.clone(), part: part.name(), looked_for });
        }
        let mut first = true;
        for chunk in rows.chunks(FILES_AT_ONCE) {
            let (mut encoded, mut labels) = (Vec::new(), Vec::new());
            for entry in chunk {
                let label = entry.cells.as_ref().map_err(String::clone).and_then(|(_, label)| self.label(label));
                let label = match label {
                    Ok(Some(label)) => Ok(label),
                    Ok(None) => return Err(self.untrained(entry)),
                    Err(what) => Err(what),
                };
                labels.push(*label.as_ref().unwrap_or(&0));
                encoded.push(label.and_then(|_| read(entry)));
            }
            let file = |index: usize| chunk[index].cells.as_ref().ok().map(|(image, _)| image.clone());
            images.extend(&encoded, &labels, |index| chunk[index].place(&self.path), file)?;
            if std::mem::take(&mut first) {
                images.reserve(rows.len() - chunk.len(), &self.path.as_path().into())?;
            }
        }
        Ok(())
    }

    fn settle_names(&mut self) {
        let of = |part: Option<Part>| {
            let entries = self.entries.iter().filter(move |entry| part.is_none_or(|part| entry.part == part));
            entries.filter_map(|entry| Some(&entry.cells.as_ref().ok()?.1))
        };
        if of(None).all(|label| label.parse::<i64>().is_ok()) {
            return;
        }
        let names: BTreeSet<&String> = of(Some(Part::Train)).collect();
        let names = if names.is_empty() { of(None).collect() } else { names };
        self.names = Some(names.into_iter().cloned().collect());
    }

    /// The label of a class; none where it has no training images.
    fn label(&self, text: &str) -> Result<Option<i64>, String> {
        match &self.names {
            Some(names) => Ok(names.binary_search_by(|name| name.as_str().cmp(text)).ok().map(|place| place as i64)),
            None => match text.parse::<i64>() {
                Ok(label @ 0..=LARGEST_LABEL) => Ok(Some(label)),
                _ => Err(format!("label {text} is not 0 to {LARGEST_LABEL}")),
            },
        }
    }

    fn untrained(&self, entry: &Entry) -> DataError {
        let class = entry.cells.as_ref().map_or(String::new(), |(_, label)| label.clone());
        DataError::NotTrained { path: self.path.clone(), class, known: self.names.clone().unwrap_or_default() }
    }
}

/// The file of a row, or why it cannot be read.
fn read(entry: &Entry) -> Result<Vec<u8>, String> {
    let (path, _) = entry.cells.as_ref().map_err(String::clone)?;
    storage::file::read_bytes(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "the file does not exist".to_owned(),
        _ => format!("the file cannot be read: {error}"),
    })
}
