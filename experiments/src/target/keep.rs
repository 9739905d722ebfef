//! Targets of the user's own: tables added, measurements imported, corrections kept.

use std::path::Path;

use hw_targets::import::Format;
use hw_targets::library::{Kept, TargetLibrary};
use hw_targets::manifest::Correction;
use hw_targets::own::Existing;
use hw_targets::target::Target;
use network::units::Measured;

use crate::error::{Error, Result};

/// Keeps a table as the user's own target.
///
/// # Errors
/// A reserved or impossible name, wrong content (nothing is written then), a folder that cannot be written.
pub fn add(table: &Path, name: &str, manifest: Option<&Path>, existing: Existing) -> Result<Target> {
    for path in [Some(table), manifest].into_iter().flatten() {
        require_file(path)?;
    }
    Ok(library_for(name, existing)?.add(table, name, manifest)?)
}

/// Keeps measurements of a foreign format as the user's own target, or whole networks as a file of networks; where a
/// format holds several devices, `device` chooses.
///
/// # Errors
/// As [`add`]; an unknown format or device.
pub fn import(format: &str, path: &Path, device: Option<&str>, name: &str, existing: Existing) -> Result<Kept> {
    let format = Format::parse(format)?;
    require_file(path)?;
    Ok(library_for(name, existing)?.import(format, path, device, name)?)
}

/// Keeps `target` with corrections as the user's own target `name`.
///
/// # Errors
/// An impossible name, a folder that cannot be written.
pub fn keep_corrected(
    target: &Target,
    name: &str,
    corrections: &[(Measured, Correction)],
    existing: Existing,
) -> Result<Target> {
    Ok(library_for(name, existing)?.keep_corrected(target, name, corrections)?)
}

/// Whether something new may be kept under `name`.
///
/// # Errors
/// A name that is taken, where `existing` stays.
pub fn check_free(name: &str, existing: Existing) -> Result<()> {
    library_for(name, existing).map(drop)
}

/// What the user keeps under `name`, in words.
pub fn holds(name: &str) -> Option<String> {
    TargetLibrary::of_user().holds(name)
}

/// Removes the user's own target `name`; what it held, in words.
///
/// # Errors
/// A shipped target, a name that the user has not.
pub fn remove(name: &str) -> Result<String> {
    Ok(TargetLibrary::of_user().remove(name)?)
}

/// Renames the user's own target `old`; what it holds, in words.
///
/// # Errors
/// As [`remove`]; a new name that is taken or impossible.
pub fn rename(old: &str, new: &str) -> Result<String> {
    Ok(TargetLibrary::of_user().rename(old, new)?)
}

/// The user's library, if something new may be kept there under `name`.
pub(super) fn library_for(name: &str, existing: Existing) -> Result<TargetLibrary> {
    let library = TargetLibrary::of_user();
    library.check_free(name, existing)?;
    Ok(library)
}

fn require_file(path: &Path) -> Result<(), Error> {
    if path.exists() { Ok(()) } else { Err(Error::NotFound { path: path.to_path_buf() }) }
}
