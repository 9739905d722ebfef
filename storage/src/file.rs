//! Files that a user named: opened, read as text, and what is wrong with them, down to the cell of a table.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::failure::{Failure, FailureKind, Located};
use crate::text::{self, NoText};

/// Where in a table something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Line of a text file, from 1.
    Line(u64),
    /// Row of a binary table, from 1.
    Row(u64),
}

impl Place {
    /// The place with its file: `table.csv:14`, `table.parquet: row 14`.
    pub fn within(&self, path: &Path) -> String {
        match self {
            Place::Line(line) => format!("{}:{line}", path.display()),
            Place::Row(row) => format!("{}: row {row}", path.display()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// A file that cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// A file or folder named by the user that is not there.
    #[error("{path}: there is no such file or folder")]
    NotFound {
        /// The file or folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}", said_of(path, source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Not a file of the format it claims to be.
    #[error("{path}: not a readable {format} file: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// CSV, Parquet, YAML, JSON.
        format: &'static str,
        /// What the reader said.
        problem: String,
    },
    /// A table without a column it must have.
    #[error("{path}: column {column:?} is missing")]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The columns it has.
        found: Vec<String>,
    },
    /// A cell that cannot be used.
    #[error("{path}, {place}, column {column:?}: {value:?} {problem}")]
    BadCell {
        /// The file.
        path: PathBuf,
        /// Its line or row.
        place: Place,
        /// Its column.
        column: String,
        /// What it holds.
        value: String,
        /// What is wrong.
        problem: String,
    },
}

/// What the operating system said of the file at `path`, which whoever writes whole files has named already.
pub(crate) fn said_of(path: &Path, source: &io::Error) -> String {
    let (path, said) = (path.display().to_string(), source.to_string());
    if said.starts_with(&path) { said } else { format!("{path}: {said}") }
}

impl FileError {
    /// There is nothing at `path`.
    pub fn not_found(path: &Path) -> FileError {
        FileError::NotFound { path: path.to_path_buf() }
    }

    /// The operating system refused `path`.
    pub fn io(path: &Path, source: io::Error) -> FileError {
        FileError::Io { path: path.to_path_buf(), source }
    }

    /// `path` is no file of `format`.
    pub fn malformed(path: &Path, format: &'static str, problem: impl Into<String>) -> FileError {
        FileError::Malformed { path: path.to_path_buf(), format, problem: problem.into() }
    }
}

impl Failure for FileError {
    fn kind(&self) -> FailureKind {
        match self {
            FileError::NotFound { .. } => FailureKind::Usage,
            FileError::Io { source, .. } => FailureKind::of(source),
            FileError::Malformed { .. } | FileError::MissingColumn { .. } | FileError::BadCell { .. } => {
                FailureKind::Content
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            FileError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space on that disk".to_string())
            }
            FileError::MissingColumn { found, .. } => Some(format!("its columns are: {}", found.join(", "))),
            FileError::BadCell { .. } => Some("correct the cell; leave it empty if the value is not known".to_string()),
            FileError::NotFound { .. } | FileError::Io { .. } | FileError::Malformed { .. } => None,
        }
    }

    /// `table.csv:14: latency_ms`, and the message without it.
    fn place(&self) -> Option<Located> {
        let (place, message) = match self {
            FileError::NotFound { .. } | FileError::Io { .. } => return None,
            FileError::Malformed { path, format, problem } => {
                (path.display().to_string(), format!("not a readable {format} file: {}", problem.trim()))
            }
            FileError::MissingColumn { path, column, .. } => {
                (path.display().to_string(), format!("column {column:?} is missing"))
            }
            FileError::BadCell { path, place, column, value, problem } => {
                (format!("{}: {column}", place.within(path)), format!("{column} is {value:?}, which {problem}"))
            }
        };
        Some(Located { place, message })
    }
}

/// Opens a file that the user named.
///
/// # Errors
/// [`FileError::NotFound`], [`FileError::Io`].
pub fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => FileError::not_found(path),
        _ => FileError::io(path, source),
    })
}

/// All bytes of a file that the user named; one without an end, such as a device, is refused.
///
/// # Errors
/// What the operating system says.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file at `path`, open: neither a folder nor a device.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    let kind = file.metadata()?;
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if is_device(kind.file_type()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a device, not a file"));
    }
    Ok(file)
}

/// Fills `bytes` with what stands at `at`, wherever others read.
///
/// # Errors
/// What the operating system says; an end before they are full.
#[cfg(unix)]
pub fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

/// Fills `bytes` with what stands at `at`, wherever others read.
///
/// # Errors
/// What the operating system says; an end before they are full.
#[cfg(windows)]
pub fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (bytes, at) = (&mut bytes[read..], at + read as u64);
    }
    Ok(())
}

#[cfg(unix)]
fn is_device(kind: std::fs::FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    kind.is_char_device() || kind.is_block_device()
}

#[cfg(not(unix))]
fn is_device(_: std::fs::FileType) -> bool {
    false
}

/// Reads a text file that the user named: UTF-8 or marked UTF-16, packed by gzip or not, without its byte order mark.
///
/// # Errors
/// Those of [`open`]; [`FileError::Malformed`] in the name of `format` for what is no text, cut short, far too long, or
/// YAML or JSON that is nested too deeply.
pub fn read_text(path: &Path, format: &'static str) -> Result<String, FileError> {
    text_of(path, format, open(path)?)
}

/// As [`read_text`], of a file that is open.
pub(crate) fn text_of(path: &Path, format: &'static str, file: impl Read) -> Result<String, FileError> {
    text::read(path, file).map_err(|none| match none {
        NoText::Io(source) => FileError::io(path, source),
        NoText::Malformed(problem) => FileError::malformed(path, format, problem),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_alone_and_with_its_file() {
        let path = Path::new("t.csv");
        assert_eq!((Place::Line(3).to_string(), Place::Line(3).within(path)), ("line 3".into(), "t.csv:3".into()));
        assert_eq!((Place::Row(3).to_string(), Place::Row(3).within(path)), ("row 3".into(), "t.csv: row 3".into()));
    }

    #[test]
    fn a_path_is_named_once() {
        let path = Path::new("a/t.csv");
        let full = |words: &str| FileError::io(path, io::Error::other(words.to_string())).to_string();
        assert_eq!(full("No space left on device"), "a/t.csv: No space left on device");
        assert_eq!(full("a/t.csv: No space left on device"), "a/t.csv: No space left on device");
    }

    #[cfg(unix)]
    #[test]
    fn files_without_an_end_are_not_read() {
        let error = read_bytes(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "it is a device, not a file");
        assert_eq!(read_bytes(Path::new("/dev")).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn what_is_no_text_is_refused_by_kind() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            read_text(&path, "CSV").unwrap_err()
        };
        assert!(
            refused("a.csv", &[0xFF]).to_string().ends_with("a.csv: not a readable CSV file: line 1 is not UTF-8 text")
        );
        assert!(refused("a.csv.gz", &[0x1F, 0x8B]).to_string().contains("not a whole gzip file"));
        let missing = read_text(&folder.path().join("none"), "CSV").unwrap_err();
        assert!(matches!(missing, FileError::NotFound { .. }) && missing.kind() == FailureKind::Usage);
    }
}
