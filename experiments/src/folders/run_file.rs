//! `run.json`: which program made a run, on what, and with which seed.
//!
//! The fields are those of the newest start; where a run was gone on with, `earlier_starts` holds those of the starts
//! before it, first to last.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::folders::names;
use crate::folders::run_dir::RunDir;

const SCHEMA: &str = "ofa.run/1";

/// What one start of a run is made by.
#[derive(Clone, Debug)]
pub(crate) struct RunFacts<'a> {
    /// Commit of the source.
    pub(crate) revision: &'a str,
    /// `cpu` or `cuda:N`.
    pub(crate) device: &'a str,
    /// The maker's name for the device.
    pub(crate) device_name: &'a str,
    /// Threads that LibTorch computes with.
    pub(crate) threads: usize,
    /// Version of LibTorch as it states it.
    pub(crate) libtorch: Option<&'a str>,
    /// Seed of everything.
    pub(crate) seed: u64,
    /// Where the images are.
    pub(crate) data: &'a str,
}

/// Writes what this start is made by, and keeps what the file says of earlier ones.
///
/// # Errors
/// A damaged file of an earlier start, or one that cannot be written.
pub(crate) fn write(run: &RunDir, facts: &RunFacts<'_>) -> Result<()> {
    let mut file = json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "revision": facts.revision,
        "libtorch": facts.libtorch,
        "device": facts.device,
        "device_name": facts.device_name,
        "threads": facts.threads,
        "seed": facts.seed,
        "data": facts.data,
    });
    if let Some(earlier) = earlier_starts(&run.path().join(names::RUN))? {
        file["earlier_starts"] = earlier;
    }
    Ok(run.write(names::RUN, &format!("{file:#}\n"))?)
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
            let facts = RunFacts {
                revision,
                device: "cpu",
                device_name: "a processor",
                threads: 2,
                libtorch: None,
                seed: 3,
                data: "synthetic:80",
            };
            write(&run, &facts).unwrap();
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
    }
}
