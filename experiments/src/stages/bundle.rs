//! A bundle from its recipe: the supernet trained, subnets measured, a predictor fitted to them. Its run folder is
//! `supernet/` in the folder of the stages, the bundle lies in that.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use predictors::pairs;
use serde_json::Value;
use storage::digest::Digester;

use super::network::SAVE_EVERY;
use super::record::{Inputs, Made, State, inputs, remove};
use super::settings::{Collect, Model};
use super::watcher::{Steps, Watcher};
use crate::error::Result;
use crate::folders::bundle::Bundle;
use crate::folders::names;
use crate::predictor::fit::{FitJob, fit};
use crate::shard::Shard;
use crate::torch::{self, BundleUse, CollectRequest, DataSource, DeviceChoice, TrainRequest, TrainingInputs};
use crate::training::energy::settings::EnergySettings;

/// Measurements on held-out images in the course of a training.
const MEASURED: u64 = 20;

/// What a bundle is made of, and where.
#[derive(Clone)]
pub(crate) struct Making<'m> {
    /// The folder of the stages.
    pub(crate) root: &'m Path,
    pub(crate) recipe: PathBuf,
    /// Values that replace some of the recipe's.
    pub(crate) overrides: &'m [String],
    pub(crate) data: &'m DataSource,
    pub(crate) revision: &'static str,
    pub(crate) device: DeviceChoice,
    pub(crate) stop: &'m Arc<AtomicBool>,
}

/// Epochs from one measurement of a training of so many to the next.
pub(crate) fn measure_every(epochs: u64) -> u64 {
    (epochs / MEASURED).max(1)
}

impl Making<'_> {
    /// Trains the supernet for the recipe's `epochs`; goes on after a kill.
    ///
    /// # Errors
    /// A recipe or images that cannot be used, a stop on request (state saved).
    pub(crate) fn train(&self, epochs: u64, watcher: &mut dyn Watcher) -> Result<Made> {
        let out = self.root.join(names::TRAINED);
        let request = TrainRequest {
            recipe: self.recipe.clone(),
            overrides: self.overrides.to_vec(),
            data: Some(self.data.clone()),
            out: out.clone(),
            resume: true,
            save_every: SAVE_EVERY,
            measure_every: measure_every(epochs),
            energy: EnergySettings::default(),
            revision: self.revision,
            device: self.device,
            in_group: false,
        };
        torch::train(&request, &|| Arc::clone(self.stop), &mut Steps { watcher, all: 0 })?;
        let made = [names::SUPERNET, names::SPACE, names::RECIPE, names::PREPROCESSING];
        let metrics = fs::read_to_string(out.join(names::METRICS)).unwrap_or_default();
        let last: Value = metrics.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        let top1 = |key: &str| 100.0 * last[key].as_f64().unwrap_or(f64::NAN);
        let said = format!(
            "{epochs} epochs; held-out top-1: largest {:.1} %, smallest {:.1} %",
            top1("largest_top1"),
            top1("smallest_top1")
        );
        Ok(Made { outputs: made.map(in_bundle).to_vec(), said, facts: Value::Null })
    }

    /// Measures subnets on held-out images; what is measured already stays.
    ///
    /// # Errors
    /// A damaged bundle, images that cannot be read, a stop on request.
    pub(crate) fn collect(&self, of: Collect, watcher: &mut dyn Watcher) -> Result<Made> {
        let bundle = bundle_in(self.root).to_string_lossy().into_owned();
        let out = in_bundle(names::ACCURACY);
        let request = CollectRequest {
            on: BundleUse { bundle: &bundle, data: Some(self.data), device: self.device },
            count: of.pairs,
            near_front: None,
            seed: of.seed,
            shard: Shard::WHOLE,
            measured: Vec::new(),
            out: self.root.join(&out),
        };
        let made = torch::collect(&request, self.stop, &mut |done, _| watcher.step(done as u64, of.pairs as u64))?;
        let top1 = made.pairs.iter().map(|pair| pair.top1);
        let [low, high] = top1.fold([1.0_f64, 0.0], |[low, high], top1| [low.min(top1), high.max(top1)]);
        let said = format!("{} subnets, held-out top-1 {:.1} to {:.1} %", made.pairs.len(), 100.0 * low, 100.0 * high);
        Ok(Made { outputs: vec![out], said, facts: Value::Null })
    }
}

/// What the stage that trains depends on.
pub(crate) fn inputs_of_training(TrainingInputs { recipe, space, images, start, .. }: &TrainingInputs) -> Inputs {
    let mut of = inputs([("recipe", recipe), ("space", space), ("images", images)]);
    of.extend(start.clone().map(|start| ("starting weights".to_owned(), start)));
    of
}

/// Fits a predictor to the measurements of a bundle, into the first of `outputs` in `root`, its report into the second.
///
/// # Errors
/// Measurements that cannot be read or are too few, a file that cannot be written.
pub(crate) fn fit_pairs(
    bundle: &Bundle,
    root: &Path,
    model: Model,
    outputs: &[String; 2],
    watcher: &mut dyn Watcher,
) -> Result<Made> {
    let out = root.join(&outputs[0]);
    // Files of earlier versions do not say of which space they are.
    let space = Some(bundle.require(names::SPACE)?.to_string_lossy().into_owned());
    let job = FitJob { space, pairs: vec![bundle.accuracy()?], out, test_pairs: None, models: model.settings() };
    let chosen = fit(&job, &mut |done, all| watcher.step(done as u64, all as u64))?;
    chosen.notes.iter().for_each(|note| watcher.tell(&format!("note: {note}")));
    let kendall = chosen.report.scores.kendall.map_or("undefined".into(), |kendall| format!("{kendall:.2}"));
    let said = format!(
        "{}, Kendall {kendall} and RMSE {:.1} % on {} subnets it never saw",
        chosen.model,
        100.0 * chosen.report.scores.rmse,
        chosen.report.test_pairs
    );
    Ok(Made { outputs: outputs.to_vec(), said, facts: Value::Null })
}

/// Digest of the measurements in a file, without the seconds that they took.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn measurements(path: &Path) -> Result<String> {
    let measured = pairs::read(path)?.iter().fold(Digester::new("measured"), |all, pair| {
        all.text(&pair.subnet).numbers([pair.top1, pair.loss].into_iter())
    });
    Ok(measured.finish().to_string())
}

/// Removes measurements before others are made, but for those that the others begin with: the first so many of more pairs
/// are the same.
///
/// # Errors
/// A file that cannot be removed.
pub(crate) fn clear_pairs(file: &Path, state: &State, wanted: usize) -> Result<()> {
    let only_more = *state == State::Again(vec!["pairs changed".into()]);
    match only_more && pairs::read(file).is_ok_and(|known| known.len() <= wanted) {
        true => Ok(()),
        false => remove(file),
    }
}

/// The bundle in the folder of the stages.
pub(crate) fn bundle_in(root: &Path) -> PathBuf {
    root.join(names::TRAINED).join(names::BUNDLE)
}

/// A file of the bundle, by its path in the folder of the stages.
pub(crate) fn in_bundle(name: &str) -> String {
    format!("{}/{}/{name}", names::TRAINED, names::BUNDLE)
}
