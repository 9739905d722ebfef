//! A folder in which MLflow keeps runs (its file store, as of version 3.17): for each experiment a folder with `meta.yaml`,
//! for each of its runs a folder with `meta.yaml`, `metrics/NAME` (of each step a line: milliseconds since 1970, value,
//! step), `params/NAME`, `tags/NAME` and `artifacts/`.
//!
//! A run is written beside its place, and shows only when its `meta.yaml` is there, which is written last. One that was
//! written before is replaced as a whole. Nothing else of the folder is touched.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use storage::atomic::write_atomically;
use storage::digest::Digester;

use crate::error::{Error, Result};
use crate::report::error::ReportError;
use crate::report::tracking::run::{Experiment, Run, Status};

const META: &str = "meta.yaml";
/// Where MLflow keeps experiments that were deleted.
const TRASH: &str = ".trash";
/// What MLflow logs into where no experiment is named; it expects to find it.
const DEFAULT: (&str, &str) = ("0", "Default");
/// Letters of a parameter and of a tag that MLflow takes.
const MOST: [(&str, usize); 2] = [("params", 6000), ("tags", 8000)];

/// Writes `experiments` into the folder at `path`, which is made if it is missing. An experiment of the same name that is
/// there gets the runs.
///
/// # Errors
/// [`ReportError::OtherFolder`] for a folder of something else, [`ReportError::Deleted`] for an experiment that was deleted
/// there; [`Error::Write`].
pub fn write(path: &Path, experiments: &[Experiment]) -> Result<()> {
    let known = known(path)?;
    if known.is_none() && !is_empty(path)? {
        return Err(ReportError::OtherFolder { path: path.to_path_buf(), tracker: "MLflow" }.into());
    }
    let is_new = known.is_none();
    let mut known = known.unwrap_or_default();
    let deleted = experiments.iter().find(|one| matches!(known.get(&one.name), Some(Known { is_active: false, .. })));
    if let Some(Experiment { name, .. }) = deleted {
        return Err(ReportError::Deleted { path: path.to_path_buf(), experiment: name.clone() }.into());
    }
    fs::create_dir_all(path).map_err(at(path))?;
    // A place that does not change with the working folder.
    let root = fs::canonicalize(path).map_err(at(path))?;
    if is_new {
        make(&root, DEFAULT.0, DEFAULT.1, 0)?;
    }
    for experiment in experiments {
        let id = match known.get(&experiment.name) {
            Some(known) => known.id.clone(),
            None => {
                let id = free_id(&root, &experiment.name);
                let begun = experiment.runs.iter().map(|run| run.started).min().unwrap_or_default();
                make(&root, &id, &experiment.name, begun)?;
                known.insert(experiment.name.clone(), Known { id: id.clone(), is_active: true });
                id
            }
        };
        experiment.runs.iter().try_for_each(|run| keep(&root, &id, run))?;
    }
    Ok(())
}

/// An experiment that is there.
struct Known {
    id: String,
    is_active: bool,
}

/// The experiments of a folder by name; none where MLflow keeps nothing there.
fn known(path: &Path) -> Result<Option<BTreeMap<String, Known>>> {
    let trash = path.join(TRASH);
    let mut all = BTreeMap::new();
    let mut is_store = trash.is_dir();
    for (folder, is_trash) in [(trash, true), (path.to_path_buf(), false)] {
        for entry in entries(&folder)? {
            let Ok(text) = fs::read_to_string(entry.join(META)) else { continue };
            let Ok(meta) = serde_yaml::from_str::<Value>(&text) else { continue };
            let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // MLflow passes over one that says it is another.
            let id = word(&meta["experiment_id"]);
            if entry.file_name().is_none_or(|name| name.to_string_lossy() != id) {
                continue;
            }
            is_store = true;
            let is_active = !is_trash && meta["lifecycle_stage"] != "deleted";
            all.insert(word(&meta["name"]), Known { id, is_active });
        }
    }
    Ok(is_store.then_some(all))
}

/// What a folder holds; nothing where there is no folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::Read { path: folder.to_path_buf(), source }),
    }
}

/// Whether a folder is missing, or holds nothing but hidden files.
pub(crate) fn is_empty(folder: &Path) -> Result<bool> {
    let is_hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    Ok(entries(folder)?.iter().all(is_hidden))
}

/// A number as MLflow gives them, which no experiment has there.
fn free_id(root: &Path, name: &str) -> String {
    let id = |attempt: u64| {
        let digest = Digester::new("tracked experiment").text(name).number(attempt).finish();
        let bytes = digest.as_bytes()[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        (100_000_000_000_000_000 + bytes % 900_000_000_000_000_000).to_string()
    };
    let is_free = |id: &String| !root.join(id).exists() && !root.join(TRASH).join(id).exists();
    (0..).map(id).find(is_free).expect("more numbers than folders")
}

fn make(root: &Path, id: &str, name: &str, begun: u64) -> Result<()> {
    let text = format!(
        "artifact_location: {}\ncreation_time: {begun}\nexperiment_id: '{id}'\nlast_update_time: {begun}\n\
         lifecycle_stage: active\nname: {}\n",
        quoted(&address(&root.join(id))),
        quoted(name),
    );
    write_text(&root.join(id).join(META), &text)
}

/// Writes a run, whole or not at all.
fn keep(root: &Path, experiment: &str, run: &Run) -> Result<()> {
    let folder = root.join(experiment).join(&run.id);
    let [temporary, old] = ["tmp", "old"].map(|ending| folder.with_extension(ending));
    // What a killed export left.
    for left in [&temporary, &old] {
        if left.exists() {
            fs::remove_dir_all(left).map_err(at(left))?;
        }
    }
    let mut metrics: BTreeMap<&str, String> = BTreeMap::new();
    for row in &run.rows {
        for (name, value) in &row.metrics {
            // As Python writes and reads what is no number.
            let value = if value.is_nan() { "nan".to_owned() } else { value.to_string() };
            let _ = writeln!(metrics.entry(name.as_str()).or_default(), "{} {value} {}", row.time, row.step);
        }
    }
    let metrics = metrics.into_iter().map(|(name, lines)| ("metrics", name.to_owned(), lines));
    let short = |kind: &'static str, words: &BTreeMap<String, String>| -> Vec<(&'static str, String, String)> {
        let most = MOST.iter().find(|(of, _)| *of == kind).map_or(usize::MAX, |(_, most)| *most);
        let cut = |text: &String| -> String {
            if text.chars().count() <= most {
                text.clone()
            } else {
                text.chars().take(most - 1).chain(['…']).collect()
            }
        };
        words.iter().map(|(name, text)| (kind, name.clone(), cut(text))).collect()
    };
    let mut tags = run.tags.clone();
    for (name, text) in
        [("mlflow.runName", run.name.as_str()), ("mlflow.source.name", "ofa"), ("mlflow.source.type", "LOCAL")]
    {
        tags.insert(name.to_owned(), text.to_owned());
    }
    if let Some(revision) = run.params.get("revision") {
        tags.insert("mlflow.source.git.commit".to_owned(), revision.clone());
    }
    for kind in ["metrics", "params", "tags", "artifacts"] {
        let folder = temporary.join(kind);
        fs::create_dir_all(&folder).map_err(at(&folder))?;
    }
    for (kind, name, text) in metrics.chain(short("params", &run.params)).chain(short("tags", &tags)) {
        let file = temporary.join(kind).join(name);
        let parent = file.parent().unwrap_or(&temporary);
        fs::create_dir_all(parent).and_then(|()| fs::write(&file, text)).map_err(at(&file))?;
    }
    fs::File::open(&temporary).and_then(|folder| folder.sync_all()).map_err(at(&temporary))?;
    if folder.exists() {
        // From here until the new one is there, the run does not show.
        match fs::remove_file(folder.join(META)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&folder)(error)),
            _ => fs::rename(&folder, &old).map_err(at(&folder))?,
        }
    }
    fs::rename(&temporary, &folder).map_err(at(&folder))?;
    write_text(&folder.join(META), &meta_of(root, experiment, run))?;
    if old.exists() {
        fs::remove_dir_all(&old).map_err(at(&old))?;
    }
    Ok(())
}

fn meta_of(root: &Path, experiment: &str, run: &Run) -> String {
    let (status, ended) = match run.status {
        Status::Running => (1, "null".to_owned()),
        Status::Finished => (3, run.ended.to_string()),
        Status::Failed => (4, run.ended.to_string()),
    };
    let (id, started) = (&run.id, run.started);
    format!(
        "artifact_uri: {}\ndeleted_time: null\nend_time: {ended}\nentry_point_name: ''\nexperiment_id: '{experiment}'\n\
         lifecycle_stage: active\nrun_id: '{id}'\nrun_name: {}\nrun_uuid: '{id}'\nsource_name: ''\nsource_type: 4\n\
         source_version: ''\nstart_time: {started}\nstatus: {status}\ntags: []\nuser_id: unknown\n",
        quoted(&address(&root.join(experiment).join(id).join("artifacts"))),
        quoted(&run.name),
    )
}

/// A text in YAML, which takes those of JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A path as an address (RFC 8089).
fn address(path: &Path) -> String {
    let letter = |byte: &u8| match *byte {
        byte if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    format!("file://{}", path.as_os_str().as_encoded_bytes().iter().map(letter).collect::<String>())
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, |file| file.write_all(text.as_bytes())).map_err(|source| Error::Write { source })
}

/// What the system said, with the path that it is about.
fn at(path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.display().to_string();
    move |error| Error::Write { source: io::Error::new(error.kind(), format!("{path}: {error}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tracking::key;
    use crate::report::tracking::run::Row;

    fn experiment(name: &str) -> Experiment {
        let mut run = Run::new(name, "run: 'one'", &["a"]);
        (run.started, run.ended) = (1000, 3500);
        run.params.insert("phases.0.epochs".to_owned(), "2".to_owned());
        run.tags.insert("ofa.status".to_owned(), "found".to_owned());
        for (step, time, loss) in [(5, 2000, 2.5), (10, 3500, f64::NAN)] {
            let mut row = Row::at(step, time);
            key::insert(&mut row.metrics, "loss", loss);
            key::insert(&mut row.metrics, "report/top1 (größte)", 1e-7);
            run.rows.push(row);
        }
        Experiment { name: name.to_owned(), runs: vec![run] }
    }

    /// Every file below `folder` with its text.
    fn files(folder: &Path) -> BTreeMap<String, String> {
        fn visit(folder: &Path, root: &Path, all: &mut BTreeMap<String, String>) {
            for path in entries(folder).unwrap() {
                match path.is_dir() {
                    true => visit(&path, root, all),
                    false => {
                        let name = path.strip_prefix(root).unwrap().display().to_string();
                        all.insert(name, fs::read_to_string(&path).unwrap());
                    }
                }
            }
        }
        let mut all = BTreeMap::new();
        visit(folder, folder, &mut all);
        all
    }

    #[test]
    fn a_run_is_a_folder_of_files_with_a_line_a_step() {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join("a b");
        let experiment = experiment("mine");
        let id = experiment.runs[0].id.clone();
        write(&path, &[experiment]).unwrap();
        let number = free_id(Path::new("nowhere"), "mine");
        let root = address(&fs::canonicalize(&path).unwrap());
        assert!(root.ends_with("/a%20b"), "{root}");
        let run = |name: &str| format!("{number}/{id}/{name}");
        let expected = [
            (
                "0/meta.yaml".to_owned(),
                format!(
                    "artifact_location: \"{root}/0\"\ncreation_time: 0\nexperiment_id: '0'\nlast_update_time: 0\n\
                     lifecycle_stage: active\nname: \"Default\"\n"
                ),
            ),
            (run("metrics/loss"), "2000 2.5 5\n3500 nan 10\n".to_owned()),
            (run("metrics/report/top1 _gr__te_"), "2000 0.0000001 5\n3500 0.0000001 10\n".to_owned()),
            (run("params/phases.0.epochs"), "2".to_owned()),
            (run("tags/mlflow.runName"), "run: _one_".to_owned()),
            (run("tags/mlflow.source.name"), "ofa".to_owned()),
            (run("tags/mlflow.source.type"), "LOCAL".to_owned()),
            (run("tags/ofa.status"), "found".to_owned()),
            (
                run("meta.yaml"),
                format!(
                    "artifact_uri: \"{root}/{number}/{id}/artifacts\"\ndeleted_time: null\nend_time: 3500\n\
                     entry_point_name: ''\nexperiment_id: '{number}'\nlifecycle_stage: active\nrun_id: '{id}'\n\
                     run_name: \"run: _one_\"\nrun_uuid: '{id}'\nsource_name: ''\nsource_type: 4\nsource_version: ''\n\
                     start_time: 1000\nstatus: 3\ntags: []\nuser_id: unknown\n"
                ),
            ),
            (
                format!("{number}/meta.yaml"),
                format!(
                    "artifact_location: \"{root}/{number}\"\ncreation_time: 1000\nexperiment_id: '{number}'\n\
                     last_update_time: 1000\nlifecycle_stage: active\nname: \"mine\"\n"
                ),
            ),
        ];
        assert_eq!(files(&path), BTreeMap::from(expected));
        assert!(path.join(run("artifacts")).is_dir());
    }

    #[test]
    fn what_is_written_again_replaces_what_was_and_touches_nothing_else() {
        let out = tempfile::tempdir().unwrap();
        // Experiments of the user's: one that is called the same, and one whose number is the one ours would get.
        let taken = free_id(out.path(), "other");
        for (id, name) in [("7", "mine"), (taken.as_str(), "theirs")] {
            make(out.path(), id, name, 5).unwrap();
            fs::create_dir_all(out.path().join(id).join("theirs/metrics")).unwrap();
            fs::write(out.path().join(id).join("theirs/metrics/x"), "1 2 3\n").unwrap();
        }
        let before = files(out.path());
        let mut mine = experiment("mine");
        write(out.path(), &[mine.clone(), experiment("other")]).unwrap();
        let first = files(out.path());
        assert!(before.iter().all(|(name, text)| first.get(name) == Some(text)), "{first:?}");
        // What a killed export left is gone after the next.
        let folder = out.path().join("7").join(&mine.runs[0].id);
        fs::create_dir_all(folder.with_extension("tmp")).unwrap();
        fs::create_dir_all(folder.with_extension("old")).unwrap();
        mine.runs[0].rows.remove(1);
        mine.runs[0].status = Status::Running;
        write(out.path(), &[mine, experiment("other")]).unwrap();
        let second = files(out.path());
        assert_eq!(second.keys().collect::<Vec<_>>(), first.keys().collect::<Vec<_>>());
        let changed: Vec<&String> =
            second.iter().filter(|(name, text)| first[*name] != **text).map(|(name, _)| name).collect();
        assert_eq!(changed.len(), 3, "two numbers and the status: {changed:?}");
        assert_eq!(fs::read_to_string(folder.join("metrics/loss")).unwrap(), "2000 2.5 5\n");
        assert!(fs::read_to_string(folder.join(META)).unwrap().contains("end_time: null\n"));
        assert!(!folder.with_extension("tmp").exists() && !folder.with_extension("old").exists());
        assert!(!out.path().join("0").exists(), "the folder was there: it is as its owner wants it");
    }

    #[test]
    fn a_folder_of_something_else_is_refused_and_left_as_it_is() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join(".hidden"), "").unwrap();
        write(out.path(), &[]).unwrap();
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("notes.txt"), "mine").unwrap();
        let refused = write(other.path(), &[experiment("mine")]);
        assert!(matches!(refused, Err(Error::Report(ReportError::OtherFolder { .. }))), "{refused:?}");
        assert_eq!(files(other.path()).len(), 1);
        // A file is no folder.
        assert!(write(&other.path().join("notes.txt"), &[experiment("mine")]).is_err());
    }

    #[test]
    fn an_experiment_that_was_deleted_is_not_written_again() {
        let out = tempfile::tempdir().unwrap();
        make(&out.path().join(TRASH), "7", "mine", 5).unwrap();
        let refused = write(out.path(), &[experiment("mine")]);
        assert!(matches!(refused, Err(Error::Report(ReportError::Deleted { .. }))), "{refused:?}");
        assert_eq!(files(out.path()).len(), 1);
        // Restored, or made anew under another number, it counts.
        make(out.path(), "8", "mine", 5).unwrap();
        write(out.path(), &[experiment("mine")]).unwrap();
    }
}
