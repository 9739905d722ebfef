//! `run.json`: which program made a run, when and how it was called, on what, and with which seed.
//!
//! The fields are those of the newest start; where a run was gone on with, `earlier_starts` holds those of the starts
//! before it, first to last.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use supernet::device::{self, LibTorch};
use supernet::train::Precision;
use tch::Device;

use crate::doctor::processor_name;
use crate::error::{Error, Result};
use crate::folders::names;
use crate::folders::run_dir::RunDir;
use crate::folders::utc::utc;
use crate::torch::LAUNCHED_BY;

const SCHEMA: &str = "ofa.run/1";

/// What one start of a run is made by.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// Commit of the source.
    pub(crate) revision: &'static str,
    /// Words that the program was called with, its own name first.
    pub(crate) command: Vec<String>,
    /// When: UTC as in RFC 3339.
    pub(crate) started: String,
    /// `cpu` or `cuda:N`.
    pub(crate) device: String,
    /// The maker's name for the device.
    pub(crate) device_name: String,
    /// Threads that LibTorch computes with.
    pub(crate) threads: usize,
    /// Number format of feature maps.
    pub(crate) precision: &'static str,
    /// Version of LibTorch as it states it.
    pub(crate) libtorch: Option<String>,
}

/// What `run.json` says.
#[derive(Clone, Debug)]
pub(crate) struct RunFacts<'a> {
    /// What this start is made by.
    pub(crate) made: &'a Made,
    /// Seed of everything.
    pub(crate) seed: u64,
    /// Where the images are.
    pub(crate) data: &'a str,
    /// How many processes train together.
    pub(crate) processes: usize,
}

impl Made {
    /// By this process, now.
    pub(crate) fn now(revision: &'static str, device: Device, precision: Precision) -> Made {
        let libtorch = LibTorch::describe();
        let device_name = match device {
            Device::Cuda(index) => {
                let known = libtorch.devices.iter().find(|device| device.index == index);
                known.map_or(String::new(), |device| device.name.clone())
            }
            _ => processor_name(),
        };
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Made {
            revision,
            command: command(),
            started: utc(since_1970.as_secs()),
            device: device_word(device),
            device_name,
            threads: device::threads(),
            precision: precision_word(precision),
            libtorch: libtorch.version,
        }
    }
}

/// The words of the command that a person gave.
fn command() -> Vec<String> {
    match std::env::var(LAUNCHED_BY) {
        Ok(words) => words.lines().map(str::to_owned).collect(),
        Err(_) => std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
    }
}

/// `cpu` or `cuda:N`.
pub(crate) fn device_word(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_owned(),
    }
}

/// As recipes name it.
pub(crate) fn precision_word(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "fp32",
        Precision::Bf16 => "bf16",
    }
}

/// Writes what this start is made by, and keeps what the file says of earlier ones.
///
/// # Errors
/// A damaged file of an earlier start, or one that cannot be written.
pub(crate) fn write(run: &RunDir, RunFacts { made, seed, data, processes }: &RunFacts<'_>) -> Result<()> {
    let mut file = json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "revision": made.revision,
        "command": made.command,
        "started": made.started,
        "libtorch": made.libtorch,
        "device": made.device,
        "device_name": made.device_name,
        "threads": made.threads,
        "processes": processes,
        "precision": made.precision,
        "seed": seed,
        "data": data,
    });
    if let Some(earlier) = earlier_starts(&run.path().join(names::RUN))? {
        file["earlier_starts"] = earlier;
    }
    Ok(run.write(names::RUN, &format!("{file:#}\n"))?)
}

/// The schema of the file.
pub(crate) fn schema() -> Value {
    let described = |kind: Value, words: &str| json!({"type": kind, "description": words});
    let text = |words: &str| described("string".into(), words);
    let fields = json!({
        "version": text("Version of the program."),
        "revision": text("Commit of its source."),
        "command": {"type": "array", "items": {"type": "string"}, "description": "Words that it was called with."},
        "started": text("When: UTC as in RFC 3339."),
        "libtorch": described(json!(["string", "null"]), "Version of LibTorch as it states it."),
        "device": text("`cpu` or `cuda:N`."),
        "device_name": text("The maker's name for the device."),
        "threads": described("integer".into(), "Threads that LibTorch computes with."),
        "processes": described("integer".into(), "Processes that train together; files of earlier versions do not say."),
        "precision": text("Number format of feature maps."),
        "seed": described("integer".into(), "Seed of everything."),
        "data": text("Where the images are."),
    });
    let names = fields.as_object().into_iter().flat_map(|fields| fields.keys());
    let names: Vec<&String> = names.filter(|name| *name != "processes").collect();
    let start = json!({"type": "object", "properties": fields, "required": names});
    let mut schema = start.clone();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["properties"]["schema"] = json!({"const": SCHEMA});
    schema["properties"]["earlier_starts"] =
        json!({"type": "array", "items": start, "description": "The starts before the newest, first to last."});
    schema
}

fn earlier_starts(path: &Path) -> Result<Option<Value>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Read { path: path.to_path_buf(), source }),
    };
    let refused = |reason: String| Error::FileInFolder { path: path.to_path_buf(), reason };
    let mut last: Value = serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
    let Some(fields) = last.as_object_mut() else { return Err(refused("it is no JSON object".to_owned())) };
    fields.shift_remove("schema");
    let mut starts = match fields.shift_remove("earlier_starts") {
        Some(Value::Array(starts)) => starts,
        _ => Vec::new(),
    };
    starts.push(last);
    Ok(Some(starts.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::open(folder.path()).unwrap();
        let start = |revision| {
            let made = Made::now(revision, Device::Cpu, Precision::Fp32);
            write(&run, &RunFacts { made: &made, seed: 3, data: "synthetic:80", processes: 1 }).unwrap();
            serde_json::from_str::<Value>(&fs::read_to_string(folder.path().join(names::RUN)).unwrap()).unwrap()
        };
        let first = start("a");
        assert_eq!((&first["revision"], first.get("earlier_starts")), (&"a".into(), None));
        start("b");
        let third = start("c");
        let earlier = third["earlier_starts"].as_array().unwrap();
        assert_eq!(third["revision"], "c");
        assert_eq!(earlier.iter().map(|start| &start["revision"]).collect::<Vec<_>>(), ["a", "b"]);
        assert!(earlier.iter().all(|start| start.get("earlier_starts").is_none() && start["seed"] == 3));
        let described = schema()["properties"].clone();
        assert!(third.as_object().unwrap().keys().all(|field| described.get(field).is_some()), "{described}");
    }
}
