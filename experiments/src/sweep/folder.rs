//! The folder of a sweep: `sweep.yaml`, one file a computed point in `points/`, claims of points under way in `claims/`, what
//! stages before and after the searches make with their records in `stages/`, and `sweep.parquet` with all points.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use storage::atomic::write_atomically;
use storage::digest::{Digest, Digester};

use crate::error::{Error, Result};
use crate::folders::names;
use crate::stages::record::RECORDS;
use crate::sweep::error::SweepError;

const SCHEMA: &str = "ofa.sweep-point/1";
const POINTS: &str = "points";
const CLAIMS: &str = "claims";
const FILE: &str = "sweep.yaml";
/// Says in which folder the sweep's file was: what that names by its place lies there.
pub(crate) const ORIGIN: &str = "sweep.origin";
/// The folders of what stages before and after the searches make.
pub(crate) const BUNDLES: &str = "bundles";
pub(crate) const PREDICTORS: &str = "predictors";
pub(crate) const REFINED: &str = "refined";
pub(crate) const TUNED: &str = "tuned";
pub(crate) const NETWORKS: &str = "networks";
/// The table of all results.
pub const TABLE: &str = "sweep.parquet";

/// How a point ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// With a subnet.
    Found,
    /// Nothing fits: that is a result, too.
    Infeasible,
    /// With an error; it will be tried again.
    Failed,
}

impl Status {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Status::Found => "found",
            Status::Infeasible => "infeasible",
            Status::Failed => "failed",
        }
    }
}

/// A computed point.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// How it ended.
    pub status: Status,
    /// What tells it from the others.
    pub point: Value,
    /// What it depends on.
    pub inputs: Value,
    /// What was found, as `ofa search --format json` prints it; null where nothing was.
    pub result: Value,
    /// Why nothing was found; empty where something was.
    pub message: String,
    /// Seconds that it took.
    pub seconds: f64,
}

/// How a record begins.
const DIGEST: &str = "{\n  \"digest\": \"";

/// Of the text of a record without its digest.
fn digest_of(text: &str) -> Digest {
    Digester::new("sweep.record").text(text).finish()
}

/// Copies files below `from` that `to` lacks.
fn copy_missing(from: &Path, to: &Path) -> Result<()> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error::Read { path: from.to_path_buf(), source }),
    };
    for entry in entries.flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy_missing(&from, &to)?,
            false if to.exists() => {}
            false => copy_file(&from, &to)?,
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let mut file = fs::File::open(from).map_err(|source| Error::Read { path: from.to_path_buf(), source })?;
    write_atomically(to, |out| io::copy(&mut file, out).map(|_| ())).map_err(|source| Error::Write { source })
}

/// The folder of a sweep.
#[derive(Clone, Debug)]
pub struct SweepFolder {
    path: PathBuf,
}

impl SweepFolder {
    /// Makes the folder of the sweep whose file is at `sweep`, or opens it, with a copy of the file.
    ///
    /// # Errors
    /// [`SweepError::NotASweep`]; a folder that cannot be written.
    pub fn create(path: &Path, sweep: &Path) -> Result<SweepFolder> {
        let holds_others = match fs::read_dir(path) {
            // A file alone may be somebody's draft, or what `ofa init` wrote.
            Ok(mut entries) => {
                let is_my_file =
                    fs::read(path.join(FILE)).is_ok_and(|there| fs::read(sweep).is_ok_and(|mine| mine == there));
                let is_build = path.join(names::BUILD).exists();
                entries.next().is_some() && !is_my_file && (is_build || !path.join(POINTS).is_dir())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(_) => true,
        };
        if holds_others {
            return Err(SweepError::NotASweep { folder: path.to_path_buf() }.into());
        }
        let cannot = |source| Error::Write { source };
        fs::create_dir_all(path.join(POINTS)).map_err(cannot)?;
        fs::create_dir_all(path.join(CLAIMS)).map_err(cannot)?;
        let text = fs::read(sweep).map_err(|source| Error::Read { path: sweep.to_path_buf(), source })?;
        if fs::read(path.join(FILE)).ok().as_ref() != Some(&text) {
            write_atomically(&path.join(FILE), |file| file.write_all(&text)).map_err(cannot)?;
        }
        // The folder of results may be copied from where others put it; then it stays as they said.
        let own = sweep.parent().filter(|own| *own != path);
        if let Some(origin) =
            own.and_then(|own| fs::canonicalize(if own == Path::new("") { Path::new(".") } else { own }).ok())
        {
            let text = format!("{}\n", origin.display());
            if fs::read_to_string(path.join(ORIGIN)).ok().as_ref() != Some(&text) {
                write_atomically(&path.join(ORIGIN), |file| file.write_all(text.as_bytes())).map_err(cannot)?;
            }
        }
        Ok(SweepFolder { path: path.to_path_buf() })
    }

    /// The folder of a sweep that was run; of none, one without records.
    pub fn at(path: &Path) -> SweepFolder {
        SweepFolder { path: path.to_path_buf() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The copy of the sweep's file.
    pub fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    pub(crate) fn claims(&self) -> PathBuf {
        self.path.join(CLAIMS)
    }

    /// All records by key. One that is damaged is none: its point will be computed again.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn records(&self) -> Result<BTreeMap<String, Record>> {
        let folder = self.path.join(POINTS);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(Error::Read { path: folder, source }),
        };
        let mut records = BTreeMap::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(key) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            records.extend(self.record(key).map(|record| (key.to_owned(), record)));
        }
        Ok(records)
    }

    /// The record of a point.
    pub fn record(&self, key: &str) -> Option<Record> {
        let text = fs::read_to_string(self.path_of(key)).ok()?;
        // What was changed by hand, or by a disk, is no result.
        let (digest, rest) = text.strip_prefix(DIGEST)?.split_once("\",\n")?;
        if digest_of(&format!("{{\n{rest}")).to_string() != digest {
            return None;
        }
        let mut value: Value = serde_json::from_str(&text).ok()?;
        if value["schema"] != SCHEMA {
            return None;
        }
        let status = match value["status"].as_str()? {
            "found" => Status::Found,
            "infeasible" => Status::Infeasible,
            "failed" => Status::Failed,
            _ => return None,
        };
        Some(Record {
            status,
            point: value["point"].take(),
            inputs: value["inputs"].take(),
            result: value["result"].take(),
            message: value["message"].as_str().unwrap_or_default().to_owned(),
            seconds: value["seconds"].as_f64().unwrap_or(0.0),
        })
    }

    /// Writes the record of a point.
    pub(crate) fn write(&self, key: &str, record: &Record) -> Result<()> {
        let value = json!({
            "schema": SCHEMA, "point": record.point, "inputs": record.inputs, "status": record.status.name(),
            "message": record.message, "result": record.result, "seconds": record.seconds,
        });
        let text = format!("{value:#}\n");
        let digest = digest_of(&text);
        let text = text.replacen("{\n", &format!("{DIGEST}{digest}\",\n"), 1);
        write_atomically(&self.path_of(key), |file| file.write_all(text.as_bytes()))
            .map_err(|source| Error::Write { source })
    }

    /// Takes over all records of another folder that are not here.
    ///
    /// # Errors
    /// A folder that cannot be read, a file that cannot be written.
    pub fn take_over(&self, other: &SweepFolder) -> Result<()> {
        for (key, record) in other.records()? {
            let here = self.record(&key);
            if here.is_none_or(|here| here.status == Status::Failed) {
                self.write(&key, &record)?;
            }
        }
        // What stages made, the record of each after it.
        for kind in [BUNDLES, PREDICTORS, REFINED, TUNED, NETWORKS, RECORDS] {
            copy_missing(&other.path.join(kind), &self.path.join(kind))?;
        }
        if !self.path.join(ORIGIN).exists() && other.path.join(ORIGIN).exists() {
            copy_file(&other.path.join(ORIGIN), &self.path.join(ORIGIN))?;
        }
        Ok(())
    }

    /// The file of a point's record.
    pub(crate) fn path_of(&self, key: &str) -> PathBuf {
        self.path.join(POINTS).join(format!("{key}.json"))
    }

    /// Notes that a point was computed to an end, for whoever counts what was computed twice.
    pub(crate) fn log(&self, key: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path.join("computed.log"))?;
        // One write of a short line at the end of a file: lines of several processes do not mix.
        file.write_all(format!("{key}\n").as_bytes())
    }

    /// Keys of all points that were computed to an end, each as often as it was.
    pub fn computed(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path.join("computed.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}
