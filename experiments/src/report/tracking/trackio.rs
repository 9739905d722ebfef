//! A folder that Trackio uses as its own (`TRACKIO_DIR`): what it has not taken in yet lies in `inbox/`, as files of one JSON
//! object a line, which its dashboard reads when it starts and while it runs (its storage mode `jsonl`, version 1 of its
//! records, since 0.28).
//!
//! Trackio removes the files that it has read. A line has an identity that follows from its content, so that one that was
//! read before is not added again.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};
use storage::atomic::write_atomically;
use storage::digest::Digester;

use crate::error::{Error, Result};
use crate::folders::utc::utc_of_milliseconds;
use crate::report::error::ReportError;
use crate::report::tracking::mlflow::is_empty;
use crate::report::tracking::run::{Experiment, Row, Run, Status};

const INBOX: &str = "inbox";
const DATABASE: &str = "db";
const RECORD_VERSION: u32 = 1;
/// Endings of names that Trackio keeps for files beside a project's, and a beginning that it keeps for registries.
const RESERVED: [&str; 8] = [
    "_system",
    "_configs",
    "_traces",
    "_artifacts",
    "_artifact_versions",
    "_artifact_aliases",
    "_run_artifact_links",
    "_external_run_artifact_links",
];
const REGISTRY: &str = "registry-";

/// Writes `experiments` into the inbox of the folder at `path`, which is made if it is missing: each as a project.
///
/// # Errors
/// [`ReportError::OtherFolder`] for a folder of something else; [`Error::Write`].
pub fn write(path: &Path, experiments: &[Experiment]) -> Result<()> {
    if !is_empty(path)? && !is_trackio(path)? {
        return Err(ReportError::OtherFolder { path: path.to_path_buf(), tracker: "Trackio" }.into());
    }
    for experiment in experiments {
        let project = project(&experiment.name);
        for run in &experiment.runs {
            // As a writer of Trackio's own: a folder for each, and in it files in their order.
            let file = path.join(INBOX).join(format!("ofa-{}", run.id)).join("00000000.jsonl");
            let lines = lines(&project, run);
            write_atomically(&file, |file| file.write_all(lines.as_bytes()))
                .map_err(|source| Error::Write { source })?;
        }
    }
    Ok(())
}

fn is_trackio(path: &Path) -> Result<bool> {
    let entries = fs::read_dir(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    let is_of_it = |path: &Path| {
        path.extension().is_some_and(|ending| ending == DATABASE) || path.file_name().is_some_and(|name| name == INBOX)
    };
    Ok(entries.flatten().any(|entry| is_of_it(&entry.path())))
}

/// What Trackio takes as the name of a project.
fn project(experiment: &str) -> String {
    let allowed = |letter: char| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' };
    let name: String = experiment.chars().map(allowed).collect();
    let is_reserved = name.starts_with(REGISTRY) || RESERVED.iter().any(|ending| name.ends_with(ending));
    if is_reserved { format!("ofa-{name}-results") } else { name }
}

fn lines(project: &str, run: &Run) -> String {
    let status = match run.status {
        Status::Running => "running",
        Status::Finished => "finished",
        Status::Failed => "failed",
    };
    let words = run.params.iter().chain(&run.tags).map(|(name, text)| (name.clone(), text.as_str().into()));
    let mut config: Map<String, Value> = words.collect();
    config.insert("status".to_owned(), status.into());
    let mut config = Some(config);
    // What was set is said once.
    let line = |row: &Row| {
        let metrics: Map<String, Value> =
            row.metrics.iter().map(|(name, value)| (name.clone(), number(*value))).collect();
        let metrics = Value::from(metrics);
        let identity = Digester::new("tracked row").text(&run.id).number(row.step).number(row.time);
        let identity = identity.text(&metrics.to_string()).finish().to_string();
        let record = json!({
            "v": RECORD_VERSION, "kind": "metric", "project": project, "run": run.name, "run_id": run.id, "metrics": metrics,
            "step": row.step, "timestamp": utc_of_milliseconds(row.time), "config": config.take(), "log_id": identity[..32],
        });
        format!("{record}\n")
    };
    run.rows.iter().map(line).collect()
}

/// A number, or the word that Trackio has for what JSON has none for.
fn number(value: f64) -> Value {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        value => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment() -> Experiment {
        let mut run = Run::new("my runs", "one", &["a"]);
        run.params.insert("seed".to_owned(), "3".to_owned());
        for (step, time, loss) in [(5, 1_795_901_787_975, 2.5), (10, 1_795_901_788_500, f64::NAN)] {
            let mut row = Row::at(step, time);
            row.metrics.insert("loss".to_owned(), loss);
            run.rows.push(row);
        }
        Experiment { name: "my runs".to_owned(), runs: vec![run] }
    }

    #[test]
    fn a_run_is_a_file_of_lines_that_stay_the_same() {
        let out = tempfile::tempdir().unwrap();
        let (path, experiment) = (out.path().join("tracked"), experiment());
        write(&path, std::slice::from_ref(&experiment)).unwrap();
        let id = &experiment.runs[0].id;
        let file = path.join(format!("inbox/ofa-{id}/00000000.jsonl"));
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            lines[0],
            json!({
                "v": 1, "kind": "metric", "project": "my-runs", "run": "one", "run_id": id, "metrics": {"loss": 2.5},
                "step": 5, "timestamp": "2026-11-28T21:36:27.975+00:00", "config": {"seed": "3", "status": "finished"},
                "log_id": lines[0]["log_id"],
            })
        );
        assert_eq!((&lines[1]["metrics"]["loss"], &lines[1]["config"]), (&"NaN".into(), &Value::Null));
        assert_ne!(lines[0]["log_id"], lines[1]["log_id"]);
        // Again: over what was not read yet, and beside what was.
        write(&path, &[experiment]).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert_eq!(fs::read_dir(path.join(INBOX)).unwrap().count(), 1);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_of_something_else_is_refused_and_one_of_trackio_is_not() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("notes.txt"), "mine").unwrap();
        let refused = write(out.path(), &[experiment()]);
        assert!(matches!(refused, Err(Error::Report(ReportError::OtherFolder { .. }))), "{refused:?}");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
        fs::write(out.path().join("theirs.db"), "theirs").unwrap();
        write(out.path(), &[experiment()]).unwrap();
        assert_eq!(fs::read_to_string(out.path().join("theirs.db")).unwrap(), "theirs");
    }

    #[test]
    fn projects_have_names_that_trackio_takes() {
        for (name, expected) in [
            ("my net: é", "my-net---"),
            ("registry-a", "ofa-registry-a-results"),
            ("of_system", "ofa-of_system-results"),
        ] {
            assert_eq!(project(name), expected);
        }
    }
}
