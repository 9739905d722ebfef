//! The stages of a build, and the record of each: what it depended on, what it made, and how long it took.
//!
//! A record lies in `stages/NAME.json`. It is written when a stage begins and again when it ends, so that what a kill left
//! is gone on with where it belongs to the same inputs, and thrown away where it does not.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::atomic::write_atomically;
use storage::digest::{Digest, Digester};

use crate::error::{Error, Result};

const SCHEMA: &str = "ofa.stage/1";
/// The folder of the records.
pub const RECORDS: &str = "stages";

/// A stage of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The supernet is trained.
    Train,
    /// Subnets are measured on held-out images.
    Collect,
    /// The predictor is fitted to that.
    Fit,
    /// The bundle gets images for calibration without data.
    Calibrate,
    /// The sweep is searched.
    Search,
    /// What it found is measured on held-out images.
    Verify,
    /// Each of them is taken out and, where that is asked for, trained on.
    Finetune,
    /// It is written in other formats, and run by runtimes of others.
    Export,
    /// It is measured on the test images.
    Test,
    /// Table, chart and page are written.
    Report,
}

impl Stage {
    /// In order.
    pub const ALL: [Stage; 10] = [
        Stage::Train,
        Stage::Collect,
        Stage::Fit,
        Stage::Calibrate,
        Stage::Search,
        Stage::Verify,
        Stage::Finetune,
        Stage::Export,
        Stage::Test,
        Stage::Report,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Collect => "collect",
            Self::Fit => "fit",
            Self::Calibrate => "calibrate",
            Self::Search => "search",
            Self::Verify => "verify",
            Self::Finetune => "finetune",
            Self::Export => "export",
            Self::Test => "test",
            Self::Report => "report",
        }
    }

    /// Its number, from 1.
    pub fn number(self) -> usize {
        1 + Self::ALL.iter().position(|stage| *stage == self).expect("one of them")
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(of: &[(&str, &str)]) -> Inputs {
        of.iter().map(|(word, value)| ((*word).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_stage_is_found_gone_on_with_or_done_again_for_a_named_reason() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::of(folder.path());
        let (one, other) = (inputs(&[("model", "mlp"), ("pairs", "1")]), inputs(&[("model", "ridge"), ("pairs", "1")]));
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
        let less = inputs(&[("model", "mlp")]);
        records.begin("fit", &one, 0.0).unwrap();
        assert_eq!(records.state("fit", &less), State::Again(vec!["pairs is no more asked for".into()]));
    }

    #[test]
    fn stages_are_numbered_in_order() {
        assert_eq!((Stage::Train.number(), Stage::Report.number()), (1, Stage::ALL.len()));
    }
}
