//! What can go wrong with image data: always the file, and where possible the row.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use network::units::Bytes;
use storage::failure::{Failure, FailureKind, Located, Setting};
use storage::file::read_bytes;

use super::skip_broken::SkipBroken;
use super::source_settings::taken_for_path;

/// How a source of images is written.
const FORMS: &str = "`folder:FOLDER` (one folder of images per class), `csv:FILE` and `jsonl:FILE` (image files and \
     their labels), `parquet:PATH` (a file, or a folder with train*.parquet and test*.parquet), `cifar:FOLDER` (the \
     official binary files), `idx:FOLDER` (MNIST's files) and `synthetic` or `synthetic:COUNT`";

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
    #[error("{}", unusable(errors, *all, *skip))]
    Unusable { errors: Vec<DataError>, all: usize, skip: Option<SkipBroken> },
    #[error("the images are more than the {} that they may take in memory", Bytes(*most as u64))]
    Memory { most: usize },
    #[error("cannot keep copies of encoded images in {folder}: {source}", folder = folder.display())]
    Copies { folder: PathBuf, source: io::Error },
    #[error("{broken} of {all} {part} images cannot be used")]
    Broken { part: &'static str, broken: usize, all: usize },
}

impl Failure for DataError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Source { .. } => FailureKind::Usage,
            Self::Read { source, .. } => FailureKind::of(source),
            Self::Copies { .. } => FailureKind::Io,
            Self::Setting { .. }
            | Self::Content { .. }
            | Self::NotTrained { .. }
            | Self::NoPart { .. }
            | Self::Sizes { .. }
            | Self::NotSquare { .. }
            | Self::UnknownClasses { .. }
            | Self::MoreClasses { .. }
            | Self::Unusable { .. }
            | Self::Memory { .. }
            | Self::Broken { .. } => FailureKind::Content,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Source { .. } => Some(format!("accepted are {}", FORMS)),
            Self::Read { path, source } if source.kind() == io::ErrorKind::NotFound => {
                let taken = taken_for_path(path).map_or(String::new(), |words| format!("; {words}"));
                Some(format!("check the path; relative paths start at the current folder{taken}"))
            }
            Self::Copies { .. } => Some("name a folder with room for them in TMPDIR".into()),
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
            Self::Unusable { errors, all, .. } => Some(match errors.iter().find(|error| !error.is_broken()) {
                Some(misfit) => misfit.hint()?,
                None => format!(
                    "fetch or convert them again, or leave them out with `{} {}`; `{}` lists all that is wrong",
                    Setting("skip-broken"),
                    SkipBroken::enough_for(errors.len(), *all),
                    Setting("data check")
                ),
            }),
            Self::Broken { broken, all, .. } => {
                let enough = SkipBroken::enough_for(*broken, *all);
                Some(format!(
                    "fetch or convert them again, or leave them out with `{} {enough}`",
                    Setting("skip-broken")
                ))
            }
            Self::Setting { .. } | Self::NoPart { .. } | Self::Read { .. } | Self::Memory { .. } => None,
        }
    }

    fn places(&self) -> Vec<Located> {
        let Self::Unusable { errors, .. } = self else { return Vec::new() };
        if errors.len() <= NAMED {
            return Vec::new();
        }
        let mut places: Vec<Located> = errors.iter().take(MOST_PLACES).map(located).collect();
        if let Some(more) = errors.len().checked_sub(MOST_PLACES).filter(|more| *more > 0) {
            places.push(Located { place: format!("and {more} more"), message: "not listed".into() });
        }
        places
    }
}

/// Images that a message itself names; more are listed below it.
const NAMED: usize = 3;
/// Images that are listed at most.
const MOST_PLACES: usize = 50;

fn unusable(errors: &[DataError], all: usize, skip: Option<SkipBroken>) -> String {
    let named: Vec<String> = errors.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if errors.len() > NAMED { "; …" } else { "" };
    let count = errors.len();
    let beyond = skip.filter(|_| errors.iter().all(DataError::is_broken));
    let share = 100.0 * count as f64 / all.max(1) as f64;
    let beyond = beyond.map_or(String::new(), |skip| format!(" ({share:.2} %, and {skip} may be left out)"));
    format!("{count} of {all} images cannot be used{beyond}: {}{more}", named.join("; "))
}

fn located(error: &DataError) -> Located {
    match error {
        DataError::Content { place, what } => Located { place: place.to_string(), message: what.clone() },
        other => {
            let text = other.to_string();
            let (place, message) = text.split_once(": ").unwrap_or((&text, "cannot be used"));
            Located { place: place.to_owned(), message: message.to_owned() }
        }
    }
}

impl DataError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_path_buf(), source }
    }

    /// What is wrong with some of a part's images, `skip` of which might have been broken.
    pub(super) fn unusable(mut errors: Vec<DataError>, all: usize, skip: Option<SkipBroken>) -> Self {
        // What is no broken image says by itself what to do.
        if errors.len() == 1 && !errors[0].is_broken() {
            return errors.remove(0);
        }
        Self::Unusable { errors, all, skip }
    }

    /// Whether it is about an image that cannot be read, in contrast to one that does not fit the others.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Content { .. })
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

/// Where in a data set something is: a file and, where known, the place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    within: Within,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Within {
    File,
    /// Counted from 0.
    Row(usize),
    /// Counted from 1, as editors do, and the file that is named there.
    Line(u64, Option<PathBuf>),
}

impl Place {
    pub(super) fn row(path: &Path, row: usize) -> Place {
        Place { path: path.to_path_buf(), within: Within::Row(row) }
    }

    pub(super) fn line(path: &Path, line: u64, named: Option<&Path>) -> Place {
        Place { path: path.to_path_buf(), within: Within::Line(line, named.map(Path::to_path_buf)) }
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Place {
        Place { path: path.to_path_buf(), within: Within::File }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.within {
            Within::Row(row) => write!(f, "{}, row {row}", self.path.display()),
            Within::Line(line, None) => write!(f, "{}:{line}", self.path.display()),
            Within::Line(line, Some(named)) => write!(f, "{}:{line} ({})", self.path.display(), named.display()),
            Within::File => write!(f, "{}", self.path.display()),
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
