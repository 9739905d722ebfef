//! The run of a training, a fine-tuning or a refinement, and those that a search found.
//!
//! | numbers | are called | step |
//! |---|---|---|
//! | of `metrics.jsonl` | as there: `loss`, `largest_top1`, … | `global_step` |
//! | of the steps of a refinement | as in `history.parquet`: `top1`, `energy_mJ`, … | `step` |
//! | of `report.json` | `report/top1`, of a training `report/largest/test_top1` | the last |
//! | of `energy.json` | `energy/energy_j`, `energy/co2_g`, …; of its parts `energy_by_part/NAME`, `seconds_by_part/NAME` | the last |
//!
//! Parameters are the fields of `recipe.yaml` and of `run.json`.

use std::collections::BTreeMap;
use std::path::Path;

use parquet::record::Field;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::folders::{names, spaces, utc};
use crate::report::error::ReportError;
use crate::report::folder;
use crate::report::tracking::key;
use crate::report::tracking::run::{Experiment, Row, Run, Status, name_of, written};

/// Of `run.json`, what says how a run was made.
const FACTS: [&str; 10] =
    ["version", "revision", "libtorch", "device", "device_name", "threads", "processes", "precision", "seed", "data"];

/// The runs of the folder at `path`.
///
/// # Errors
/// A file that cannot be read; [`ReportError::NoRun`] for a folder without any.
pub fn of_folder(path: &Path) -> Result<Experiment> {
    if !path.is_dir() {
        return Err(Error::NotFound { path: path.to_path_buf() });
    }
    let name = name_of(path);
    let lines = folder::all_lines(&path.join(names::METRICS))?;
    if !lines.is_empty() {
        return Ok(Experiment { runs: vec![training(path, &name, &lines)?], name });
    }
    let history = path.join(names::HISTORY);
    if history.exists() {
        let rows = folder::table(&history)?;
        if folder::is_of_steps(&rows) {
            return Ok(Experiment { runs: vec![refinement(path, &name, &rows)?], name });
        }
    }
    match folder::found(path)? {
        Some(found) => Ok(Experiment { runs: search(path, &name, &found)?, name }),
        None => Err(ReportError::NoRun { path: path.to_path_buf() }.into()),
    }
}

/// Of the lines of `metrics.jsonl`.
fn training(path: &Path, experiment: &str, lines: &[Value]) -> Result<Run> {
    let recipe = path.join(names::RECIPE);
    let recipe = if recipe.exists() { spaces::read_text(&recipe)? } else { String::new() };
    let made = folder::object(&path.join(names::RUN))?.unwrap_or_default();
    let first_start = made["earlier_starts"].get(0).unwrap_or(&made)["started"].as_str().map(str::to_owned);
    // A run that goes on stays the same one, whatever it adds.
    let first_line = lines[0].to_string();
    let since = first_start.as_deref().unwrap_or(&first_line);
    let mut run =
        Run::new(experiment, experiment, &["training", &recipe, made["data"].as_str().unwrap_or_default(), since]);
    let mut fields: Value =
        serde_yaml::from_str(&recipe).map_err(|problem| folder::wrong(&path.join(names::RECIPE), "YAML", problem))?;
    for fact in FACTS.into_iter().filter(|fact| !made[*fact].is_null()) {
        match &mut fields {
            Value::Object(fields) => _ = fields.insert(fact.to_owned(), made[fact].clone()),
            other => *other = serde_json::json!({fact: made[fact]}),
        }
    }
    run.set(&fields);
    run.started =
        first_start.as_deref().and_then(utc::since_1970).map_or_else(|| milliseconds(&lines[0]), |at| at * 1000);
    for line in lines {
        let time = milliseconds(line).max(run.started);
        let mut row = Row::at(line["global_step"].as_u64().unwrap_or_default(), time);
        for (name, value) in line.as_object().into_iter().flatten() {
            match (name.as_str(), value) {
                ("global_step" | "time", _) => {}
                // JSON has no word for what is no number any more.
                ("loss", Value::Null) => key::insert(&mut row.metrics, name, f64::NAN),
                _ => row.add(name, value),
            }
        }
        run.rows.push(row);
    }
    ended(run, path)
}

/// Of the steps of `history.parquet`, which do not say when they were made.
fn refinement(path: &Path, experiment: &str, rows: &[parquet::record::Row]) -> Result<Run> {
    let begun = spaces::read_text(&path.join(names::ADAPTATION))?;
    let mut run = Run::new(experiment, experiment, &["refinement", &begun]);
    run.started = written(&path.join(names::ADAPTATION));
    let time = written(&path.join(names::HISTORY)).max(run.started);
    for columns in rows {
        let mut row = Row::at(0, time);
        for (name, field) in columns.get_column_iter() {
            match field {
                Field::Long(step) if name == "step" => row.step = step.unsigned_abs(),
                Field::Long(value) => key::insert(&mut row.metrics, name, *value as f64),
                Field::Double(value) => key::insert(&mut row.metrics, name, *value),
                _ => {}
            }
        }
        run.rows.push(row);
    }
    ended(run, path)
}

/// Adds what is known at the end of a run.
fn ended(mut run: Run, path: &Path) -> Result<Run> {
    let (step, time) = run.rows.last().map_or((0, run.started), |last| (last.step, last.time));
    run.ended = time;
    let mut row = Row::at(step, time);
    let report = folder::object(&path.join(names::TEST_REPORT))?;
    run.status = if report.is_some() { Status::Finished } else { Status::Running };
    match report {
        // Of a training: its subnets, of which several may be random ones.
        Some(Value::Array(subnets)) => {
            let mut counts: BTreeMap<String, u32> = BTreeMap::new();
            for subnet in &subnets {
                let kind = key::part(subnet["kind"].as_str().unwrap_or("subnet"));
                let count = counts.entry(kind.clone()).or_default();
                *count += 1;
                let kind = if *count == 1 { kind } else { format!("{kind}-{count}") };
                row.add(&format!("report/{kind}/"), &without(subnet, "subnet"));
            }
        }
        Some(report) => {
            row.add("report/", &without(&report, "subnet"));
            let words = [("ofa.part", &report["part"]), ("ofa.subnet", &report["subnet"])];
            run.tags.extend(words.into_iter().filter_map(|(name, value)| Some((name.to_owned(), word(value)?))));
        }
        None => {}
    }
    if let Some(energy) = folder::object(&path.join(names::ENERGY))? {
        for part in energy["activities"].as_array().into_iter().flatten() {
            let name = key::part(part["name"].as_str().unwrap_or_default());
            for (of, value) in [("energy", &part["energy_j"]), ("seconds", &part["seconds"])] {
                row.add(&format!("{of}_by_part/{name}"), value);
            }
        }
        row.add("energy/", &without(&without(&energy, "activities"), "sources"));
        let words = [("ofa.energy_method", &energy["energy_method"]), ("ofa.energy_scope", &energy["scope"])];
        run.tags.extend(words.into_iter().filter_map(|(name, value)| Some((name.to_owned(), word(value)?))));
    }
    run.rows.extend((!row.metrics.is_empty()).then_some(row));
    Ok(run)
}

/// A run for each subnet that a search found.
fn search(path: &Path, experiment: &str, found: &Value) -> Result<Vec<Run>> {
    let several = path.join(names::TOP);
    let file = if several.exists() { several } else { path.join(names::RESULT) };
    let (text, time) = (spaces::read_text(&file)?, written(&file));
    let run = |one: &Value| {
        let place = one["place"].to_string();
        let mut run = Run::new(experiment, &format!("{experiment}, {place}"), &["search", &text, &place]);
        (run.started, run.ended) = (time, time);
        run.params.extend(word(&one["target"]).map(|target| ("target".to_owned(), target)));
        run.tags.insert("ofa.subnet".to_owned(), one["subnet"].to_string());
        let mut row = Row::at(0, time);
        row.add("", &without(one, "subnet"));
        run.rows.push(row);
        run
    };
    Ok(found.as_array().into_iter().flatten().map(run).collect())
}

/// When a line was written; lines of earlier versions do not say.
fn milliseconds(line: &Value) -> u64 {
    // A number that is no time becomes 0.
    (line["time"].as_f64().unwrap_or_default() * 1000.0).round() as u64
}

fn without(fields: &Value, name: &str) -> Value {
    let mut fields = fields.clone();
    if let Value::Object(fields) = &mut fields {
        fields.shift_remove(name);
    }
    fields
}

/// A text, or what an object looks like as one; none where there is nothing.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use storage::parquet_file::{self, column};

    use super::*;

    /// A small training in `folder`.
    fn trained(folder: &Path) {
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write(names::RECIPE, "schema: ofa.recipe/1\nname: tiny\ndata: null\nphases:\n- name: full\n  epochs: 2\n");
        write(
            names::RUN,
            r#"{"started": "2026-11-28T21:40:00Z", "revision": "b", "seed": 3, "data": "synthetic:80",
                "earlier_starts": [{"started": "2026-11-28T21:36:18Z", "revision": "a"}]}"#,
        );
        write(
            names::METRICS,
            "{\"global_step\":5,\"phase\":\"full\",\"epoch\":1,\"loss\":2.5,\"largest_top1\":0.5,\"time\":1795901787.975}\n\
             {\"global_step\":10,\"phase\":\"full\",\"epoch\":2,\"loss\":null,\"time\":1795901788.5}\n{\"global",
        );
    }

    #[test]
    fn a_training_is_a_run_with_its_curve_and_what_it_was_made_by() {
        let folder = tempfile::tempdir().unwrap();
        trained(folder.path());
        let run = of_folder(folder.path()).unwrap().runs.remove(0);
        let param = |name: &str| run.params.get(name).map(String::as_str);
        let told = ["phases.0.epochs", "data", "seed", "revision"].map(param);
        assert_eq!(told, [Some("2"), Some("synthetic:80"), Some("3"), Some("b")]);
        assert_eq!((run.started, run.ended, run.status), (1_795_901_778_000, 1_795_901_788_500, Status::Running));
        assert_eq!(run.rows.len(), 2, "half a line is none: {:?}", run.rows);
        assert_eq!((run.rows[0].step, run.rows[0].time), (5, 1_795_901_787_975));
        let names: Vec<&String> = run.rows[0].metrics.keys().collect();
        assert_eq!(names, ["epoch", "largest_top1", "loss"]);
        assert!(run.rows[1].metrics["loss"].is_nan());
        // Gone on with, it is the same run.
        let text = fs::read_to_string(folder.path().join(names::METRICS)).unwrap();
        fs::write(folder.path().join(names::METRICS), format!("{text}_step\":15,\"loss\":1.5}}\n")).unwrap();
        let later = of_folder(folder.path()).unwrap().runs.remove(0);
        assert_eq!((later.id, later.rows.len()), (run.id, 3));
    }

    #[test]
    fn what_is_known_at_the_end_is_told_at_the_last_step() {
        let folder = tempfile::tempdir().unwrap();
        trained(folder.path());
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            names::TEST_REPORT,
            r#"[{"kind": "largest", "subnet": {"resolution": 32}, "macs": 10, "test_top1": 0.75},
                {"kind": "random", "test_top1": 0.5}, {"kind": "random", "test_top1": 0.25}]"#,
        );
        write(
            names::ENERGY,
            r#"{"energy_j": 9.5, "energy_method": "estimated", "separate_trainings": null,
                "activities": [{"name": "a/b", "seconds": 1, "energy_j": 9}, {"name": "a:b", "energy_j": 0.5}]}"#,
        );
        let run = of_folder(folder.path()).unwrap().runs.remove(0);
        let last = run.rows.last().unwrap();
        let told: Vec<(&str, f64)> = last.metrics.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let expected = [
            ("energy/energy_j", 9.5),
            ("energy_by_part/a_b", 9.0),
            ("energy_by_part/a_b_2", 0.5),
            ("report/largest/macs", 10.0),
            ("report/largest/test_top1", 0.75),
            ("report/random-2/test_top1", 0.25),
            ("report/random/test_top1", 0.5),
            ("seconds_by_part/a_b", 1.0),
        ];
        assert_eq!(told, expected);
        assert_eq!(
            (last.step, run.status, run.tags["ofa.energy_method"].as_str()),
            (10, Status::Finished, "estimated")
        );
    }

    /// Steps of a refinement, the last with a cost that is no number.
    fn history(path: &Path) {
        let schema = "message steps { REQUIRED INT64 step; REQUIRED BYTE_ARRAY change (UTF8); REQUIRED DOUBLE top1; \
                      REQUIRED BOOLEAN met; REQUIRED DOUBLE energy_mJ; REQUIRED INT64 macs; }";
        parquet_file::write(path, |file| {
            let schema = Arc::new(parse_message_type(schema)?);
            let mut writer = SerializedFileWriter::new(file, schema, Arc::default())?;
            let mut group = writer.next_row_group()?;
            column::<Int64Type, _>(&mut group, [0, 1])?;
            column::<ByteArrayType, _>(&mut group, ["", "block 2"].map(ByteArray::from))?;
            column::<DoubleType, _>(&mut group, [0.75, 0.5])?;
            column::<BoolType, _>(&mut group, [false, true])?;
            column::<DoubleType, _>(&mut group, [3.5, f64::NAN])?;
            column::<Int64Type, _>(&mut group, [20, 10])?;
            group.close()?;
            writer.close()?;
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_refinement_is_a_run_with_its_steps() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(names::ADAPTATION, "{\"identity\": \"a\"}");
        history(&folder.path().join(names::HISTORY));
        write(
            names::TEST_REPORT,
            r#"{"top1": 0.5, "part": "test", "costs": {"energy_mj": {"before": 3.5, "after": 2}}}"#,
        );
        let run = of_folder(folder.path()).unwrap().runs.remove(0);
        let steps: Vec<u64> = run.rows.iter().map(|row| row.step).collect();
        assert_eq!((steps, run.status), (vec![0, 1, 1], Status::Finished));
        let first: Vec<(&str, f64)> = run.rows[0].metrics.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        assert_eq!(first, [("energy_mJ", 3.5), ("macs", 20.0), ("top1", 0.75)]);
        assert!(run.rows[1].metrics["energy_mJ"].is_nan() && run.rows[0].time > 0);
        assert_eq!(run.rows[2].metrics["report/costs.energy_mj.after"], 2.0);
        assert_eq!(run.tags["ofa.part"], "test");
    }

    #[test]
    fn a_bundle_is_no_run() {
        let bundle = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/zoo/mcu-cifar"));
        assert!(matches!(of_folder(bundle), Err(Error::Report(ReportError::NoRun { .. }))));
        assert!(matches!(of_folder(&bundle.join("none")), Err(Error::NotFound { .. })));
    }
}
