//! Everything that a training run needs to go on exactly where it was.
//!
//! A checkpoint is a folder `checkpoint-SSSSSSSSSS` (the global step) with `supernet.safetensors`,
//! `momentum.safetensors`, `teacher.safetensors` (once there is a teacher), `average.safetensors` (if weights are
//! averaged), `masks.safetensors` (while a phase waits for its channels to settle) and `state.json`. It is written under
//! a temporary name, synced, then renamed, so that a folder of that name is always whole; `state.json` has the digests of
//! the others, so that one which a disk has changed is told, and the checkpoint before it is gone on from. Random numbers
//! are functions of the position, so there is no generator state to save.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use storage::digest::Digester;
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

/// The losses of an epoch so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct EpochLoss {
    sum: f64,
    steps: u64,
}

impl EpochLoss {
    /// One step more.
    pub(crate) fn add(&mut self, loss: f64) {
        self.sum += loss;
        self.steps += 1;
    }

    /// The mean; NaN before the first step.
    pub(crate) fn mean(self) -> f64 {
        self.sum / self.steps as f64
    }
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    schema: String,
    plan: String,
    position: Position,
    /// Bits of the sum, and steps: what is logged at the end of the epoch is the same however often the run was stopped.
    #[serde(default)]
    epoch_loss: (u64, u64),
    /// How often the run rolled back.
    #[serde(default, skip_serializing_if = "is_zero")]
    rollbacks: u32,
    /// Digest of each file; none in checkpoints of earlier versions.
    #[serde(default)]
    files: BTreeMap<String, String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

const SCHEMA: &str = "ofa.train-state/1";
/// What the folders of checkpoints are called, before the step.
const PREFIX: &str = "checkpoint-";
/// What a damaged one is called after its name.
const DAMAGED: &str = "damaged";
/// Where the checkpoint lies that a run rolls back to, in the folder of the others.
pub(crate) const ANCHOR: &str = "anchor";
/// Checkpoints that a run keeps: the newest, and one to go on from where that is damaged.
pub(crate) const KEPT: usize = 2;

/// What is saved.
pub(crate) struct State {
    /// Where it was read from; nowhere before it is saved.
    pub(crate) folder: PathBuf,
    pub(crate) position: Position,
    pub(crate) epoch_loss: EpochLoss,
    pub(crate) rollbacks: u32,
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
    /// Says of which checkpoint an error is that came up while its tensors were put to use.
    pub(crate) fn within<T>(folder: &Path, result: Result<T, SupernetError>) -> Result<T, SupernetError> {
        result.map_err(|error| refused(folder, error.to_string()))
    }

    /// Writes the checkpoint of this position into `folder` and removes all but the last `kept`.
    pub(crate) fn save(&self, folder: &Path, plan: &str, kept: usize) -> Result<(), SupernetError> {
        let name = format!("{PREFIX}{:010}", self.position.global_step);
        let temporary = folder.join(format!("{name}.new.tmp"));
        clear_leftovers(folder)?;
        fs::create_dir_all(&temporary)?;
        let no_metadata = BTreeMap::new();
        let mut files = vec![("supernet", &self.weights), ("momentum", &self.momentum)];
        let optional = [("teacher", &self.teacher), ("average", &self.average), ("masks", &self.masks)];
        files.extend(optional.iter().filter_map(|(name, tensors)| Some((*name, tensors.as_ref()?))));
        let mut digests = BTreeMap::new();
        for (name, tensors) in files {
            let tensors: Vec<(String, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
            let name = format!("{name}.safetensors");
            let path = temporary.join(&name);
            save_safetensors(&path, &tensors, &no_metadata)?;
            digests.insert(name, digest_of(&path)?);
        }
        let epoch_loss = (self.epoch_loss.sum.to_bits(), self.epoch_loss.steps);
        let state = StateFile {
            schema: SCHEMA.into(),
            plan: plan.into(),
            position: self.position,
            epoch_loss,
            rollbacks: self.rollbacks,
            files: digests,
        };
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
        all.truncate(all.len().saturating_sub(kept));
        all.iter().try_for_each(|old| discard(old))
    }

    /// The newest checkpoint in `folder` that is whole, if there is one. What is damaged gets another name, and a note says
    /// so.
    ///
    /// # Errors
    /// One that another plan made; one that is damaged where there is none before it.
    pub(crate) fn load_newest(folder: &Path, plan: &str) -> Result<(Option<State>, Vec<String>), SupernetError> {
        let mut all = checkpoints(folder)?;
        let mut damaged: Vec<(PathBuf, SupernetError)> = Vec::new();
        while let Some(path) = all.pop() {
            match Self::load(&path, plan) {
                Ok(state) => {
                    let mut notes = Vec::new();
                    for (path, error) in damaged {
                        let aside = path.with_extension(DAMAGED);
                        if aside.exists() {
                            fs::remove_dir_all(&aside)?;
                        }
                        fs::rename(&path, &aside)?;
                        notes.push(format!(
                            "{error}; the run goes on from {}, and what was damaged is {} now",
                            state.folder.file_name().unwrap_or_default().display(),
                            aside.file_name().unwrap_or_default().display()
                        ));
                    }
                    return Ok((Some(state), notes));
                }
                Err(LoadError::OtherRun(error)) => return Err(error),
                Err(LoadError::Damaged(error)) => damaged.push((path, error)),
            }
        }
        let Some((_, newest)) = damaged.into_iter().next() else { return Ok((None, Vec::new())) };
        let anchor = folder.join(ANCHOR);
        match anchor.is_dir().then(|| Self::load_newest(&anchor, plan)).transpose()? {
            Some((Some(state), mut notes)) => {
                let step = state.position.global_step;
                notes.push(format!(
                    "{newest}, and so is what was before; the run goes on from the anchor at step {step}"
                ));
                Ok((Some(state), notes))
            }
            _ => Err(newest),
        }
    }

    /// Removes the checkpoints in `folder` that come after `position`.
    pub(crate) fn remove_after(folder: &Path, position: Position) -> Result<(), SupernetError> {
        let last = format!("{PREFIX}{:010}", position.global_step);
        let is_after = |path: &&PathBuf| path.file_name().is_some_and(|name| *name > *last);
        checkpoints(folder)?.iter().filter(is_after).try_for_each(|path| discard(path))
    }

    fn load(path: &Path, plan: &str) -> Result<State, LoadError> {
        let file = path.join("state.json");
        let text = fs::read(&file).map_err(|error| refused(&file, error.to_string()))?;
        let state: StateFile = serde_json::from_slice(&text).map_err(|error| refused(&file, error.to_string()))?;
        if state.schema != SCHEMA {
            // Of another version, as those before it are.
            let reason = format!("schema `{}` instead of `{SCHEMA}`", state.schema);
            return Err(LoadError::OtherRun(refused(&file, reason)));
        }
        if state.plan != plan {
            return Err(LoadError::OtherRun(SupernetError::OtherRun { path: file }));
        }
        let read = |name: &str| -> Result<_, SupernetError> {
            let file = path.join(name);
            let tensors = load_safetensors(&file)?.0;
            match state.files.get(name) {
                Some(digest) if digest_of(&file)? != *digest => Err(refused(&file, "its digest is another one")),
                _ => Ok(tensors),
            }
        };
        let optional = |name: &str| path.join(name).exists().then(|| read(name)).transpose();
        let (sum, steps) = state.epoch_loss;
        Ok(State {
            folder: path.to_path_buf(),
            position: state.position,
            epoch_loss: EpochLoss { sum: f64::from_bits(sum), steps },
            rollbacks: state.rollbacks,
            weights: read(crate::WEIGHTS_FILE)?,
            momentum: read("momentum.safetensors")?,
            teacher: optional("teacher.safetensors")?,
            average: optional("average.safetensors")?,
            masks: optional("masks.safetensors")?,
        })
    }
}

/// Why a checkpoint is not gone on from.
enum LoadError {
    /// It is of another run, as those before it are.
    OtherRun(SupernetError),
    /// It is damaged.
    Damaged(SupernetError),
}

impl From<SupernetError> for LoadError {
    fn from(error: SupernetError) -> Self {
        LoadError::Damaged(error)
    }
}

/// Of the bytes of a file.
fn digest_of(path: &Path) -> Result<String, SupernetError> {
    Ok(Digester::new("checkpoint").bytes(&fs::read(path)?).finish().to_string())
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
        let is_ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
        if is_ours && path.extension().is_some_and(|extension| extension == "tmp") && path.is_dir() {
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
        if name.strip_prefix(PREFIX).is_some_and(|step| step.bytes().all(|byte| byte.is_ascii_digit())) {
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
        let mut epoch_loss = EpochLoss::default();
        epoch_loss.add(0.1 + 0.2);
        State {
            folder: PathBuf::new(),
            position,
            epoch_loss,
            rollbacks: 0,
            momentum: BTreeMap::new(),
            weights,
            teacher: None,
            average: None,
            masks: None,
        }
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
            state(step).save(folder.path(), "plan", KEPT).unwrap();
        }
        assert_eq!(names(), ["checkpoint-0000000002", "checkpoint-0000000003"]);
        // What a kill may leave: the same step saved again, the old one half removed, the new one not in place yet.
        fs::rename(folder.path().join("checkpoint-0000000003"), folder.path().join("checkpoint-0000000003.old.tmp"))
            .unwrap();
        fs::create_dir(folder.path().join("checkpoint-0000000003.new.tmp")).unwrap();
        let newest = || State::load_newest(folder.path(), "plan").unwrap().0.unwrap();
        let found = newest();
        assert_eq!(found.position.global_step, 2);
        state(4).save(folder.path(), "plan", KEPT).unwrap();
        assert_eq!(names(), ["checkpoint-0000000002", "checkpoint-0000000004"]);
        assert_eq!(newest().epoch_loss, state(4).epoch_loss);
        let damaged = Err::<(), _>(SupernetError::WeightNotFinite { name: "w".into() });
        let error = State::within(Path::new("run/checkpoint-0000000004"), damaged).unwrap_err().to_string();
        assert_eq!(error, "run/checkpoint-0000000004: weight `w` holds a NaN or an infinity");
        // Something else's file is left alone.
        fs::write(folder.path().join("notes.tmp"), "").unwrap();
        state(5).save(folder.path(), "plan", KEPT).unwrap();
        assert!(folder.path().join("notes.tmp").exists());
        let error = |plan| State::load_newest(folder.path(), plan).err().unwrap().to_string();
        assert!(
            error("other").ends_with("the run was started with another recipe, data set, space or number of processes")
        );
    }

    #[test]
    fn a_damaged_checkpoint_is_put_aside_and_the_one_before_counts() {
        // Cut off anywhere, or with a bit that fell over: of a file of tensors or of the state.
        type Damage = fn(&mut Vec<u8>);
        let damages: [(&str, Damage); 4] = [
            ("supernet.safetensors", |bytes| bytes.truncate(bytes.len() / 2)),
            ("supernet.safetensors", |bytes| *bytes.last_mut().unwrap() ^= 1),
            ("state.json", |bytes| bytes.truncate(bytes.len() - 3)),
            ("momentum.safetensors", Vec::clear),
        ];
        for (name, damage) in damages {
            let folder = tempfile::tempdir().unwrap();
            for step in [4, 5] {
                state(step).save(folder.path(), "plan", KEPT).unwrap();
            }
            let spoil = |step: u64| {
                let file = folder.path().join(format!("{PREFIX}{step:010}")).join(name);
                let mut bytes = fs::read(&file).unwrap();
                damage(&mut bytes);
                fs::write(file, bytes).unwrap();
            };
            spoil(5);
            let (found, notes) = State::load_newest(folder.path(), "plan").unwrap();
            assert_eq!(found.unwrap().position.global_step, 4);
            let [note] = notes.as_slice() else { panic!("{notes:?}") };
            assert!(note.contains(name) && note.contains("goes on from checkpoint-0000000004"), "{note}");
            assert!(folder.path().join("checkpoint-0000000005.damaged").exists());
            // Said once; and the next ones are kept like any.
            assert!(State::load_newest(folder.path(), "plan").unwrap().1.is_empty());
            state(5).save(folder.path(), "plan", KEPT).unwrap();
            spoil(4);
            spoil(5);
            let error = State::load_newest(folder.path(), "plan").err().unwrap().to_string();
            assert!(error.contains("checkpoint-0000000005") && error.contains(name), "{error}");
        }
    }

    #[test]
    fn checkpoints_of_earlier_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        state(7).save(folder.path(), "plan", KEPT).unwrap();
        let file = folder.path().join("checkpoint-0000000007/state.json");
        let mut whole: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert!(whole.as_object_mut().unwrap().remove("files").is_some());
        fs::write(&file, whole.to_string()).unwrap();
        assert_eq!(State::load_newest(folder.path(), "plan").unwrap().0.unwrap().position.global_step, 7);
    }
}
