//! Where a making of calibration images that was stopped goes on: `calibration/unfinished.safetensors` of its bundle, with the
//! statistics of real images as far as they are taken, then with the images that are being made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use search::subnet::SubnetConfig;
use storage::digest::Digest;
use supernet::distill::Distillation;
use supernet::statistics::{BnStatistics, ChannelStatistics};
use supernet::subnet::Subnet;
use supernet::tensors::{Metadata, load_safetensors, save_safetensors};
use tch::Tensor;

use crate::error::Result;
use crate::folders::names;
use crate::stages::record::remove;

/// What is done of a making of images.
pub(crate) struct Unfinished {
    path: PathBuf,
    /// What the images depend on.
    of: Digest,
    /// What an earlier process left of the same making.
    left: BTreeMap<String, Tensor>,
    steps_left: usize,
}

impl Unfinished {
    /// What was left by an earlier making in the bundle in `folder` of the same images, which depend on `of`; nothing if
    /// there is none. What is of others or cannot be read is begun anew, with a note.
    pub(super) fn open(folder: &Path, of: Digest) -> Self {
        let path = folder.join(names::CALIBRATION).join(names::CALIBRATION_STATE);
        let mut unfinished = Self { path, of, left: BTreeMap::new(), steps_left: 0 };
        if unfinished.path.exists() {
            match load_safetensors(&unfinished.path) {
                Err(error) => tracing::warn!(%error, "what was begun cannot be read; begun anew"),
                Ok((tensors, about)) => unfinished.take(tensors, &about),
            }
        }
        unfinished
    }

    fn take(&mut self, tensors: BTreeMap<String, Tensor>, about: &Metadata) {
        let steps = about.get("steps_done").and_then(|steps| steps.parse().ok());
        match steps.filter(|_| about.get("of") == Some(&self.of.to_string())) {
            Some(steps) => (self.left, self.steps_left) = (tensors, steps),
            None => tracing::info!(file = %self.path.display(), "images of another making; begun anew"),
        }
    }

    /// Statistics of real images for `subnet`, number `index` of the pool, if they were taken: finite ones, one for each of
    /// its batch norms.
    pub(super) fn statistics(&self, index: usize, subnet: &Subnet) -> Option<BnStatistics> {
        let like = subnet.stored_statistics();
        let one = |(layer, like): (usize, &ChannelStatistics)| {
            let both = self.left.get(&name_of(index, layer))?;
            let fits = both.size() == [2, like.mean.size()[0]] && both.kind() == like.mean.kind() && is_finite(both);
            let both = fits.then(|| both.to_device(like.mean.device()))?;
            Some(ChannelStatistics { mean: both.get(0), var: both.get(1) })
        };
        like.layers().iter().enumerate().map(one).collect::<Option<_>>().map(BnStatistics::fixed)
    }

    /// Brings `distillation` to where the earlier making was.
    pub(super) fn resume(&self, distillation: &mut Distillation<'_>) {
        if self.left.values().all(is_finite) && distillation.resume(self.steps_left, &self.left) {
            tracing::info!(updates = distillation.steps_done(), "going on with images that were begun");
        }
    }

    /// Writes what is taken of the statistics of the pool, and where `distillation` is, if that has begun.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(
        &self,
        pool: &[(SubnetConfig, BnStatistics)],
        distillation: Option<&Distillation<'_>>,
    ) -> Result<()> {
        let mut tensors = Vec::new();
        for (index, (_, of_subnet)) in pool.iter().enumerate() {
            for (layer, ChannelStatistics { mean, var }) in of_subnet.layers().iter().enumerate() {
                tensors.push((name_of(index, layer), Tensor::stack(&[mean, var], 0)));
            }
        }
        let state = distillation.map(Distillation::state).into_iter().flatten();
        tensors.extend(state.map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())));
        let steps = distillation.map_or(0, Distillation::steps_done).to_string();
        let about = [("of", self.of.to_string()), ("steps_done", steps)];
        let about = about.map(|(key, value)| (key.to_owned(), value)).into();
        let tensors: Vec<(String, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
        Ok(save_safetensors(&self.path, &tensors, &about)?)
    }

    /// Removes the file.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(super) fn end(self) -> Result<()> {
        remove(&self.path)
    }
}

fn is_finite(tensor: &Tensor) -> bool {
    bool::try_from(tensor.isfinite().all()).expect("a truth value")
}

fn name_of(subnet: usize, layer: usize) -> String {
    format!("statistics.{subnet}.{layer}")
}
