//! Folders of images, one subfolder per class: `train/cat/1.jpg`, `test/cat/2.png`, or the classes directly.

use std::path::{Path, PathBuf};

use super::decode::Collector;
use super::error::{DataError, Place, list_folder, read_file};

/// Files read and decoded at a time.
const FILES_AT_ONCE: usize = 256;
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// The folder of the training images: `train/` where there is one, else the folder itself.
pub(super) fn train_folder(path: &Path) -> PathBuf {
    child(path, &["train"]).unwrap_or_else(|| path.to_path_buf())
}

/// The folder of the test images, where there is one of its own.
pub(super) fn test_folder(path: &Path) -> Option<PathBuf> {
    child(path, &["test", "val", "validation"])
}

fn child(path: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| path.join(name)).find(|folder| folder.is_dir())
}

/// Names of the class folders, sorted: a class's label is its place.
pub(super) fn class_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let folders = list_folder(folder)?.into_iter().filter(|path| path.is_dir());
    let names: Vec<String> = folders.map(|path| name(&path)).filter(|name| !name.starts_with('.')).collect();
    if names.is_empty() {
        return Err(DataError::content(folder, "no class folders in it"));
    }
    Ok(names)
}

/// Appends all images below `folder`, whose class folders must be among `classes`.
pub(super) fn read(
    folder: &Path,
    classes: &[String],
    images: &mut Collector,
    labels: &mut Vec<i64>,
) -> Result<(), DataError> {
    let mut files: Vec<(PathBuf, i64)> = Vec::new();
    for class in class_names(folder)? {
        let path = folder.join(&class);
        let Some(label) = classes.iter().position(|known| *known == class) else {
            let what = format!("the training images have no class `{class}`; they have {}", classes.join(", "));
            return Err(DataError::content(path.as_path(), what));
        };
        files.extend(list_folder(&path)?.into_iter().filter(|path| is_image(path)).map(|path| (path, label as i64)));
    }
    let mut first = true;
    for chunk in files.chunks(FILES_AT_ONCE) {
        let encoded = chunk.iter().map(|(path, _)| read_file(path)).collect::<Result<Vec<_>, _>>()?;
        images.extend(&encoded, |index| Place::from(chunk[index].0.as_path()))?;
        if std::mem::take(&mut first) {
            images.reserve(files.len() - chunk.len(), &folder.into())?;
        }
        labels.extend(chunk.iter().map(|(_, label)| label));
    }
    Ok(())
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    path.is_file() && EXTENSIONS.contains(&extension.as_str()) && !name(path).starts_with('.')
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
