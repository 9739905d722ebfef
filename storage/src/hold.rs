//! Folders in which one process writes at a time.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a process that was just killed may need to let go.
const PATIENCE: Duration = Duration::from_secs(3);

/// The right to write in a folder, for as long as this value lives and its process with it.
///
/// It is a lock on the folder itself: the operating system lets go of it when the process ends, however it ends, and
/// nothing is left behind. Only others that ask for it are kept out.
#[derive(Debug)]
pub struct Hold {
    /// Absent where folders cannot be locked.
    _folder: Option<File>,
}

/// Takes `folder`, or `None` if somebody else has it, in this process or another, and keeps it for some seconds.
///
/// Where folders cannot be locked (some network file systems, other systems than Unix) everybody gets it.
///
/// # Errors
/// A folder that is not there or cannot be read.
pub fn hold(folder: &Path) -> io::Result<Option<Hold>> {
    let opened = match File::open(folder) {
        Ok(opened) => opened,
        Err(_) if cfg!(not(unix)) && folder.is_dir() => return Ok(Some(Hold { _folder: None })),
        Err(error) => return Err(error),
    };
    let started = Instant::now();
    loop {
        match opened.try_lock() {
            Ok(()) => return Ok(Some(Hold { _folder: Some(opened) })),
            Err(TryLockError::Error(_)) => return Ok(Some(Hold { _folder: None })),
            Err(TryLockError::WouldBlock) if started.elapsed() >= PATIENCE => return Ok(None),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_until_that_one_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let held = hold(folder.path()).unwrap().expect("nobody has it");
        assert!(hold(folder.path()).unwrap().is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written there");
        // Whoever lets go soon is waited for.
        let soon = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(held);
        });
        assert!(hold(folder.path()).unwrap().is_some());
        soon.join().unwrap();
        assert!(hold(&folder.path().join("absent")).is_err());
    }
}
