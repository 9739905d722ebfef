//! Targets by name: which there are, the one that is meant, and networks measured on one.

use hw_targets::library::{Origin, TargetLibrary};
use hw_targets::networks::Networks;
use hw_targets::target::Target;

use crate::error::Result;

/// One line of `ofa target list`.
#[derive(Clone, Debug)]
pub struct TargetEntry {
    /// Its name.
    pub name: String,
    /// Whether it ships or is the user's own.
    pub origin: Origin,
    /// It, or why it cannot be read.
    pub state: Result<Target, String>,
}

/// Every target that can be named. One that cannot be read is listed with the reason.
pub fn list() -> Vec<TargetEntry> {
    let library = TargetLibrary::of_user();
    let entry = |(name, origin): (String, Origin)| {
        let state = library.find(&name).map_err(|error| error.to_string());
        TargetEntry { name, origin, state }
    };
    library.names().into_iter().map(entry).collect()
}

/// The target of that name, or at that path.
///
/// # Errors
/// An unknown name, wrong content of its files.
pub fn find(name: &str) -> Result<Target> {
    Ok(TargetLibrary::of_user().find(name)?)
}

/// The target of that name, or at that path; with `extrapolate`, its fitted models answer however far outside of what they were fitted to.
///
/// # Errors
/// As [`find`].
pub fn find_reaching(name: &str, extrapolate: bool) -> Result<Target> {
    let target = find(name)?;
    Ok(if extrapolate { target.extrapolating() } else { target })
}

/// Measured networks by the name they were imported under, or by the path of their file.
///
/// # Errors
/// A file that is not there, wrong content.
pub fn networks(name: &str) -> Result<Networks> {
    Ok(TargetLibrary::of_user().networks(name)?)
}
