//! Folders of images, one subfolder per class: `train/cat/1.jpg`, `test/cat/2.png`, or the classes directly.
//!
//! Below a class folder images may lie in folders of any depth. What is an image, its first bytes say; a name that
//! promises one is believed, so that a damaged image is an error and not an image less.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::collector::Collector;
use super::decode::image_format;
use super::error::{DataError, Place, list_folder, read_file};
use super::part::Part;

/// Files read and decoded at a time.
const FILES_AT_ONCE: usize = 256;
/// Folders within folders that are followed: more of them is a link that leads back up.
const DEEPEST: usize = 16;
/// Extensions of images, also of those that cannot be decoded.
const EXTENSIONS: [&str; 16] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl", "jp2",
    "ppm",
];

/// Reads a part of folders of class folders and gives the names of the classes: those of the training part, where
/// there is one, so that equal labels mean equal classes.
pub(super) fn read(
    path: &Path,
    part: Part,
    images: &mut Collector,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, DataError> {
    let (train, test) = (train_folder(path)?, test_folder(path)?);
    let (own, other) = if part == Part::Train { (&train, &test) } else { (&test, &train) };
    let folder = match (own, other) {
        (Some(own), _) => own,
        (None, None) => path,
        (None, Some(_)) => {
            let looked_for = looked_for_to_train();
            return Err(DataError::NoPart { path: path.to_path_buf(), part: "training", looked_for });
        }
    };
    let flat = parts_without_classes(path)?;
    // Beside other classes, a folder may well be the class of trains.
    let consequence = if own.is_some() { "is not used" } else { "is taken for a class" };
    notes.extend(flat.iter().map(|flat| format!("{flat}/ {consequence}: there are no class folders in it")));
    let listing = Listing::of(folder)?;
    notes.extend(listing.notes());
    if own.is_none() && listing.classes.iter().all(|(class, _)| flat.contains(class)) {
        return Err(DataError::content(path, format!("no class folders in it or in {}/", flat.join("/, "))));
    }
    let names = match &train {
        Some(train) if train != folder => Listing::of(train)?.names(),
        _ => listing.names(),
    };
    listing.read(folder, &names, images)?;
    Ok(names)
}

/// The folder of the training images, where there is one of its own.
fn train_folder(path: &Path) -> Result<Option<PathBuf>, DataError> {
    child(path, Part::Train.words())
}

/// The folder of the test images, where there is one of its own.
pub(super) fn test_folder(path: &Path) -> Result<Option<PathBuf>, DataError> {
    child(path, Part::Test.words())
}

/// The names that the folder of the training images may have, in words.
fn looked_for_to_train() -> String {
    format!("{}/, with class folders in it", Part::Train.words().join("/ or "))
}

/// Folders named like a part that hold no class folders, and so are none.
fn parts_without_classes(path: &Path) -> Result<Vec<String>, DataError> {
    let words = || Part::Train.words().iter().chain(Part::Test.words());
    let is_one = |folder: &PathBuf| words().any(|part| is_called(folder, part));
    let folders = subfolders(path)?.into_iter().filter(is_one);
    let mut found = Vec::new();
    for folder in folders {
        if subfolders(&folder)?.is_empty() {
            found.push(name(&folder));
        }
    }
    Ok(found)
}

/// The first of `names`, in any case, that holds class folders.
fn child(path: &Path, names: &[&str]) -> Result<Option<PathBuf>, DataError> {
    let folders = subfolders(path)?;
    for wanted in names {
        for folder in folders.iter().filter(|folder| is_called(folder, wanted)) {
            if !subfolders(folder)?.is_empty() {
                return Ok(Some(folder.clone()));
            }
        }
    }
    Ok(None)
}

fn is_called(folder: &Path, wanted: &str) -> bool {
    name(folder).eq_ignore_ascii_case(wanted)
}

/// The images of a folder of class folders, and what else is in it.
pub(super) struct Listing {
    /// Classes with an image, sorted by name: a class's label is its place.
    pub(super) classes: Vec<(String, Vec<PathBuf>)>,
    /// Classes without an image.
    pub(super) empty: Vec<String>,
    /// How many files are left out, by reason.
    pub(super) left_out: BTreeMap<String, usize>,
}

impl Listing {
    /// Finds the images below `folder`; none is read.
    ///
    /// # Errors
    /// A folder that cannot be read, without class folders, or with none that holds an image.
    pub(super) fn of(folder: &Path) -> Result<Listing, DataError> {
        let mut listing = Listing { classes: Vec::new(), empty: Vec::new(), left_out: BTreeMap::new() };
        for path in list_folder(folder)? {
            if !path.is_dir() {
                listing.leave_out(if is_hidden(&path) { "hidden" } else { "outside the class folders" });
            }
        }
        for path in subfolders(folder)? {
            let mut files = Vec::new();
            listing.gather(&path, 0, &mut files)?;
            let class = name(&path);
            if files.is_empty() { listing.empty.push(class) } else { listing.classes.push((class, files)) }
        }
        if listing.classes.is_empty() && listing.empty.is_empty() {
            return Err(DataError::content(folder, "no class folders in it"));
        }
        if listing.classes.is_empty() {
            return Err(DataError::content(folder, format!("no image in its folders {}", some_of(&listing.empty))));
        }
        Ok(listing)
    }

    /// Names of the classes, in the order of their labels.
    pub(super) fn names(&self) -> Vec<String> {
        self.classes.iter().map(|(class, _)| class.clone()).collect()
    }

    /// What is not used, in words.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let files: usize = self.left_out.values().sum();
        if files > 0 {
            let reasons: Vec<String> =
                self.left_out.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            notes.push(format!("{files} files left out: {}", reasons.join(", ")));
        }
        if !self.empty.is_empty() {
            notes.push(format!("no image in class folder {}, so there is no such class", some_of(&self.empty)));
        }
        notes
    }

    /// Appends the images below `folder`, in order.
    fn gather(&mut self, folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
        if depth > DEEPEST {
            return Err(DataError::content(folder, "folders within folders without an end"));
        }
        for path in list_folder(folder)? {
            if is_hidden(&path) {
                self.leave_out("hidden");
            } else if path.is_dir() {
                self.gather(&path, depth + 1, files)?;
            } else if path.is_file() && is_image(&path)? {
                files.push(path);
            } else {
                let extension = extension(&path);
                let reason =
                    if extension.is_empty() { "no images".into() } else { format!("no images (.{extension})") };
                self.leave_out(&reason);
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, reason: &str) {
        *self.left_out.entry(reason.to_owned()).or_default() += 1;
    }

    /// Decodes and appends all images, whose classes must be among `classes`.
    ///
    /// # Errors
    /// A class that is not among them, or images that cannot be read.
    pub(super) fn read(&self, folder: &Path, classes: &[String], images: &mut Collector) -> Result<(), DataError> {
        let mut files: Vec<(&Path, i64)> = Vec::new();
        for (class, paths) in &self.classes {
            let Some(label) = classes.iter().position(|known| known == class) else {
                let (path, class, known) = (folder.join(class), class.clone(), classes.to_vec());
                return Err(DataError::NotTrained { path, class, known });
            };
            files.extend(paths.iter().map(|path| (path.as_path(), label as i64)));
        }
        let mut first = true;
        for chunk in files.chunks(FILES_AT_ONCE) {
            let encoded = chunk.iter().map(|(path, _)| Ok(Ok(read_file(path)?))).collect::<Result<Vec<_>, _>>()?;
            let labels: Vec<i64> = chunk.iter().map(|(_, label)| *label).collect();
            let file = |index: usize| Some(chunk[index].0.to_path_buf());
            images.extend(&encoded, &labels, |index| Place::from(chunk[index].0), file)?;
            if std::mem::take(&mut first) {
                images.reserve(files.len() - chunk.len(), &folder.into())?;
            }
        }
        Ok(())
    }
}

/// The first of `names`, and how many more there are.
fn some_of(names: &[String]) -> String {
    const NAMED: usize = 8;
    match names.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

/// The folders in `folder` that may be classes or parts, sorted: archives leave hidden ones of their own behind.
fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_one = |path: &PathBuf| path.is_dir() && !is_hidden(path);
    Ok(list_folder(folder)?.into_iter().filter(is_one).collect())
}

fn is_hidden(path: &Path) -> bool {
    let name = name(path);
    name.starts_with('.') || name == "__MACOSX"
}

/// Whether the name or the first bytes are those of an image.
fn is_image(path: &Path) -> Result<bool, DataError> {
    if EXTENSIONS.contains(&extension(path).as_str()) {
        return Ok(true);
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(|source| DataError::read(path, source))?;
    file.take(16).read_to_end(&mut start).map_err(|source| DataError::read(path, source))?;
    Ok(image_format(&start).is_some())
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
