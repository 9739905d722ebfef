//! Targets by name: which there are, the one that is meant, and networks measured on one.

use hw_targets::library::{Origin, TargetLibrary};
use hw_targets::networks::Networks;
use hw_targets::target::Target;

use crate::error::{Error, Result};

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

/// One plain folder name for each of `targets`: the target's own name, without what would lead elsewhere.
///
/// # Errors
/// [`Error::SameTarget`] where two would share a folder. What is no target at all keeps the name it was given.
pub fn folder_names(targets: &[String]) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::with_capacity(targets.len());
    for target in targets {
        let name = plain(find(target).as_ref().map_or(target.as_str(), Target::name));
        if let Some(first) = names.iter().position(|other| *other == name) {
            return Err(Error::SameTarget { a: targets[first].clone(), b: target.clone(), name });
        }
        names.push(name);
    }
    Ok(names)
}

fn plain(name: &str) -> String {
    let letter = |letter: char| if letter.is_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    let name: String = name.chars().map(letter).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "target".to_owned() } else { name.to_owned() }
}

/// Measured networks by the name they were imported under, or by the path of their file.
///
/// # Errors
/// A file that is not there, wrong content.
pub fn networks(name: &str) -> Result<Networks> {
    Ok(TargetLibrary::of_user().networks(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_a_folder_of_its_own_inside() {
        let names = |targets: &[&str]| folder_names(&targets.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(names(&["pixel3", "../absent", "..", "a/b c"]).unwrap(), ["pixel3", "-absent", "target", "a-b-c"]);
        assert!(matches!(names(&["pixel3", "note10", "pixel3"]), Err(Error::SameTarget { .. })));
        assert!(matches!(names(&["x/y", "x-y"]), Err(Error::SameTarget { .. })));
    }
}
