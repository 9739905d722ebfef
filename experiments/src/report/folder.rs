//! What a report shows of one folder that is no sweep: a training or fine-tuning, a bundle, a refinement, a search.

use std::fmt::Display;
use std::path::Path;

use parquet::file::reader::FileReader;
use parquet::record::{Field, Row};
use predictors::saved;
use serde_json::{Map, Value, json};
use storage::file::FileError;
use storage::parquet_file;

use crate::error::{Error, Result};
use crate::folders::{names, pairs_file, spaces};
use crate::report::error::ReportError;

/// Points of one chart: what is more is thinned out, evenly.
const MOST: usize = 3000;

/// What `path` holds, by name: `epochs` and `energy` of a training, `tests` on test images, `calibration` of a predictor,
/// `steps` of a refinement, `evaluations` and `found` of a search; each only where it is there.
///
/// # Errors
/// A file that cannot be read; [`ReportError::Nothing`] for a folder that holds nothing of all that.
pub fn of_folder(path: &Path) -> Result<Value> {
    if path.is_file() {
        return Err(ReportError::Nothing { path: path.to_path_buf() }.into());
    }
    if !path.is_dir() {
        return Err(Error::NotFound { path: path.to_path_buf() });
    }
    let made = path.join(names::BUNDLE);
    let bundle = if made.is_dir() { made } else { path.to_path_buf() };
    let parts = [
        ("epochs", lines(&path.join(names::METRICS))?),
        ("energy", object(&path.join(names::ENERGY))?),
        ("tests", tests(path)?),
        ("calibration", calibration(&bundle)?),
        ("found", found(path)?),
    ];
    let mut shown: Map<String, Value> =
        parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    if let Some((name, rows)) = history(&path.join(names::HISTORY))? {
        shown.insert(name.to_owned(), rows);
    }
    if shown.is_empty() {
        return Err(ReportError::Nothing { path: path.to_path_buf() }.into());
    }
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    shown.insert("name".to_owned(), name.into());
    Ok(shown.into())
}

/// A file of JSON, where it is there.
pub(super) fn object(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = spaces::read_text(path)?;
    serde_json::from_str(&text).map(Some).map_err(|problem| wrong(path, "JSON", problem))
}

/// A file of one JSON object a line, where it is there, thinned out.
fn lines(path: &Path) -> Result<Option<Value>> {
    let rows = all_lines(path)?;
    Ok((!rows.is_empty()).then(|| thinned(rows).into()))
}

/// All lines of such a file; none where it is not there. A last line that a run is still writing is left out.
pub(super) fn all_lines(path: &Path) -> Result<Vec<Value>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = spaces::read_text(path)?;
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    let read = |(at, line): (usize, &str)| {
        // The parser sees one line, and would call it the first.
        serde_json::from_str::<Value>(line).map_err(|problem| {
            let problem = problem.to_string();
            let what = problem.split(" at line ").next().unwrap_or_default();
            wrong(path, "JSON", format!("{what} in line {}", at + 1))
        })
    };
    whole.lines().enumerate().map(read).collect()
}

/// Top-1 on test images of the subnets of a training, or of what one network became.
fn tests(path: &Path) -> Result<Option<Value>> {
    let Some(report) = object(&path.join(names::TEST_REPORT))? else { return Ok(None) };
    let tests: Value = match report {
        Value::Array(rows) => rows
            .iter()
            .map(|row| {
                let px = &row["subnet"]["resolution"];
                json!({"kind": row["kind"], "macs": row["macs"], "resolution": px, "top1": row["test_top1"],
                       "images": row["test_images"]})
            })
            .collect(),
        one => {
            let facts = ["part", "top1", "images", "held_out_top1_before", "held_out_top1", "held_out_images"];
            let facts = facts.iter().map(|name| ((*name).to_owned(), one[*name].clone()));
            let facts: Map<_, _> = facts.filter(|(_, value)| !value.is_null()).collect();
            (!facts.is_empty()).then(|| Value::Object(facts)).into_iter().collect()
        }
    };
    // Of a run without test images.
    let is_empty = tests.as_array().is_none_or(Vec::is_empty);
    Ok((!is_empty).then_some(tests))
}

/// Predicted beside measured top-1 of the pairs that a bundle's predictor was fitted to and judged by.
fn calibration(bundle: &Path) -> Result<Option<Value>> {
    let [pairs, predictor, report, space] =
        [names::ACCURACY, names::PREDICTOR, names::PREDICTOR_REPORT, names::SPACE].map(|name| bundle.join(name));
    if ![&pairs, &predictor, &space].iter().all(|file| file.exists()) {
        return Ok(None);
    }
    let space = spaces::read(&space)?;
    let (measured, archs) = pairs_file::read(&pairs, &space)?;
    let predicted = saved::load(&predictor, &space)?.predict(&archs)?;
    let rows = measured.iter().zip(&archs).zip(&predicted).map(|((pair, arch), predicted)| {
        let noise = (pair.top1 * (1.0 - pair.top1) / pair.images.max(1) as f64).sqrt();
        json!({"measured": pair.top1, "predicted": predicted.top1, "error": noise, "resolution": pair.resolution,
               "macs": space.lower(arch).macs().0})
    });
    Ok(Some(json!({"pairs": thinned(rows.collect()), "report": object(&report)?})))
}

/// The best subnet of a search, or each of its front.
pub(super) fn found(path: &Path) -> Result<Option<Value>> {
    let rows = match lines(&path.join(names::TOP))? {
        Some(rows) => rows,
        None => match object(&path.join(names::RESULT))? {
            Some(best) => vec![best].into(),
            None => return Ok(None),
        },
    };
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |(at, row): (usize, &Value)| {
        let cost = |name: &str| row["costs"][name]["value"].clone();
        json!({"place": at + 1, "subnet": row["subnet"], "top1": row["top1"], "energy_mJ": cost("energy_mj"), "latency_ms": cost("latency_ms"),
               "macs": row["costs"]["macs"], "params": row["costs"]["params"], "target": row["target"]["name"]})
    };
    Ok(Some(rows.iter().enumerate().map(row).collect()))
}

/// The rows of a history and what they are: `steps` of a refinement or `evaluations` of a search.
fn history(path: &Path) -> Result<Option<(&'static str, Value)>> {
    if !path.exists() {
        return Ok(None);
    }
    let rows = table(path)?;
    let is_refinement = is_of_steps(&rows);
    let row = |row: &Row| {
        let shown = row.get_column_iter().filter(|(name, _)| is_refinement || *name != "subnet");
        Value::Object(shown.map(|(name, field)| (name.clone(), value_of(field))).collect())
    };
    let rows = thinned(rows.iter().collect()).into_iter().map(row).collect();
    Ok(Some((if is_refinement { "steps" } else { "evaluations" }, rows)))
}

/// The rows of a Parquet file.
pub(super) fn table(path: &Path) -> Result<Vec<Row>> {
    let file = storage::file::open(path).map_err(ReportError::from)?;
    let damaged = |problem| wrong(path, "Parquet", problem);
    let reader = parquet_file::open(file).map_err(damaged)?;
    parquet_file::ask(|| reader.get_row_iter(None)?.collect()).map_err(damaged)
}

/// Whether the rows of a history are the steps of a refinement.
pub(super) fn is_of_steps(rows: &[Row]) -> bool {
    rows.first().is_some_and(|row| row.get_column_iter().any(|(name, _)| name == "step"))
}

pub(super) fn wrong(path: &Path, format: &'static str, problem: impl Display) -> Error {
    ReportError::from(FileError::malformed(path, format, problem.to_string())).into()
}

fn value_of(field: &Field) -> Value {
    match field {
        Field::Bool(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::Double(value) => (*value).into(),
        Field::Str(value) => value.clone().into(),
        _ => Value::Null,
    }
}

/// At most [`MOST`] of `rows`, evenly spread, first and last among them.
fn thinned<T>(rows: Vec<T>) -> Vec<T> {
    let (count, last) = (rows.len(), rows.len().saturating_sub(1));
    if count <= MOST {
        return rows;
    }
    let kept: std::collections::BTreeSet<usize> = (0..MOST).map(|at| at * last / (MOST - 1)).collect();
    rows.into_iter().enumerate().filter(|(at, _)| kept.contains(at)).map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_are_thinned_and_keep_their_ends() {
        let kept = thinned((0..50_100).collect());
        assert_eq!((kept.len(), kept[0], *kept.last().unwrap()), (MOST, 0, 50_099));
        assert!(kept.windows(2).all(|pair| (16..=17).contains(&(pair[1] - pair[0]))));
        assert_eq!(thinned(vec![1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn a_shipped_bundle_shows_how_its_predictor_agrees_with_what_was_measured() {
        let bundle = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/zoo/mcu-cifar"));
        let shown = of_folder(bundle).unwrap();
        let pairs = shown["calibration"]["pairs"].as_array().unwrap();
        assert!(pairs.len() > 100);
        let errors = pairs.iter().map(|pair| pair["predicted"].as_f64().unwrap() - pair["measured"].as_f64().unwrap());
        let rmse = (errors.map(|error| error * error).sum::<f64>() / pairs.len() as f64).sqrt();
        // Most of them it was fitted to; those that it was judged by are not much further off.
        let judged = shown["calibration"]["report"]["test"]["rmse"].as_f64().unwrap();
        assert!(rmse < 1.2 * judged, "{rmse}, {judged}");
        assert_eq!(shown["tests"].as_array().unwrap().len(), 12);
        assert!(shown["tests"][0]["top1"].as_f64().unwrap() > 0.8);
        assert_eq!(shown["name"], "mcu-cifar");
    }

    #[test]
    fn a_report_without_test_images_is_no_part_of_the_page() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["[]", "{}"] {
            std::fs::write(folder.path().join(names::TEST_REPORT), text).unwrap();
            let nothing = of_folder(folder.path());
            assert!(matches!(nothing, Err(Error::Report(ReportError::Nothing { .. }))), "{text}: {nothing:?}");
        }
    }

    #[test]
    fn a_folder_of_nothing_is_refused_and_half_a_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(of_folder(folder.path()), Err(Error::Report(ReportError::Nothing { .. }))));
        assert!(matches!(of_folder(&folder.path().join("none")), Err(Error::NotFound { .. })));
        std::fs::write(folder.path().join(names::METRICS), "{\"epoch\":1,\"loss\":2.5}\n{\"epoch\":2,\"lo").unwrap();
        let shown = of_folder(folder.path()).unwrap();
        assert_eq!(shown["epochs"], json!([{"epoch": 1, "loss": 2.5}]));
        std::fs::write(folder.path().join(names::METRICS), "{\"epoch\"\n").unwrap();
        assert!(of_folder(folder.path()).unwrap_err().to_string().contains(names::METRICS));
    }
}
