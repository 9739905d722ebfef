//! Published values and measurements that tests compare with: not part of the project, and not on every machine.
//!
//! They are looked for in the folder `OFA_SHARED`, else in `shared` beside the repository. A test without its data passes,
//! but not unseen: it says so, adds its name to the file `OFA_SKIPPED` (`scripts/test` counts them), and fails where
//! `OFA_REQUIRE_SHARED` is 1.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file or folder at `path` inside the shared data, or `None` with a visible word.
///
/// # Panics
/// If it is not there and `OFA_REQUIRE_SHARED` is 1.
pub fn file(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let found = std::env::var_os("OFA_SHARED").map_or_else(beside, PathBuf::from).join(path);
    if found.exists() {
        return Some(found);
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(
        std::env::var("OFA_REQUIRE_SHARED").map_or(true, |required| required != "1"),
        "{test} needs {}, and OFA_REQUIRE_SHARED is 1",
        found.display()
    );
    println!("SKIPPED: there is no {}; set OFA_SHARED", found.display());
    if let Some(list) = std::env::var_os("OFA_SKIPPED") {
        let file = OpenOptions::new().create(true).append(true).open(list);
        // One write, so that lines of several processes do not mix.
        let _ = file.and_then(|mut file| file.write_all(format!("{test}\n").as_bytes()));
    }
    None
}
