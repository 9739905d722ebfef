//! Files of measured pairs, with the architectures that they are of.

use std::path::{Path, PathBuf};

use predictors::pairs::{self, AccuracyPair};
use search::arch::ArchSpec;
use search::space::SearchSpace;

use crate::error::{Error, Result};

/// The pairs of several files of one space, one file after the other.
///
/// # Errors
/// A file that is missing or wrong.
pub(crate) fn read_all(paths: &[PathBuf], space: &SearchSpace) -> Result<(Vec<AccuracyPair>, Vec<ArchSpec>)> {
    let (mut measured, mut archs) = (Vec::new(), Vec::new());
    for path in paths {
        let (more, more_archs) = read(path, space)?;
        measured.extend(more);
        archs.extend(more_archs);
    }
    Ok((measured, archs))
}

/// The pairs of one file.
///
/// # Errors
/// A file that is missing or wrong.
pub(crate) fn read(path: &Path, space: &SearchSpace) -> Result<(Vec<AccuracyPair>, Vec<ArchSpec>)> {
    if !path.exists() {
        return Err(Error::NotFound { path: path.to_path_buf() });
    }
    let measured = pairs::read(path)?;
    let archs = pairs::architectures(&measured, space, path)?;
    Ok((measured, archs))
}
