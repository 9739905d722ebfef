//! What the tests of this workshop share.

use std::path::PathBuf;

/// The folder with published measurements and golden values, or a visible word that it is not there.
pub(crate) fn shared() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("OFA_SHARED").map_or(beside, PathBuf::from);
    if folder.join("data/hw").is_dir() {
        return Some(folder);
    }
    println!("SKIPPED: there is no shared data in {}; set OFA_SHARED", folder.display());
    None
}
