//! Folders that results are written into: what an earlier result left there goes before anything new is written, and
//! the file that says what a folder holds is written last. So a kill at any moment leaves files of one result, never of
//! two.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use storage::hold::{Hold, hold};

use crate::error::{Error, Result, Within};
use crate::folders::names;

/// What a deployed network may consist of; `network.json`, which says what the folder holds, goes first.
pub(crate) const DEPLOYMENT: [&str; 8] = [
    names::NETWORK,
    names::SUBNET,
    names::TORCHSCRIPT,
    names::WEIGHTS,
    names::PARENT,
    names::STATISTICS,
    names::SPACE,
    names::PREPROCESSING,
];
/// What a search writes beside a network; `result.json`, which says what was found, goes first. `history.parquet` is written
/// over instead: it is there from a search's first file to its last, and says that the folder is a search's.
pub(crate) const SEARCH: [&str; 2] = [names::RESULT, names::TOP];

/// Removes the files `names` from `folder`, in this order; others stay.
///
/// # Errors
/// [`Error::Write`].
pub(crate) fn clear(folder: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let source = io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                return Err(Error::Write { source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses a folder for a search whose files a search did not write: a network of another origin would be lost, too.
///
/// # Errors
/// [`Error::KeepsOthers`].
pub(crate) fn check_search(folder: &Path) -> Result<()> {
    check(folder)?;
    let is_mine =
        [names::RESULT, names::HISTORY, names::SEARCH_JOURNAL].into_iter().any(|name| folder.join(name).exists());
    match DEPLOYMENT.into_iter().map(|name| folder.join(name)).find(|path| !is_mine && path.exists()) {
        Some(found) => Err(Error::KeepsOthers { path: folder.to_path_buf(), found }),
        None => Ok(()),
    }
}

/// Refuses a folder whose files are not a result's: those of a bundle or of a run of training would be lost.
///
/// # Errors
/// [`Error::KeepsOthers`].
pub(crate) fn check(folder: &Path) -> Result<()> {
    let others = [names::SUPERNET, names::RECIPE, names::CHECKPOINTS, names::PREDICTOR];
    match others.into_iter().map(|name| folder.join(name)).find(|path: &PathBuf| path.exists()) {
        Some(found) => Err(Error::KeepsOthers { path: folder.to_path_buf(), found }),
        None => Ok(()),
    }
}

/// Refuses a folder for a run that holds a bundle or a network, whose files a run would replace.
///
/// # Errors
/// [`Error::KeepsOthers`].
#[cfg(feature = "torch")]
pub(crate) fn check_run(folder: &Path) -> Result<()> {
    let others = [names::SUPERNET, names::PREDICTOR, names::NETWORK];
    match others.into_iter().map(|name| folder.join(name)).find(|path: &PathBuf| path.is_file()) {
        Some(found) => Err(Error::KeepsOthers { path: folder.to_path_buf(), found }),
        None => Ok(()),
    }
}

/// The right to write in `folder`, which is there, for as long as it lives.
///
/// # Errors
/// [`Error::Busy`]; a folder that cannot be read.
pub(crate) fn held(folder: &Path) -> Result<Hold> {
    let held = hold(folder).within(|| format!("folder {}", folder.display()))?;
    held.ok_or_else(|| Error::Busy { path: folder.to_path_buf() })
}

/// A folder that results are written into, by this process alone.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Those that were made, the innermost first.
    made: Vec<PathBuf>,
    _held: Hold,
}

impl Begun {
    /// Makes `folder` if it is not there, and takes it.
    ///
    /// # Errors
    /// A folder that cannot be made; as [`held`].
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let made = folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let made: Vec<PathBuf> = made.map(Path::to_path_buf).collect();
        if folder.ancestors().any(|path| path.is_file()) {
            return Err(Error::NotAFolder { path: folder.to_path_buf() });
        }
        fs::create_dir_all(folder).within(|| format!("folder {}", folder.display()))?;
        Ok(Self { made, _held: held(folder)? })
    }
}

impl Drop for Begun {
    /// Folders that were made for nothing go.
    fn drop(&mut self) {
        for folder in &self.made {
            // Refused for folders that hold something.
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_result_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [names::NETWORK, names::TORCHSCRIPT, names::RESULT, "notes.txt"] {
            fs::write(at(name), "x").unwrap();
        }
        clear(folder.path(), &DEPLOYMENT).unwrap();
        assert!(!at(names::NETWORK).exists() && !at(names::TORCHSCRIPT).exists());
        assert!(at(names::RESULT).exists() && at("notes.txt").exists());
        clear(&at("absent"), &SEARCH).unwrap();
        fs::create_dir(at(names::TOP)).unwrap();
        assert!(matches!(clear(folder.path(), &SEARCH), Err(Error::Write { .. })), "a folder of that name");
    }

    #[test]
    fn a_folder_that_is_begun_for_nothing_goes() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("some/where/new");
        drop(Begun::new(&new).unwrap());
        drop(Begun::new(folder.path()).unwrap());
        assert!(!folder.path().join("some").exists() && folder.path().exists());
        let begun = Begun::new(&new).unwrap();
        assert!(matches!(Begun::new(&new), Err(Error::Busy { .. })));
        fs::write(new.join(names::RESULT), "x").unwrap();
        drop(begun);
        assert!(new.exists());
        assert!(matches!(Begun::new(&new.join(names::RESULT).join("below")), Err(Error::NotAFolder { .. })));
    }

    #[test]
    fn a_search_writes_over_a_search_and_over_no_other_network() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        check_search(folder.path()).unwrap();
        fs::write(at(names::WEIGHTS), "x").unwrap();
        assert!(
            matches!(check_search(folder.path()), Err(Error::KeepsOthers { found, .. }) if found == at(names::WEIGHTS))
        );
        // As a search leaves it, and as one that was killed while it wrote does.
        for mine in [names::RESULT, names::HISTORY, names::SEARCH_JOURNAL] {
            fs::write(at(mine), "x").unwrap();
            check_search(folder.path()).unwrap();
            fs::remove_file(at(mine)).unwrap();
        }
    }

    #[test]
    fn a_bundle_is_no_place_for_a_result() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        fs::write(folder.path().join(names::RECIPE), "x").unwrap();
        assert!(matches!(check(folder.path()), Err(Error::KeepsOthers { .. })));
    }
}
