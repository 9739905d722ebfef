//! What can go wrong with image data: always the file, and where possible the row.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use storage::failure::{Failure, FailureKind};
use storage::file::read_bytes;

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
    #[error("{path}: the training images have no class `{class}`; they have {}", list(known), path = path.display())]
    NotTrained { path: PathBuf, class: String, known: Vec<String> },
    #[error("{path} holds no {part} images (looked for {looked_for})", path = path.display())]
    NoPart { path: PathBuf, part: &'static str, looked_for: String },
    #[error("{place}: the image is {width}×{height}, but the first one is {expected}×{expected}")]
    Sizes { place: Place, width: usize, height: usize, expected: usize },
    #[error("{place}: the image is {width}×{height}, not square")]
    NotSquare { place: Place, width: usize, height: usize },
    #[error(
        "{path}: class {unknown} is unknown to the network; the images are of {own}, the network knows {wanted}",
        path = path.display(), unknown = quoted(unknown), own = list(own), wanted = list(wanted)
    )]
    UnknownClasses { path: PathBuf, unknown: Vec<String>, own: Vec<String>, wanted: Vec<String> },
    #[error(
        "{path} has {} classes ({}), but the network has {outputs} outputs", names.len(), list(names),
        path = path.display()
    )]
    MoreClasses { path: PathBuf, names: Vec<String>, outputs: usize },
    #[error("{least}{} images cannot be used: {}", errors.len(), each(errors), least = if *more { "at least " } else { "" })]
    Several { errors: Vec<DataError>, more: bool },
}

impl Failure for DataError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Source { .. } => FailureKind::Usage,
            Self::Read { source, .. } => FailureKind::of(source),
            Self::Setting { .. }
            | Self::Content { .. }
            | Self::NotTrained { .. }
            | Self::NoPart { .. }
            | Self::Sizes { .. }
            | Self::NotSquare { .. }
            | Self::UnknownClasses { .. }
            | Self::MoreClasses { .. }
            | Self::Several { .. } => FailureKind::Content,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Source { .. } => Some(format!("accepted are {}", FORMS)),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path; relative paths start at the current folder".into())
            }
            // What the project writes itself is written and read by hand as well, and the message says what is wrong.
            Self::Content { place, .. } if place.path.extension().is_some_and(|end| end == "json") => None,
            Self::Content { .. } => Some("fetch or convert the file again".into()),
            Self::NotTrained { .. } => {
                Some("give the class training images, or take its folder out of the test part".into())
            }
            Self::Sizes { .. } | Self::NotSquare { .. } => Some(
                "set `image_size` in the recipe: every image is then resized and centre-cropped to that square".into(),
            ),
            Self::UnknownClasses { .. } => {
                Some("rename the classes of the images, or leave out those that the network was not trained on".into())
            }
            Self::MoreClasses { names, .. } => {
                let classes = names.len();
                Some(format!("train in a space with `classes: {classes}`, or leave some of the classes out"))
            }
            Self::Several { errors, .. } => errors.first().and_then(Self::hint),
            Self::Setting { .. } | Self::NoPart { .. } | Self::Read { .. } => None,
        }
    }
}

impl DataError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_path_buf(), source }
    }

    /// All of `errors` as one; the collector stops at ten.
    pub(super) fn several(mut errors: Vec<DataError>) -> Self {
        match errors.len() {
            1 => errors.remove(0),
            count => Self::Several { errors, more: count >= 10 },
        }
    }

    pub(super) fn content(place: impl Into<Place>, what: impl Into<String>) -> Self {
        Self::Content { place: place.into(), what: what.into() }
    }
}

/// Names that a message lists before it stops.
const LISTED: usize = 12;

fn list(names: &[String]) -> String {
    let more = if names.len() > LISTED { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(LISTED)].join(", "))
}

fn quoted(names: &[String]) -> String {
    list(&names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>())
}

fn each(errors: &[DataError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
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
    read_bytes(path).map_err(|source| DataError::read(path, source))
}

/// A folder's entries in the order of their names.
pub(super) fn list_folder(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut entries = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>())
        .map_err(|source| DataError::read(path, source))?;
    entries.sort();
    Ok(entries)
}
