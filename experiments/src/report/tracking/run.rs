//! A run as trackers know it: what was set, and numbers by step and time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;
use storage::digest::Digester;

use crate::report::tracking::key;

/// Runs that are shown together: those of one folder of results.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// What the folder is called.
    pub name: String,
    /// Its runs.
    pub runs: Vec<Run>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It goes on, or was stopped before its end.
    Running,
    /// With a result.
    Finished,
    /// With an error.
    Failed,
}

/// One run. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The same whenever the same result is told again: 32 hexadecimal digits.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: Status,
    pub(crate) started: u64,
    pub(crate) ended: u64,
    /// What was set.
    pub(crate) params: BTreeMap<String, String>,
    /// What else there is to say.
    pub(crate) tags: BTreeMap<String, String>,
    /// Numbers, in their order.
    pub(crate) rows: Vec<Row>,
}

/// Numbers of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) step: u64,
    pub(crate) time: u64,
    pub(crate) metrics: BTreeMap<String, f64>,
}

impl Run {
    /// A finished run of `experiment` that has nothing yet, told from others by `identity`.
    pub(crate) fn new(experiment: &str, name: &str, identity: &[&str]) -> Run {
        // The experiment is a part of it: a tracker takes no run for that of two.
        let digest = Digester::new("tracked run").text(experiment);
        let digest = identity.iter().fold(digest, |digest, part| digest.text(part)).finish().to_string();
        let (id, name) = (digest[..32].to_owned(), key::title(name));
        let (params, tags) = (BTreeMap::new(), BTreeMap::new());
        Run { id, name, status: Status::Finished, started: 0, ended: 0, params, tags, rows: Vec::new() }
    }

    /// Adds what was set: each value of `fields` under its path (`phases.0.epochs`), lists of plain values as one. What is
    /// null was not set.
    pub(crate) fn set(&mut self, fields: &Value) {
        leaves("", fields, &mut |path, value| {
            let text = match value {
                Value::Null => return,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            key::insert(&mut self.params, path, text);
        });
    }
}

impl Row {
    /// Nothing yet, of a step.
    pub(crate) fn at(step: u64, time: u64) -> Row {
        Row { step, time, metrics: BTreeMap::new() }
    }

    /// Adds every number of `fields` under its path, after `prefix`.
    pub(crate) fn add(&mut self, prefix: &str, fields: &Value) {
        leaves("", fields, &mut |path, value| {
            if let Some(number) = value.as_f64() {
                key::insert(&mut self.metrics, &format!("{prefix}{path}"), number);
            }
        });
    }
}

/// Calls `of` with the path of every value that holds no others, and of lists of such.
fn leaves(path: &str, value: &Value, of: &mut impl FnMut(&str, &Value)) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| leaves(&below(&key::part(name)), value, of)),
        Value::Array(values) if values.iter().any(|value| value.is_object() || value.is_array()) => {
            values.iter().enumerate().for_each(|(at, value)| leaves(&below(&at.to_string()), value, of));
        }
        plain => of(path, plain),
    }
}

/// What the experiment of a folder is called.
pub fn name_of(folder: &Path) -> String {
    // `.` has no name of its own.
    let whole = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    key::title(
        &whole.file_name().map_or_else(|| whole.display().to_string(), |name| name.to_string_lossy().into_owned()),
    )
}

/// When a file was written, for results that do not say when they were made; 0 where nothing is known.
pub(crate) fn written(file: &Path) -> u64 {
    let time = std::fs::metadata(file).and_then(|about| about.modified()).ok();
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_known_by_their_paths() {
        let mut run = Run::new("e", "r", &["a"]);
        run.set(
            &json!({"seed": 3, "data": null, "class/names": ["a", "b"], "phases": [{"name": "full", "flip": true}]}),
        );
        let told: Vec<(&str, &str)> = run.params.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected =
            [("class_names", "[\"a\",\"b\"]"), ("phases.0.flip", "true"), ("phases.0.name", "full"), ("seed", "3")];
        assert_eq!(told, expected);
        let mut row = Row::at(3, 4);
        row.add("report/", &json!({"top1": 0.5, "part": "test", "costs": {"energy_mj": {"after": 2}}}));
        assert_eq!(
            row.metrics.into_iter().collect::<Vec<_>>(),
            [("report/costs.energy_mj.after".to_owned(), 2.0), ("report/top1".to_owned(), 0.5)]
        );
    }

    #[test]
    fn a_run_is_known_by_its_experiment_and_what_it_is() {
        let id = |experiment, identity| Run::new(experiment, "name", &[identity]).id;
        assert_eq!((id("e", "a").len(), id("e", "a")), (32, id("e", "a")));
        assert!(id("e", "a") != id("e", "b") && id("e", "a") != id("f", "a"));
    }
}
