//! Everything that a training run needs to go on exactly where it was.
//!
//! A checkpoint is a folder `checkpoint-SSSSSSSSSS` (the global step) with `supernet.safetensors`,
//! `momentum.safetensors`, `teacher.safetensors` (once there is a teacher), `average.safetensors` (if weights are
//! averaged), `masks.safetensors` (while a phase waits for its channels to settle) and `state.json`. It is written under
//! a temporary name, synced, then renamed, so that a folder of that name is always whole. Random numbers are functions of
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
    pub(crate) average: Option<BTreeMap<String, Tensor>>,
    pub(crate) masks: Option<BTreeMap<String, Tensor>>,
}

fn refused(path: &Path, reason: impl Into<String>) -> SupernetError {
    SupernetError::Checkpoint { path: path.to_path_buf(), reason: reason.into() }
}

impl State {
    /// Writes the checkpoint of this position into `folder` and removes all but the last two.
    pub(crate) fn save(&self, folder: &Path, plan: &str) -> Result<(), SupernetError> {
        let name = format!("checkpoint-{:010}", self.position.global_step);
        let temporary = folder.join(format!("{name}.new.tmp"));
        clear_leftovers(folder)?;
        fs::create_dir_all(&temporary)?;
        let no_metadata = BTreeMap::new();
        let mut files = vec![("supernet", &self.weights), ("momentum", &self.momentum)];
        let optional = [("teacher", &self.teacher), ("average", &self.average), ("masks", &self.masks)];
        files.extend(optional.iter().filter_map(|(name, tensors)| Some((*name, tensors.as_ref()?))));
        for (name, tensors) in files {
            let tensors: Vec<(String, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
            save_safetensors(&temporary.join(format!("{name}.safetensors")), &tensors, &no_metadata)?;
        }
        let state = StateFile { schema: SCHEMA.into(), plan: plan.into(), position: self.position };
        let text = serde_json::to_vec_pretty(&state).expect("plain data");
        storage::atomic::write_atomically(&temporary.join("state.json"), |file| {
            std::io::Write::write_all(file, &text)
        })?;
        let whole = folder.join(&name);
        if whole.exists() {
            discard(&whole)?;
        }
        fs::rename(&temporary, &whole)?;
        fs::File::open(folder)?.sync_all()?;
        let mut all = checkpoints(folder)?;
        all.truncate(all.len().saturating_sub(2));
        all.iter().try_for_each(|old| discard(old))
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
        let optional = |name: &str| path.join(name).exists().then(|| read(name)).transpose();
        Ok(Some(State {
            position: state.position,
            weights: read(crate::WEIGHTS_FILE)?,
            momentum: read("momentum.safetensors")?,
            teacher: optional("teacher.safetensors")?,
            average: optional("average.safetensors")?,
            masks: optional("masks.safetensors")?,
        }))
    }
}

/// Removes a checkpoint under another name, so that a kill half-way leaves none that looks whole.
fn discard(checkpoint: &Path) -> Result<(), SupernetError> {
    let doomed = checkpoint.with_extension("old.tmp");
    fs::rename(checkpoint, &doomed)?;
    Ok(fs::remove_dir_all(doomed)?)
}

/// Removes what a kill left half written or half removed.
fn clear_leftovers(folder: &Path) -> Result<(), SupernetError> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn state(step: u64) -> State {
        let weights = BTreeMap::from([("w".to_owned(), Tensor::from_slice(&[step as f32]))]);
        let position = Position { phase: 0, step, global_step: step };
        State { position, momentum: BTreeMap::new(), weights, teacher: None, average: None, masks: None }
    }

    #[test]
    fn the_newest_whole_checkpoint_counts_and_leftovers_go() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let entries = fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        for step in [1, 2, 3, 3] {
            state(step).save(folder.path(), "plan").unwrap();
        }
        assert_eq!(names(), ["checkpoint-0000000002", "checkpoint-0000000003"]);
        // What a kill may leave: the same step saved again, the old one half removed, the new one not in place yet.
        fs::rename(folder.path().join("checkpoint-0000000003"), folder.path().join("checkpoint-0000000003.old.tmp"))
            .unwrap();
        fs::create_dir(folder.path().join("checkpoint-0000000003.new.tmp")).unwrap();
        let found = State::load_newest(folder.path(), "plan").unwrap().unwrap();
        assert_eq!(found.position.global_step, 2);
        state(4).save(folder.path(), "plan").unwrap();
        assert_eq!(names(), ["checkpoint-0000000002", "checkpoint-0000000004"]);
        assert!(State::load_newest(folder.path(), "other").is_err());
    }
}
