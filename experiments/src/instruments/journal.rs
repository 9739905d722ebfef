//! The visits so far, a line each, so that a killed run goes on where it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use storage::atomic::write_atomically;

use crate::error::{Error, Result};
use crate::instruments::result::Visit;

/// An open journal.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens or begins the journal of measurements that `header` describes, and returns the visits in it to works below
    /// `works`. A line that a kill cut off is dropped.
    pub(super) fn open(path: &Path, header: &str, works: usize) -> Result<(Journal, Vec<(usize, Visit)>)> {
        let first = json!({"schema": "ofa.timing/1", "of": header}).to_string();
        let mut known = Vec::new();
        let mut kept = format!("{first}\n");
        match fs::read_to_string(path) {
            Ok(text) => {
                let mut lines = text.lines();
                // An empty file is what a kill before the first line leaves.
                if lines.next().is_some_and(|line| line != first) {
                    return Err(Error::OtherMeasurements { path: path.to_path_buf() });
                }
                for line in lines {
                    let Some((work, visit)) = parse(line).filter(|(work, _)| *work < works) else { break };
                    known.push((work, visit));
                    kept.push_str(line);
                    kept.push('\n');
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Read { path: path.to_path_buf(), source }),
        }
        let written = write_atomically(path, |file| file.write_all(kept.as_bytes()));
        written.map_err(|source| Error::Write { source })?;
        let file = OpenOptions::new().append(true).open(path).map_err(|source| cannot_write(path, &source))?;
        Ok((Journal { file, path: path.to_path_buf() }, known))
    }

    pub(super) fn add(&mut self, work: usize, visit: Visit) -> Result<()> {
        let Visit { seconds, runs, joules } = visit;
        // As text: a JSON reader may round a number's last bit, and a resumed measurement is to end as an undisturbed one.
        let joules = joules.map(|joules| joules.to_string());
        let line = json!({"work": work, "seconds": seconds.to_string(), "runs": runs, "joules": joules});
        writeln!(self.file, "{line}").map_err(|source| cannot_write(&self.path, &source))
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|source| cannot_write(&self.path, &source))
    }
}

fn cannot_write(path: &Path, source: &io::Error) -> Error {
    Error::Write { source: io::Error::new(source.kind(), format!("{}: {source}", path.display())) }
}

fn parse(line: &str) -> Option<(usize, Visit)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let work = usize::try_from(value["work"].as_u64()?).ok()?;
    let number = |name: &str| value[name].as_str()?.parse::<f64>().ok();
    let seconds = number("seconds").filter(|seconds| *seconds > 0.0)?;
    Some((work, Visit { seconds, runs: value["runs"].as_u64()?, joules: number("joules") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_gives_back_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        // A number that serde_json reads one bit off.
        let visit = |seconds| Visit { seconds, runs: 3, joules: Some(seconds / 3.0) };
        let visits: Vec<Visit> = (0..500).map(|at| visit(0.000_379_884_000_000_000_04 + f64::from(at) / 7e6)).collect();
        let (mut journal, _) = Journal::open(&path, "a", 1).unwrap();
        visits.iter().for_each(|&visit| journal.add(0, visit).unwrap());
        let known = Journal::open(&path, "a", 1).unwrap().1;
        assert!(known.iter().map(|(_, visit)| *visit).eq(visits));
    }
}
