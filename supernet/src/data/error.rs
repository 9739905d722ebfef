//! What can go wrong with image data: always the file, and where possible the row.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use storage::failure::{Failure, FailureKind};

/// How a source of images is written.
const FORMS: &str = "`parquet:PATH` (a file, or a folder with train*.parquet and test*.parquet), \
     `cifar:FOLDER` (the official binary files), `folder:FOLDER` (one folder of images per class), `idx:FOLDER` \
     (MNIST's files) and `synthetic` or `synthetic:COUNT`";

/// Errors of the image loaders.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each field is")]
pub enum DataError {
    #[error("`{text}` is not an image source: {reason}")]
    Source { text: String, reason: String },
    #[error("{setting} is {value}, {reason}")]
    Setting { setting: &'static str, value: String, reason: String },
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{place}: {what}")]
    Content { place: Place, what: String },
    #[error("{path} holds no {part} images (looked for {looked_for})", path = path.display())]
    NoPart { path: PathBuf, part: &'static str, looked_for: String },
    #[error("{place}: the image is {width}×{height}, but the first one is {expected}×{expected}")]
    Sizes { place: Place, width: usize, height: usize, expected: usize },
    #[error("{place}: the image is {width}×{height}, not square")]
    NotSquare { place: Place, width: usize, height: usize },
    #[error("{given} class names for {classes} classes")]
    ClassNames { given: usize, classes: usize },
}

impl Failure for DataError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Source { .. } => FailureKind::Usage,
            Self::Read { .. } => FailureKind::Io,
            Self::Setting { .. }
            | Self::Content { .. }
            | Self::NoPart { .. }
            | Self::Sizes { .. }
            | Self::NotSquare { .. }
            | Self::ClassNames { .. } => FailureKind::Content,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Source { .. } => Some(format!("accepted are {}", FORMS)),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path; relative paths start at the current folder".into())
            }
            Self::Content { .. } => Some("fetch or convert the file again".into()),
            Self::Sizes { .. } | Self::NotSquare { .. } => {
                Some("set `image_size`, so that every image is resized and centre-cropped to one square".into())
            }
            Self::ClassNames { .. } => Some("give one name per class, in the order of the labels".into()),
            Self::Setting { .. } | Self::NoPart { .. } | Self::Read { .. } => None,
        }
    }
}

impl DataError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_path_buf(), source }
    }

    pub(super) fn content(place: impl Into<Place>, what: impl Into<String>) -> Self {
        Self::Content { place: place.into(), what: what.into() }
    }
}

/// Where in a data set something is: a file and, where known, the row in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Counted from 0.
    pub row: Option<usize>,
}

impl Place {
    pub(super) fn row(path: &Path, row: usize) -> Place {
        Place { path: path.to_path_buf(), row: Some(row) }
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Place {
        Place { path: path.to_path_buf(), row: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Some(row) => write!(f, "{}, row {row}", self.path.display()),
            None => write!(f, "{}", self.path.display()),
        }
    }
}

/// A file's bytes, the path named in the error.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    std::fs::read(path).map_err(|source| DataError::read(path, source))
}

/// A folder's entries in the order of their names.
pub(super) fn list_folder(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut entries = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>())
        .map_err(|source| DataError::read(path, source))?;
    entries.sort();
    Ok(entries)
}
