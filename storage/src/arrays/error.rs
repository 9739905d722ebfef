//! What goes wrong with a file of tensors: which file, which part of it, what was expected and what was there.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::failure::{Failure, FailureKind};
use crate::file::said_of;

/// A file of tensors that cannot be read or written.
#[derive(Debug, Error)]
pub enum TensorFileError {
    /// The operating system refused.
    #[error("{}", said_of(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The content is cut short, damaged, or of another format.
    #[error("{}: {part}: expected {expected}, found {found}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Part of the file: a tensor, an entry, a header.
        part: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The pickle asks for a Python object that is neither a tensor nor a plain container.
    #[error("{}: refused the Python object `{name}`: nothing in a checkpoint is executed", path.display())]
    RefusedObject {
        /// The file.
        path: PathBuf,
        /// Module and name.
        name: String,
    },
}

impl Failure for TensorFileError {
    fn kind(&self) -> FailureKind {
        match self {
            TensorFileError::Io { source, .. } => FailureKind::of(source),
            TensorFileError::Content { .. } | TensorFileError::RefusedObject { .. } => FailureKind::Content,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            TensorFileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path".to_owned())
            }
            TensorFileError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space on that disk".to_owned())
            }
            TensorFileError::Io { .. } => None,
            TensorFileError::Content { found, .. } if found.starts_with(END) => {
                Some("the file is cut short: fetch or write it again".to_owned())
            }
            TensorFileError::Content { .. } => None,
            TensorFileError::RefusedObject { .. } => Some(
                "save the tensors alone, in Python: torch.save({\"state_dict\": model.state_dict()}, \"weights.pth\")"
                    .to_owned(),
            ),
        }
    }
}

/// How a file that is too short is described.
pub const END: &str = "the end of the file";

/// A [`TensorFileError`] before whoever opened the file has added its path.
#[derive(Debug)]
pub enum Fault {
    /// The operating system refused.
    Io(io::Error),
    /// As [`TensorFileError::Content`].
    Content {
        /// Part of the file: a tensor, an entry, a header.
        part: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// As [`TensorFileError::RefusedObject`], by module and name.
    Refused(String),
}

impl Fault {
    /// `part` is not what belongs there.
    pub fn content(part: impl Display, expected: impl Display, found: impl Display) -> Fault {
        Fault::Content { part: part.to_string(), expected: expected.to_string(), found: found.to_string() }
    }

    /// A failed read of `expected`: content where the bytes are missing or damaged, else the operating system.
    pub fn read(error: io::Error, part: impl Display, expected: impl Display) -> Fault {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::content(part, expected, END),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
                Fault::content(part, expected, error)
            }
            _ => Fault::Io(error),
        }
    }

    /// A zip archive that cannot be read at `part`.
    pub fn zip(error: zip::result::ZipError, part: impl Display, expected: impl Display) -> Fault {
        match error {
            zip::result::ZipError::Io(error) => Fault::read(error, part, expected),
            other => Fault::content(part, expected, other),
        }
    }

    /// The error, in the file at `path`.
    pub fn at(self, path: &Path) -> TensorFileError {
        let path = path.to_path_buf();
        match self {
            Fault::Io(source) => TensorFileError::Io { path, source },
            Fault::Content { part, expected, found } => TensorFileError::Content { path, part, expected, found },
            Fault::Refused(name) => TensorFileError::RefusedObject { path, name },
        }
    }
}
