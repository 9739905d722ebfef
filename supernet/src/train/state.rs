//! Everything that a training run needs to go on exactly where it was.
//!
//! A checkpoint is a folder `checkpoint-SSSSSSSSSS` (the global step) with `supernet.safetensors`,
//! `momentum.safetensors`, `teacher.safetensors` (once there is a teacher) and `state.json`. It is written under a
//! temporary name, synced, then renamed, so that a folder of that name is always whole. Random numbers are functions of
//! the position, so there is no generator state to save.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::SupernetError;
use crate::tensors::{load_safetensors, save_safetensors};

/// Where a run stands: the next step to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Phase from 0; equal to the number of phases when the run is done.
    pub phase: usize,
    /// Step inside the phase.
    pub step: u64,
    /// Steps of the whole run so far.
    pub global_step: u64,
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    schema: String,
    plan: String,
    position: Position,
}

const SCHEMA: &str = "ofa.train-state/1";

/// What is saved.
pub(crate) struct State {
    pub(crate) position: Position,
    pub(crate) weights: BTreeMap<String, Tensor>,
    pub(crate) momentum: BTreeMap<String, Tensor>,
    pub(crate) teacher: Option<BTreeMap<String, Tensor>>,
}

fn refused(path: &Path, reason: impl Into<String>) -> SupernetError {
    SupernetError::Checkpoint { path: path.to_path_buf(), reason: reason.into() }
}

impl State {
    /// Writes the checkpoint of this position into `folder` and removes all but the last two.
    pub(crate) fn save(&self, folder: &Path, plan: &str) -> Result<(), SupernetError> {
        let name = format!("checkpoint-{:010}", self.position.global_step);
        let temporary = folder.join(format!("{name}.tmp"));
        if temporary.exists() {
            fs::remove_dir_all(&temporary)?;
        }
        fs::create_dir_all(&temporary)?;
        let no_metadata = BTreeMap::new();
        let mut files = vec![("supernet", &self.weights), ("momentum", &self.momentum)];
        files.extend(self.teacher.as_ref().map(|teacher| ("teacher", teacher)));
        for (name, tensors) in files {
            let tensors: Vec<(String, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
            save_safetensors(&temporary.join(format!("{name}.safetensors")), &tensors, &no_metadata)?;
        }
        let state = StateFile { schema: SCHEMA.into(), plan: plan.into(), position: self.position };
        let text = serde_json::to_vec_pretty(&state).expect("plain data");
        hw_targets::files::write_atomically(&temporary.join("state.json"), |file| {
            std::io::Write::write_all(file, &text)
        })?;
        let whole = folder.join(&name);
        if whole.exists() {
            fs::remove_dir_all(&whole)?;
        }
        fs::rename(&temporary, &whole)?;
        fs::File::open(folder)?.sync_all()?;
        let mut all = checkpoints(folder)?;
        all.truncate(all.len().saturating_sub(2));
        for old in all {
            fs::remove_dir_all(old)?;
        }
        Ok(())
    }

    /// The newest checkpoint in `folder`, if there is one.
    ///
    /// # Errors
    /// One that is damaged, or that another plan made.
    pub(crate) fn load_newest(folder: &Path, plan: &str) -> Result<Option<State>, SupernetError> {
        let Some(path) = checkpoints(folder)?.pop() else { return Ok(None) };
        let file = path.join("state.json");
        let text = fs::read(&file).map_err(|error| refused(&file, error.to_string()))?;
        let state: StateFile = serde_json::from_slice(&text).map_err(|error| refused(&file, error.to_string()))?;
        if state.schema != SCHEMA {
            return Err(refused(&file, format!("schema `{}` instead of `{SCHEMA}`", state.schema)));
        }
        if state.plan != plan {
            return Err(refused(&file, "the run was started with another recipe, data set or space"));
        }
        let read = |name: &str| load_safetensors(&path.join(name)).map(|(tensors, _)| tensors);
        let teacher = path.join("teacher.safetensors").exists();
        Ok(Some(State {
            position: state.position,
            weights: read("supernet.safetensors")?,
            momentum: read("momentum.safetensors")?,
            teacher: teacher.then(|| read("teacher.safetensors")).transpose()?,
        }))
    }
}

/// Whole checkpoints, oldest first.
fn checkpoints(folder: &Path) -> Result<Vec<PathBuf>, SupernetError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.strip_prefix("checkpoint-").is_some_and(|step| step.bytes().all(|byte| byte.is_ascii_digit())) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
