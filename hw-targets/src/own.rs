//! What a user does with targets of their own besides making them: see what a name holds, remove it, rename it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::HwError;
use crate::library::{Origin, TargetLibrary};
use network::units::Measured;
use storage::file::FileError;
use storage::names::nearest;

/// What happens to the user's own target or networks of the name that new ones are kept under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// They stay, and nothing is kept.
    #[default]
    Stays,
    /// They are replaced.
    Replaced,
}

impl TargetLibrary {
    /// What the user keeps under `name`, in words; `None` if nothing.
    pub fn holds(&self, name: &str) -> Option<String> {
        let target = self.target_folder(name).filter(|folder| folder.is_dir());
        let networks = self.networks_file(name).filter(|file| file.is_file());
        let mut parts = Vec::new();
        if target.is_some() && self.is_own(name) {
            parts.push(self.target_in_words(name));
        }
        parts.extend(networks.map(|_| "measured networks".to_string()));
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn is_own(&self, name: &str) -> bool {
        self.names().iter().any(|(own, origin)| own == name && matches!(origin, Origin::Own(_)))
    }

    fn target_in_words(&self, name: &str) -> String {
        let Ok(target) = self.find(name) else { return "a target that cannot be read".to_string() };
        let mut parts: Vec<String> =
            target.table().map(|table| format!("a table of {} operators", table.rows().len())).into_iter().collect();
        for quantity in [Measured::Latency, Measured::Energy] {
            let Some(entry) = target.manifest().entry(quantity) else { continue };
            let is_fitted = entry.fitted.is_some() || entry.network_fit.is_some() || entry.per_mac.is_some();
            parts.extend(is_fitted.then(|| format!("a fitted model of {quantity}")));
            let corrected = |networks| format!("a correction of {quantity} on {networks} networks");
            parts.extend(entry.correction.map(|correction| corrected(correction.networks)));
        }
        if parts.is_empty() { "what it states".to_string() } else { parts.join(", ") }
    }

    /// Whether something new may be kept under `name`.
    ///
    /// # Errors
    /// [`HwError::NameTaken`] where the user has a target of that name, and `existing` stays.
    pub fn check_free(&self, name: &str, existing: Existing) -> Result<(), HwError> {
        match self.holds(name).filter(|_| existing == Existing::Stays) {
            Some(holds) => Err(HwError::NameTaken { name: name.to_string(), holds, renamed: false }),
            None => Ok(()),
        }
    }

    /// Removes the user's own target `name` and networks of that name; what it held, in words.
    ///
    /// # Errors
    /// [`HwError::Shipped`], [`HwError::NotOwn`], [`FileError::Io`].
    pub fn remove(&self, name: &str) -> Result<String, HwError> {
        let holds = self.held(name)?;
        let folder = self.target_folder(name).map(|folder| gone(&folder, fs::remove_dir_all(&folder)));
        folder.transpose()?;
        let file = self.networks_file(name).map(|file| gone(&file, fs::remove_file(&file)));
        file.transpose()?;
        Ok(holds)
    }

    /// Gives the user's own target `old` and networks of that name the name `new`; what it holds, in words.
    ///
    /// # Errors
    /// As [`TargetLibrary::remove`] for `old`, and [`HwError::NameTaken`], [`HwError::BadName`] for `new`.
    pub fn rename(&self, old: &str, new: &str) -> Result<String, HwError> {
        let holds = self.held(old)?;
        let name = new.to_string();
        if crate::library::is_shipped(new) {
            return Err(HwError::ReservedName { name, renamed: true });
        }
        self.own_folder(new)?;
        if let Some(holds) = self.holds(new) {
            return Err(HwError::NameTaken { name, holds, renamed: true });
        }
        // The networks have both names until the target has moved, so that a kill leaves all under one of them.
        let networks = self.networks_file(old).zip(self.networks_file(new));
        if let Some((from, to)) = &networks {
            gone(from, fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop)))?;
        }
        if let (Some(from), Some(to)) = (self.target_folder(old), self.target_folder(new)) {
            gone(&from, fs::rename(&from, &to))?;
        }
        if let Some((from, _)) = &networks {
            gone(from, fs::remove_file(from))?;
        }
        Ok(holds)
    }

    fn held(&self, name: &str) -> Result<String, HwError> {
        if crate::library::is_shipped(name) {
            return Err(HwError::Shipped { name: name.to_string() });
        }
        self.holds(name).ok_or_else(|| {
            let own: Vec<String> =
                self.names().into_iter().filter(|(_, from)| *from != Origin::Shipped).map(|own| own.0).collect();
            let nearest = nearest(name, own.iter().map(String::as_str));
            HwError::NotOwn { name: name.to_string(), nearest }
        })
    }
}

/// What was not there need not go.
fn gone(path: &Path, result: std::io::Result<()>) -> Result<(), HwError> {
    match result {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(FileError::io(path, source).into()),
        _ => Ok(()),
    }
}
