//! Who computes a point, where several processes share a folder, also over a network.
//!
//! A claim is a file that is made only if it is not there (`O_EXCL`, which network file systems keep, too), named by the
//! point and a number. Whoever holds the highest number holds the point. A claim whose process is dead, or on another
//! machine has not touched it for a minute, is superseded by one with the next number, which again only one process can
//! make.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

/// How often the holder touches its claims.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(10);
/// After how long without a touch the holder of a claim on another machine is taken for dead.
const DEAD: Duration = Duration::from_secs(60);

/// After how long a claim that does not say whose it is counts no more.
const NAMELESS: Duration = Duration::from_secs(5);

/// The right to compute a point.
#[derive(Debug)]
pub(crate) struct Claim {
    folder: PathBuf,
    key: String,
    path: PathBuf,
}

/// Takes the point `key`, unless somebody who lives has it.
///
/// # Errors
/// A folder that cannot be read or written.
pub(crate) fn take(folder: &Path, key: &str) -> io::Result<Option<Claim>> {
    let newest = all_of(folder, key)?.into_iter().max();
    let number = match newest {
        Some(number) if lives(folder, &path_of(folder, key, number))? => return Ok(None),
        Some(number) => number + 1,
        None => 0,
    };
    let path = path_of(folder, key, number);
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => {
            file.write_all(me().to_string().as_bytes())?;
            Ok(Some(Claim { folder: folder.to_path_buf(), key: key.to_owned(), path }))
        }
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the claims that dead processes left on points of which `is_done` says that nothing is to be computed: killed
/// between a record and the release of its claim, a process leaves one that nobody takes any more.
///
/// # Errors
/// A folder that cannot be read or written.
pub(crate) fn clear(folder: &Path, is_done: impl Fn(&str) -> bool) -> io::Result<()> {
    let mut keys = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        keys.extend(name.to_str().and_then(|name| name.rsplit_once('.')).map(|(key, _)| key.to_owned()));
    }
    for key in keys {
        if is_done(&key)
            && let Some(claim) = take(folder, &key)?
        {
            claim.release();
        }
    }
    Ok(())
}

impl Claim {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the point back: it is computed, or will not be.
    pub(crate) fn release(self) {
        // The newest goes last, so that no older one is ever the newest.
        let mut numbers = all_of(&self.folder, &self.key).unwrap_or_default();
        numbers.sort_unstable();
        for number in numbers {
            let _ = fs::remove_file(path_of(&self.folder, &self.key, number));
        }
    }
}

/// Does `work` while the claim is touched, so that nobody takes it over.
pub(crate) fn keep<T>(claim: &Claim, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let heart = scope.spawn(|| {
            let mut last = Instant::now();
            while !is_over.load(Ordering::Relaxed) {
                std::thread::park_timeout(HEARTBEAT);
                if last.elapsed() >= HEARTBEAT {
                    last = Instant::now();
                    touch(claim.path());
                }
            }
        });
        // A panic must end the heart, too: the point is free for others then.
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        is_over.store(true, Ordering::Relaxed);
        heart.thread().unpark();
        made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Says that the holder of the claim at `path` lives.
pub(crate) fn touch(path: &Path) {
    if let Ok(file) = File::options().append(true).open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

fn path_of(folder: &Path, key: &str, number: u64) -> PathBuf {
    folder.join(format!("{key}.{number}"))
}

/// Numbers of all claims of a point. Only points under way have some, so the folder holds few.
fn all_of(folder: &Path, key: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(key)?.strip_prefix('.')?.parse::<u64>().ok());
        numbers.extend(number);
    }
    Ok(numbers)
}

/// This process, so that nobody takes another one with its number for it.
fn me() -> Value {
    let id = std::process::id();
    json!({"host": host(), "pid": id, "started": started(id)})
}

fn host() -> String {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    // Two containers may have one name, and one machine two boots.
    format!(
        "{} {}",
        read("/proc/sys/kernel/hostname").unwrap_or_default(),
        read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
    )
}

/// When the process began, in ticks since the machine did; nothing if it is dead.
fn started(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; the state is the first field behind it, the start the twentieth.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18).map(str::to_owned),
    }
}

fn lives(folder: &Path, path: &Path) -> io::Result<bool> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        // It was given back in this moment: the next attempt will see.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let Ok(holder) = serde_json::from_str::<Value>(&text) else {
        // Who made it was killed before it said who it is, or is about to say.
        return Ok(age(folder, path)? < NAMELESS);
    };
    let is_here = holder["host"].as_str() == Some(host().as_str());
    match (is_here && cfg!(target_os = "linux"), holder["pid"].as_u64()) {
        (true, Some(pid)) => {
            let now = u32::try_from(pid).ok().and_then(started);
            Ok(now.is_some() && now.as_deref() == holder["started"].as_str())
        }
        _ => Ok(age(folder, path)? < DEAD),
    }
}

/// How long ago a claim was touched, by the clock of the file system.
fn age(folder: &Path, path: &Path) -> io::Result<Duration> {
    let clock = tempfile::NamedTempFile::new_in(folder)?;
    let now = clock.as_file().metadata()?.modified()?;
    Ok(now.duration_since(fs::metadata(path)?.modified()?).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_takes_a_point_and_a_dead_one_loses_it() {
        let folder = tempfile::tempdir().unwrap();
        let claim = take(folder.path(), "a").unwrap().unwrap();
        assert!(take(folder.path(), "a").unwrap().is_none(), "it lives");
        assert!(take(folder.path(), "b").unwrap().is_some(), "another point");
        claim.release();
        let again = take(folder.path(), "a").unwrap().unwrap();
        // A process that ended, with a number that this one could have.
        let dead = json!({"host": host(), "pid": std::process::id(), "started": "1"}).to_string();
        fs::write(again.path(), dead).unwrap();
        let taken = take(folder.path(), "a").unwrap().unwrap();
        assert!(taken.path().to_string_lossy().ends_with("a.1"));
        assert!(take(folder.path(), "a").unwrap().is_none());
        taken.release();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "b's");
    }

    #[test]
    fn claims_of_the_dead_on_what_is_done_go_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let dead = json!({"host": host(), "pid": 1, "started": "never"}).to_string();
        for name in ["done.0", "done.1", "open.0", "alive.0"] {
            fs::write(folder.path().join(name), &dead).unwrap();
        }
        let alive = take(folder.path(), "alive").unwrap().unwrap();
        clear(folder.path(), |key| key != "open").unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["alive.0", "alive.1", "open.0"]);
        alive.release();
        clear(folder.path(), |_| true).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_claim_of_another_machine_counts_while_it_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let claim = take(folder.path(), "a").unwrap().unwrap();
        fs::write(claim.path(), json!({"host": "elsewhere", "pid": 1, "started": "1"}).to_string()).unwrap();
        assert!(take(folder.path(), "a").unwrap().is_none());
        let file = File::options().append(true).open(claim.path()).unwrap();
        file.set_modified(SystemTime::now() - 2 * DEAD).unwrap();
        touch(claim.path());
        assert!(take(folder.path(), "a").unwrap().is_none(), "touched");
        file.set_modified(SystemTime::now() - 2 * DEAD).unwrap();
        assert!(take(folder.path(), "a").unwrap().is_some(), "dead");
    }

    #[test]
    fn a_claim_that_says_nothing_counts_for_some_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let claim = take(folder.path(), "a").unwrap().unwrap();
        fs::write(claim.path(), "").unwrap();
        assert!(take(folder.path(), "a").unwrap().is_none());
        let file = File::options().append(true).open(claim.path()).unwrap();
        file.set_modified(SystemTime::now() - 2 * NAMELESS).unwrap();
        assert!(take(folder.path(), "a").unwrap().is_some());
    }

    #[test]
    fn of_many_that_find_a_dead_holder_one_takes_over() {
        let folder = tempfile::tempdir().unwrap();
        let claim = take(folder.path(), "a").unwrap().unwrap();
        fs::write(claim.path(), json!({"host": host(), "pid": 1, "started": "never"}).to_string()).unwrap();
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| take(folder.path(), "a").unwrap().is_some())).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|taken| *taken).count()
        });
        assert_eq!(taken, 1);
    }
}
