//! Targets of the user's own: tables added, measurements imported, corrections kept.

use std::path::Path;

use hw_targets::import::Format;
use hw_targets::library::{Kept, TargetLibrary};
use hw_targets::manifest::Correction;
use hw_targets::target::Target;
use network::units::Measured;

use crate::error::{Error, Result};

/// Keeps a table as the user's own target.
///
/// # Errors
/// A reserved or impossible name, wrong content (nothing is written then), a folder that cannot be written.
pub fn add(table: &Path, name: &str, manifest: Option<&Path>) -> Result<Target> {
    for path in [Some(table), manifest].into_iter().flatten() {
        require_file(path)?;
    }
    Ok(TargetLibrary::of_user().add(table, name, manifest)?)
}

/// Keeps measurements of a foreign format as the user's own target, or whole networks as a file of networks; where a
/// format holds several devices, `device` chooses.
///
/// # Errors
/// As [`add`]; an unknown format or device.
pub fn import(format: &str, path: &Path, device: Option<&str>, name: &str) -> Result<Kept> {
    let format = Format::parse(format)?;
    require_file(path)?;
    Ok(TargetLibrary::of_user().import(format, path, device, name)?)
}

/// Keeps `target` with corrections as the user's own target `name`.
///
/// # Errors
/// An impossible name, a folder that cannot be written.
pub fn keep_corrected(target: &Target, name: &str, corrections: &[(Measured, Correction)]) -> Result<Target> {
    Ok(TargetLibrary::of_user().keep_corrected(target, name, corrections)?)
}

fn require_file(path: &Path) -> Result<(), Error> {
    if path.exists() { Ok(()) } else { Err(Error::NotFound { path: path.to_path_buf() }) }
}
