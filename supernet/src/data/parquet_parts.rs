//! Which files of a folder of Parquet files belong to which part, in the layouts that hubs use.
//!
//! `train.parquet`, `train-00000-of-00002.parquet` and so on, in the folder itself, in `data` or `default` below it, or in
//! the only folder that is there; or `train/0000.parquet`.

use std::path::{Path, PathBuf};

use super::error::{DataError, list_folder};
use super::part::Part;

/// Folders below a set's own that hubs put its files in.
const BELOW: [&str; 3] = ["data", "default", "plain_text"];

/// Beginnings of names, the first of which that any file has being the one that counts.
fn prefixes(part: Part) -> &'static [&'static str] {
    match part {
        Part::Train => &["train"],
        Part::Test => &["test", "validation", "val"],
    }
}

/// The files of a part, sorted: the one file whatever the part, or those of the folder that begin with its name.
///
/// # Errors
/// A folder that cannot be read or holds none.
pub(super) fn files(path: &Path, part: Part) -> Result<Vec<PathBuf>, DataError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let files = of_part(path, part)?;
    if files.is_empty() {
        let names: Vec<String> = prefixes(part).iter().map(|prefix| format!("{prefix}*.parquet")).collect();
        return Err(DataError::NoPart { path: path.to_path_buf(), part: part.name(), looked_for: names.join(", ") });
    }
    Ok(files)
}

/// Whether a folder has files of the part.
///
/// # Errors
/// A folder that cannot be read.
pub(super) fn exists(path: &Path, part: Part) -> Result<bool, DataError> {
    Ok(path.is_dir() && !of_part(path, part)?.is_empty())
}

/// Those of the first place where any part is.
fn of_part(path: &Path, part: Part) -> Result<Vec<PathBuf>, DataError> {
    let below = folders(path)?;
    let usual = BELOW.iter().map(|name| path.join(name)).filter(|path| path.is_dir());
    let only = below.first().filter(|_| below.len() == 1).cloned();
    for place in std::iter::once(path.to_path_buf()).chain(usual).chain(only) {
        let (train, test) = (within(&place, Part::Train)?, within(&place, Part::Test)?);
        if !(train.is_empty() && test.is_empty()) {
            return Ok(if part == Part::Train { train } else { test });
        }
    }
    Ok(Vec::new())
}

/// Files of the part in `place` or in folders there that are called like it.
fn within(place: &Path, part: Part) -> Result<Vec<PathBuf>, DataError> {
    let files: Vec<PathBuf> = list_folder(place)?;
    let below = folders(place)?;
    for prefix in prefixes(part) {
        let own = |path: &&PathBuf| is_parquet(path) && name(path).starts_with(prefix);
        let mut found: Vec<PathBuf> = files.iter().filter(own).cloned().collect();
        if found.is_empty() {
            for folder in below.iter().filter(|folder| name(folder).starts_with(prefix)) {
                found.extend(list_folder(folder)?.into_iter().filter(|path| is_parquet(path)));
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(list_folder(path)?.into_iter().filter(|path| path.is_dir() && !name(path).starts_with('.')).collect())
}

fn is_parquet(path: &Path) -> bool {
    name(path).ends_with(".parquet")
}

/// In small letters.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    /// Files of both parts, of a folder that holds `all`.
    fn parts(all: &[&str]) -> [Vec<String>; 2] {
        let folder = tempdir().unwrap();
        for file in all {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        [Part::Train, Part::Test].map(|part| {
            let files = of_part(folder.path(), part).unwrap();
            assert_eq!(exists(folder.path(), part).unwrap(), !files.is_empty());
            let within = |path: &PathBuf| path.strip_prefix(folder.path()).unwrap().to_string_lossy().into_owned();
            files.iter().map(within).collect()
        })
    }

    #[test]
    fn parts_are_found_where_hubs_put_them() {
        assert_eq!(
            parts(&["train-1.parquet", "train-0.parquet", "val.parquet", "README.md"]),
            [vec!["train-0.parquet".to_owned(), "train-1.parquet".to_owned()], vec!["val.parquet".to_owned()]]
        );
        for folder in ["data", "plain_text", "cropped_digits"] {
            let of = |file: &str| format!("{folder}/{file}");
            let [train, test] = [of("train-00000-of-00001.parquet"), of("test-00000-of-00001.parquet")];
            let also = of("validation-00000-of-00001.parquet");
            assert_eq!(
                parts(&[&train, &test, &also, ".git/x", "README.md"]),
                [vec![train.clone()], vec![test.clone()]]
            );
        }
        let nested = ["default/train/0000.parquet", "default/train/0001.parquet", "default/validation/0000.parquet"];
        assert_eq!(parts(&nested), [vec![nested[0].to_owned(), nested[1].to_owned()], vec![nested[2].to_owned()]]);
        assert_eq!(parts(&["a/train.parquet", "b/train.parquet"]), [Vec::<String>::new(), Vec::new()]);
    }
}
