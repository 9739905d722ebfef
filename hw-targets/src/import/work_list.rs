//! A folder with a work list and one profile per operator: how profiles that name no shapes become a table.
//!
//! The folder holds `operators.csv`, a table without values as `ofa target template` writes it, and for each operator
//! the profile of a model that computes just that operator, in a file named by its `source_key`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::HwError;
use crate::table::{Measurement, OpTable, Row};
use crate::table_file::read_operators;
use storage::file::{FileError, read_text};

/// The work list's name.
pub(super) const WORK_LIST: &str = "operators.csv";

/// The operators of the folder's work list with the latency that `timing` reads out of each profile. `format` and
/// `endings` are those of the profiles.
pub(super) fn answered(
    folder: &Path,
    format: &'static str,
    endings: &[&str],
    mut timing: impl FnMut(&Path, &str) -> Result<Measurement, HwError>,
    notes: &mut Vec<String>,
) -> Result<OpTable, HwError> {
    let list = folder.join(WORK_LIST);
    if !list.is_file() {
        let problem = format!("profiles are read beside the work list {WORK_LIST}, which is not in the folder");
        return Err(FileError::malformed(folder, format, problem).into());
    }
    let mut unused = profiles(folder, endings)?;
    let (mut rows, mut unanswered, mut answered) = (Vec::new(), 0, BTreeSet::new());
    for (key, source_key, place) in read_operators(&list)? {
        let named = |ending: &&str| source_key.as_ref().map(|name| folder.join(format!("{name}.{ending}")));
        let Some(profile) = endings.iter().filter_map(named).find(|file| unused.contains(file)) else {
            unanswered += 1;
            continue;
        };
        unused.remove(&profile);
        answered.insert(profile.with_extension(""));
        rows.push(Row {
            key,
            latency: Some(timing(&profile, &read_text(&profile, format)?)?),
            energy: None,
            energy_method: None,
            energy_scope: None,
            source_key,
            place,
        });
    }
    if unanswered > 0 {
        notes.push(format!("{unanswered} operators of {WORK_LIST} have no profile beside it and were left out"));
    }
    notes.extend(unused.iter().map(|file| {
        let why = if answered.contains(&file.with_extension("")) {
            "another file answered for its operator".to_string()
        } else {
            format!("no operator of {WORK_LIST} has this name")
        };
        format!("{}: {why}", file.display())
    }));
    OpTable::from_rows(folder, rows)
}

/// All files with one of the endings but the work list itself.
fn profiles(folder: &Path, endings: &[&str]) -> Result<BTreeSet<PathBuf>, HwError> {
    let io = |source| FileError::io(folder, source);
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let file = entry.map_err(io)?.path();
        let ending = file.extension().unwrap_or_default().to_string_lossy().into_owned();
        if endings.contains(&ending.as_str()) && file.file_name().is_some_and(|name| name != WORK_LIST) {
            files.insert(file);
        }
    }
    Ok(files)
}
