//! The record of a stage: what it depended on, what it made, and how long it took.
//!
//! A record lies in `stages/NAME.json`. It is written when a stage begins and again when it ends, so that what a kill left
//! is gone on with where it belongs to the same inputs, and thrown away where it does not.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::atomic::write_atomically;
use storage::digest::{Digest, Digester};

use crate::error::{Error, Result};

const SCHEMA: &str = "ofa.stage/1";
/// The folder of the records.
pub const RECORDS: &str = "stages";

/// What a stage depends on: a word for each, and its value or digest.
pub type Inputs = BTreeMap<String, String>;

/// A record of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    schema: String,
    /// Whether it ended.
    pub done: bool,
    /// What it depends on.
    pub inputs: Inputs,
    /// Digest of each file that it made, by its path in the folder.
    pub outputs: BTreeMap<String, String>,
    /// What came out, in a few words.
    pub said: String,
    /// What came out, for the stages after it.
    pub facts: Value,
    /// How long it took.
    pub seconds: f64,
}

impl Record {
    /// Of all that it made.
    pub fn digest(&self) -> String {
        let facts = Digester::new("stage").text(&self.facts.to_string());
        self.outputs.iter().fold(facts, |all, (path, digest)| all.text(path).text(digest)).finish().to_string()
    }
}

/// How a stage stands before it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It ended, and nothing changed since.
    Found(Box<Record>),
    /// It was begun with these inputs, and is gone on with.
    Begun,
    /// It never ran.
    New,
    /// It ran with something else, which is named: `model`, or `predictor.safetensors is gone`.
    Again(Vec<String>),
}

/// What a stage made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    /// Files, by their path in the folder.
    pub outputs: Vec<String>,
    /// A few words.
    pub said: String,
    /// For the stages after it.
    pub facts: Value,
}

/// The records in a folder.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// Of the build in `folder`.
    pub fn of(folder: &Path) -> Records {
        Records { folder: folder.to_path_buf() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(RECORDS).join(format!("{name}.json"))
    }

    /// The record of that name; one that is damaged is none.
    pub fn read(&self, name: &str) -> Option<Record> {
        let record: Record = serde_json::from_slice(&fs::read(self.path(name)).ok()?).ok()?;
        (record.schema == SCHEMA).then_some(record)
    }

    /// How the stage of that name stands if it depends on `inputs`.
    pub fn state(&self, name: &str, inputs: &Inputs) -> State {
        let Some(record) = self.read(name) else { return State::New };
        let changed = |(word, value): &(&String, &String)| record.inputs.get(*word) != Some(*value);
        let mut changes: Vec<String> =
            inputs.iter().filter(changed).map(|(word, _)| format!("{word} changed")).collect();
        let dropped = record.inputs.keys().filter(|word| !inputs.contains_key(*word));
        changes.extend(dropped.map(|word| format!("{word} is no more asked for")));
        if !changes.is_empty() {
            return State::Again(changes);
        }
        if !record.done {
            return State::Begun;
        }
        let problem = |(path, digest): (&String, &String)| match digest_of_file(&self.folder.join(path)) {
            None => Some(format!("{path} is gone")),
            Some(now) if now.to_string() != *digest => Some(format!("{path} is another file now")),
            Some(_) => None,
        };
        match record.outputs.iter().find_map(problem) {
            Some(problem) => State::Again(vec![problem]),
            None => State::Found(Box::new(record)),
        }
    }

    /// Notes that a stage begins, or that it was stopped after so many seconds.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn begin(&self, name: &str, inputs: &Inputs, seconds: f64) -> Result<()> {
        let nothing = Made::default();
        self.write(name, false, inputs, &nothing, seconds).map(|_| ())
    }

    /// Notes what it made.
    ///
    /// # Errors
    /// A file that it made cannot be read, the record cannot be written.
    pub fn end(&self, name: &str, inputs: &Inputs, made: &Made, seconds: f64) -> Result<Record> {
        self.write(name, true, inputs, made, seconds)
    }

    /// Removes the record of that name, before what it made is removed.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::Write { source: error }),
            _ => Ok(()),
        }
    }

    /// A stage that stands as `state` says: found, or done by `work` after `clear` removed what is left of an earlier one.
    ///
    /// # Errors
    /// What `clear` and `work` meet, a record that cannot be written.
    pub(crate) fn go(
        &self,
        name: &str,
        inputs: &Inputs,
        state: State,
        clear: impl FnOnce(&State) -> Result<()>,
        work: impl FnOnce() -> Result<Made>,
    ) -> Result<Record> {
        let mut before = 0.0;
        match state {
            State::Found(record) => return Ok(*record),
            State::Begun => before = self.read(name).map_or(0.0, |record| record.seconds),
            State::New | State::Again(_) => {
                self.forget(name)?;
                clear(&state)?;
                self.begin(name, inputs, 0.0)?;
            }
        }
        let started = Instant::now();
        let made = tracing::info_span!("stage", name).in_scope(work);
        let seconds = before + started.elapsed().as_secs_f64();
        match made {
            Ok(made) => self.end(name, inputs, &made, seconds),
            Err(error) => {
                // What a stop leaves counts; a kill says nothing.
                self.begin(name, inputs, seconds)?;
                Err(error)
            }
        }
    }

    /// [`Records::go`] for what is made in the folder `within` that of the records, if that is a folder of its own.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn each(
        &self,
        name: &str,
        inputs: &Inputs,
        within: Option<&str>,
        work: impl FnOnce() -> Result<Made>,
    ) -> Result<Record> {
        let clear = |_: &State| within.map_or(Ok(()), |within| remove(&self.folder.join(within)));
        self.go(name, inputs, self.state(name, inputs), clear, work)
    }

    fn write(&self, name: &str, done: bool, inputs: &Inputs, made: &Made, seconds: f64) -> Result<Record> {
        let digest = |path: &String| {
            let file = self.folder.join(path);
            let digest = digest_of_file(&file).ok_or(Error::NotFound { path: file })?;
            Ok((path.clone(), digest.to_string()))
        };
        let record = Record {
            schema: SCHEMA.to_owned(),
            done,
            inputs: inputs.clone(),
            outputs: made.outputs.iter().map(digest).collect::<Result<_>>()?,
            said: made.said.clone(),
            facts: made.facts.clone(),
            seconds,
        };
        let text = serde_json::to_string_pretty(&record).expect("plain data");
        write_atomically(&self.path(name), |file| writeln!(file, "{text}"))
            .map_err(|source| Error::Write { source })?;
        // As it will be read: the last digit of a number may be another one then.
        Ok(serde_json::from_str(&text).map_err(std::io::Error::other)?)
    }
}

/// Of the bytes of a file; none where there is no file.
pub(crate) fn digest_of_file(path: &Path) -> Option<Digest> {
    Some(Digester::new("file").bytes(&fs::read(path).ok()?).finish())
}

/// Inputs by their words.
pub(crate) fn inputs<const N: usize>(of: [(&str, &str); N]) -> Inputs {
    of.into_iter().map(|(word, value)| (word.to_owned(), value.to_owned())).collect()
}

/// Removes a file, or a folder with all that is in it, that a stage made.
///
/// # Errors
/// It is there and cannot be removed.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Write { source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_found_gone_on_with_or_done_again_for_a_named_reason() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::of(folder.path());
        let (one, other) = (inputs([("model", "mlp"), ("pairs", "1")]), inputs([("model", "ridge"), ("pairs", "1")]));
        assert_eq!(records.state("fit", &one), State::New);
        records.begin("fit", &one, 0.0).unwrap();
        assert_eq!(records.state("fit", &one), State::Begun);
        assert_eq!(records.state("fit", &other), State::Again(vec!["model changed".into()]));
        fs::write(folder.path().join("predictor"), "1").unwrap();
        let facts = serde_json::json!([0.1 + 0.2, 1.0 / 3.0, 2.0_f64.sqrt() * 1e-7]);
        let made = Made { outputs: vec!["predictor".into()], said: "good".into(), facts };
        let record = records.end("fit", &one, &made, 2.0).unwrap();
        assert_eq!(records.state("fit", &one), State::Found(Box::new(record.clone())));
        // Equal files, equal digests, however long they took.
        assert_eq!(records.end("fit", &one, &made, 3.0).unwrap().digest(), record.digest());
        fs::write(folder.path().join("predictor"), "2").unwrap();
        assert_eq!(records.state("fit", &one), State::Again(vec!["predictor is another file now".into()]));
        fs::remove_file(folder.path().join("predictor")).unwrap();
        assert_eq!(records.state("fit", &one), State::Again(vec!["predictor is gone".into()]));
        fs::write(folder.path().join(RECORDS).join("fit.json"), "{\"schema\"").unwrap();
        assert_eq!(records.state("fit", &one), State::New);
        let less = inputs([("model", "mlp")]);
        records.begin("fit", &one, 0.0).unwrap();
        assert_eq!(records.state("fit", &less), State::Again(vec!["pairs is no more asked for".into()]));
    }
}
