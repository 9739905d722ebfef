//! Files that are either the old one or the new one, whatever happens in between.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// Ending of the temporary files.
const ENDING: &str = ".tmp";
/// Random characters in the name of one.
const RANDOM: usize = 12;

/// Writes `path` through a temporary file beside it: written, synced, renamed, and the folder synced.
///
/// A kill at any moment leaves the old file whole; a failed write removes the temporary one, and what a killed one left
/// the next write of the same file removes. The temporary file has a name that nobody can foresee, is made anew, and is
/// readable as the old file was. A link is followed and stays one; a device or a pipe is written to as it is. Missing
/// parent folders are made.
///
/// # Errors
/// Whatever the operating system says, the path named in the message (`No space left on device` for a full disk).
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let name_it = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let target = followed(path).map_err(name_it)?;
    let old = fs::metadata(&target).ok();
    let written = match &old {
        Some(old) if old.is_dir() => Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder")),
        Some(old) if !old.is_file() => write_through(&target, write),
        _ => replace(&target, old.map(|old| old.permissions()), write),
    };
    written.map_err(name_it)
}

/// Where a path leads: through links, also one that leads to no file yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    /// As many as Linux follows.
    const MOST_LINKS: usize = 40;
    let mut at = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&at) {
            Ok(to) => at = at.parent().unwrap_or(Path::new("")).join(to),
            Err(_) => return Ok(at),
        }
    }
    Err(io::Error::other("its links lead to each other"))
}

/// Writes to what is no regular file.
fn write_through(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::new(OpenOptions::new().write(true).open(path)?);
    write(&mut writer)?;
    writer.flush()
}

fn replace(
    path: &Path,
    permissions: Option<Permissions>,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "names no file"))?;
    remove_leftovers(folder, name);
    // Removed when dropped before it is renamed.
    let temporary = make(folder, name)?;
    if let Some(permissions) = permissions {
        temporary.as_file().set_permissions(permissions)?;
    }
    let mut writer = BufWriter::new(temporary.as_file().try_clone()?);
    write(&mut writer)?;
    writer.flush()?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// A new file beside `name`, locked for as long as this process has it open.
fn make(folder: &Path, name: &OsStr) -> io::Result<NamedTempFile> {
    let mut prefix = name.to_os_string();
    prefix.push(".");
    let mut builder = Builder::new();
    builder.prefix(&prefix).rand_bytes(RANDOM).suffix(ENDING);
    #[cfg(unix)]
    // As other programs' files, which the user's mask narrows; a temporary file would be its maker's alone.
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(folder)?;
    // A file system without locks: then nobody can tell a leftover, and none is removed.
    let _ = file.as_file().try_lock();
    Ok(file)
}

/// Removes what killed writes of `name` left in `folder`: temporary files of it that no process has locked.
fn remove_leftovers(folder: &Path, name: &OsStr) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| is_temporary(&entry.file_name(), name)) {
        let path = entry.path();
        // To open a pipe would be to wait for its other end, and a link leads elsewhere.
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        // A moment old, it may be made and not locked yet.
        let is_old = entry
            .metadata()
            .and_then(|of| of.modified())
            .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > std::time::Duration::from_secs(1)));
        if is_old && File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Whether `file` is a temporary file of `name`, of this version or of those that put the process's number there.
fn is_temporary(file: &OsStr, name: &OsStr) -> bool {
    let middle = file.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
    let middle = middle.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(ENDING.as_bytes()));
    middle.is_some_and(|middle| !middle.is_empty() && middle.iter().all(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/file.txt");
        write_atomically(&path, |file| file.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("stop"))
        });
        assert!(failed.unwrap_err().to_string().contains("file.txt"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let error = write_atomically(path.parent().unwrap(), |file| file.write_all(b"x")).unwrap_err();
        assert!(error.to_string().ends_with("deep: is a folder"), "{error}");
    }

    #[test]
    fn what_a_killed_write_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        let names = ["a.txt.4711.tmp", "a.txt.Abc123Def456.tmp", "b.txt.4711.tmp", "a.txt.tmp", "a.txt.x y.tmp"];
        for name in names {
            fs::write(at(name), "left").unwrap();
            File::options().write(true).open(at(name)).unwrap().set_modified(old).unwrap();
        }
        let busy = File::create(at("a.txt.busy.tmp")).unwrap();
        busy.set_modified(old).unwrap();
        busy.try_lock().unwrap();
        write_atomically(&at("a.txt"), |file| file.write_all(b"new")).unwrap();
        let mut left: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["a.txt", "a.txt.busy.tmp", "a.txt.tmp", "a.txt.x y.tmp", "b.txt.4711.tmp"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_modes_and_devices_are_respected() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("deep")).unwrap();
        fs::write(at("deep/real.txt"), "old").unwrap();
        fs::set_permissions(at("deep/real.txt"), Permissions::from_mode(0o600)).unwrap();
        symlink("deep/real.txt", at("link.txt")).unwrap();
        symlink("deep/absent.txt", at("dangling.txt")).unwrap();
        write_atomically(&at("link.txt"), |file| file.write_all(b"new")).unwrap();
        write_atomically(&at("dangling.txt"), |file| file.write_all(b"made")).unwrap();
        assert!(fs::symlink_metadata(at("link.txt")).unwrap().is_symlink());
        assert_eq!(fs::read(at("deep/real.txt")).unwrap(), b"new");
        assert_eq!(fs::read(at("deep/absent.txt")).unwrap(), b"made");
        assert_eq!(fs::metadata(at("deep/real.txt")).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(at("plain.txt"), "").unwrap();
        let usual = fs::metadata(at("plain.txt")).unwrap().permissions().mode();
        assert_eq!(fs::metadata(at("deep/absent.txt")).unwrap().permissions().mode(), usual);
        // A pipe in place of a leftover: to open it would wait for ever.
        let pipe = at("plain.txt.abc.tmp");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        write_atomically(&at("plain.txt"), |file| file.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        symlink("round.txt", at("round.txt")).unwrap();
        assert!(write_atomically(&at("round.txt"), |file| file.write_all(b"x")).is_err());
        // As `--out /dev/null`, but without the rights to spoil it.
        symlink("/dev/null", at("null")).unwrap();
        write_atomically(&at("null"), |file| file.write_all(b"gone")).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
