//! The stages of a build, one after the other.
//!
//! | stage | depends on | makes |
//! |---|---|---|
//! | train | recipe, space, images, starting weights | `supernet/`, with the bundle in it |
//! | collect | weights, images, pairs, seed | `accuracy.parquet` of the bundle |
//! | fit | those measurements, model | `predictor.safetensors` of the bundle |
//! | calibrate | weights, images, steps | `calibration/` of the bundle |
//! | search | predictor, space, tables, budgets | `points/`, `sweep.parquet`, `subnets.jsonl` |
//! | verify | the subnets, weights, images | top-1 on held-out images |
//! | finetune | each subnet, weights, images, epochs | `tuned/NAME/`, where that is asked for |
//! | export | each network, images, formats | `networks/NAME/` |
//! | test | the networks, test images | top-1 on test images |
//! | report | all of those | `networks.json`, `networks.svg`, `report.html` |
//!
//! Training, collecting, calibrating and searching go on by their own means after a kill; the others are short.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use storage::atomic::write_atomically;
use storage::digest::Digester;
use storage::failure::Failure;

use super::error::BuildError;
use super::file::BuildFile;
use super::networks::{self, BuiltNetwork, Found};
use super::stage::Stage;
use crate::error::{Error, Result};
use crate::folders::bundle::Bundle;
use crate::folders::{names, output};
use crate::shard::Shard;
use crate::stages::bundle::{Making, bundle_in, clear_pairs, fit_pairs, in_bundle, inputs_of_training, measurements};
use crate::stages::network::Site;
use crate::stages::record::{Inputs, Made, Record, Records, State, inputs, remove};
use crate::stages::watcher::Watcher;
use crate::sweep::folder::SweepFolder;
use crate::sweep::plan::SweepPlan;
use crate::sweep::run::{Event, run as run_sweep};
use crate::sweep::table;
use crate::torch::{self, BundleUse, DataSource, DeviceChoice, TrainingInputs};

/// The found subnets, one a line.
pub const SUBNETS: &str = "subnets.jsonl";
/// All that is known of the networks.
pub const RESULTS: &str = "networks.json";
/// The same as a picture.
pub const CHART: &str = "networks.svg";
/// The page of the sweep.
pub const PAGE: &str = "report.html";

/// `ofa build`.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The folder.
    pub folder: PathBuf,
    /// Images instead of the recipe's: the same ones, elsewhere.
    pub data: Option<DataSource>,
    /// Searches at a time.
    pub threads: usize,
    /// Commit of the source that the program was built from.
    pub revision: &'static str,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// What it is called.
    pub name: String,
    /// The networks, from the cheapest to the most expensive.
    pub networks: Vec<BuiltNetwork>,
    /// The first target.
    pub target: String,
    /// Seconds of all stages, whenever they ran.
    pub seconds: f64,
}

/// Who watches a build.
pub trait BuildProgress: Watcher {
    /// A stage begins, or turns out to be there.
    fn begin(&mut self, stage: Stage, state: &State);
    /// It ended.
    fn end(&mut self, stage: Stage, record: &Record);
}

/// Goes through all stages; those that are there are left alone. `stop` ends it early, everything saved.
///
/// # Errors
/// A folder without the files of a build or with another one at work, wrong ones among them, images that cannot be used, whatever a stage meets;
/// [`Error::Interrupted`].
pub fn build(request: &BuildRequest, stop: &Arc<AtomicBool>, progress: &mut dyn BuildProgress) -> Result<Built> {
    for missing in [names::BUILD, names::RECIPE, names::SWEEP] {
        if !request.folder.join(missing).is_file() {
            return Err(BuildError::NothingToBuild { folder: request.folder.clone(), missing }.into());
        }
    }
    let _held = output::held(&request.folder)?;
    let file = BuildFile::read(&request.folder.join(names::BUILD))?;
    let of = torch::training_inputs(&request.folder.join(names::RECIPE), &[], request.data.as_ref())?;
    let records = Records::of(&request.folder);
    let mut build = Build { request, file, of, records, stop, progress, seconds: 0.0 };
    build.run().map_err(|error| if error.is_interruption() { Error::Interrupted } else { error })
}

/// A build under way; its stages after the search are in [`super::deliver`].
pub(super) struct Build<'b> {
    pub(super) request: &'b BuildRequest,
    pub(super) file: BuildFile,
    pub(super) of: TrainingInputs,
    pub(super) records: Records,
    pub(super) stop: &'b Arc<AtomicBool>,
    pub(super) progress: &'b mut dyn BuildProgress,
    seconds: f64,
}

impl Build<'_> {
    fn run(&mut self) -> Result<Built> {
        self.train()?;
        let weights = self.weights()?;
        self.collect(&weights)?;
        let predictor = self.fit()?;
        self.calibrate(&weights)?;
        let (plan, search) = self.search(&predictor)?;
        let found: Vec<Found> = serde_json::from_value(search.facts).map_err(std::io::Error::other)?;
        let verified = self.verify(&found, &weights)?;
        let tuned = self.finetune(&found, &weights)?;
        let exported = self.export(&found, &weights, &tuned)?;
        let tested = self.test(&found, &exported)?;
        let networks = self.report(&plan, &found, [verified, exported, tested])?;
        let target = plan.points.first().map(|planned| planned.point.target.clone()).unwrap_or_default();
        Ok(Built { name: plan.name, networks, target, seconds: self.seconds })
    }

    /// One stage: found, or done after what is left of an earlier one was removed by `clear`, which hears why.
    pub(super) fn stage(
        &mut self,
        stage: Stage,
        inputs: &Inputs,
        clear: impl FnOnce(&Path, &State) -> Result<()>,
        work: impl FnOnce(&mut Self) -> Result<Made>,
    ) -> Result<Record> {
        let state = self.records.state(stage.name(), inputs);
        self.progress.begin(stage, &state);
        let (records, folder) = (self.records.clone(), &self.request.folder);
        let record = records.go(
            stage.name(),
            inputs,
            state,
            |state| clear(folder, state),
            || {
                self.go_on()?;
                work(self)
            },
        )?;
        self.seconds += record.seconds;
        self.progress.end(stage, &record);
        Ok(record)
    }

    pub(super) fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// The bundle's folder, as verbs name it.
    pub(super) fn bundle(&self) -> String {
        bundle_in(&self.request.folder).to_string_lossy().into_owned()
    }

    fn weights(&self) -> Result<String> {
        let stated = Bundle::at(self.bundle()).stated_weights()?;
        Ok(stated.map(|digest| digest.to_string()).unwrap_or_default())
    }

    fn train(&mut self) -> Result<Record> {
        let inputs = inputs_of_training(&self.of);
        let clear = |folder: &Path, _: &State| remove(&folder.join(names::TRAINED));
        self.stage(Stage::Train, &inputs, clear, |build| {
            making(build.request, &build.of, build.stop).train(build.of.epochs, build.progress)
        })
    }

    fn collect(&mut self, weights: &str) -> Result<Record> {
        let of = self.file.collect;
        let inputs = inputs([
            ("weights", weights),
            ("images", &self.of.images),
            ("pairs", &of.pairs.to_string()),
            ("seed", &of.seed.to_string()),
        ]);
        let out = in_bundle(names::ACCURACY);
        let clear = |folder: &Path, state: &State| clear_pairs(&folder.join(&out), state, of.pairs);
        self.stage(Stage::Collect, &inputs, clear, |build| {
            making(build.request, &build.of, build.stop).collect(of, build.progress)
        })
    }

    /// Gives the digest of the predictor.
    fn fit(&mut self) -> Result<String> {
        let measured_in = self.request.folder.join(in_bundle(names::ACCURACY));
        let measured = measurements(&measured_in)?;
        let model = self.file.fit.model;
        let inputs = inputs([("measurements", &*measured), ("model", model.name())]);
        let outputs = [in_bundle(names::PREDICTOR), in_bundle(names::PREDICTOR_REPORT)];
        let clear = |folder: &Path, _: &State| outputs.iter().try_for_each(|file| remove(&folder.join(file)));
        let record = self.stage(Stage::Fit, &inputs, clear, |build| {
            fit_pairs(&Bundle::at(build.bundle()), &build.request.folder, model, &outputs, build.progress)
        })?;
        Ok(record.outputs[&outputs[0]].clone())
    }

    fn calibrate(&mut self, weights: &str) -> Result<Record> {
        let steps = self.file.calibrate.steps;
        let inputs = inputs([("weights", weights), ("images", &self.of.images), ("steps", &steps.to_string())]);
        let file = in_bundle(&format!("{}/{}", names::CALIBRATION, names::CALIBRATION_IMAGES));
        // What was begun beside it knows itself what it belongs to.
        let clear = |folder: &Path, _: &State| remove(&folder.join(&file));
        self.stage(Stage::Calibrate, &inputs, clear, |build| {
            if steps == 0 {
                return Ok(Made { said: "none asked for".into(), ..Made::default() });
            }
            let bundle = build.bundle();
            let on = BundleUse { bundle: &bundle, data: Some(&build.of.data), device: build.request.device };
            let progress = &mut build.progress;
            let made = torch::make_calibration(&on, steps, build.stop, &mut |step, _| {
                progress.step(step as u64, steps as u64);
            })?;
            let said = format!("{} images that are no photographs, {steps} updates", made.images);
            Ok(Made { outputs: vec![file.clone()], said, facts: Value::Null })
        })
    }

    fn search(&mut self, predictor: &str) -> Result<(SweepPlan, Record)> {
        let path = self.request.folder.join(names::SWEEP);
        let plan = SweepPlan::new(&path, Some(&self.request.folder))?;
        let mut inputs = inputs([("predictor", predictor)]);
        for planned in &plan.points {
            for (word, value) in planned.inputs.iter().filter(|(word, _)| **word != "predictor") {
                let all = inputs.entry((*word).to_owned()).or_default();
                *all = Digester::new("points").text(all).text(value).finish().to_string();
            }
        }
        let threads = self.request.threads;
        let record = self.stage(
            Stage::Search,
            &inputs,
            |_, _| Ok(()),
            |build| {
                let folder = SweepFolder::create(&build.request.folder, &path)?;
                let (all, mut done) = (plan.points.len() as u64, 0);
                let progress = &mut build.progress;
                let summary = run_sweep(&plan, &folder, Shard::WHOLE, threads, build.stop, &mut |event| {
                    done += u64::from(!matches!(event, Event::Waiting(_)));
                    progress.step(done, all);
                })?;
                if let Some((point, message)) = summary.failed.first() {
                    let first = format!("{point}: {message}");
                    return Err(
                        BuildError::Search { failed: summary.failed.len(), points: summary.points, first }.into()
                    );
                }
                let rows = table::rows(&plan, &folder)?;
                table::write(&plan.name, &rows, &BTreeMap::new(), &folder)?;
                let found = networks::distinct(&rows);
                if found.is_empty() {
                    return Err(BuildError::NothingFits { path: path.clone() }.into());
                }
                let lines: String = found.iter().map(|found| format!("{}\n", found.subnet)).collect();
                build.write(SUBNETS, &lines)?;
                let said = format!("{} networks for {} budgets", found.len(), rows.len());
                let facts = serde_json::to_value(&found).expect("plain data");
                Ok(Made { outputs: vec![crate::sweep::folder::TABLE.into(), SUBNETS.into()], said, facts })
            },
        )?;
        Ok((plan, record))
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<()> {
        write_atomically(&self.request.folder.join(name), |file| file.write_all(text.as_bytes()))
            .map_err(|source| Error::Write { source })
    }
}

/// What the bundle of a build is made of.
fn making<'m>(request: &'m BuildRequest, of: &'m TrainingInputs, stop: &'m Arc<AtomicBool>) -> Making<'m> {
    Making {
        root: &request.folder,
        recipe: request.folder.join(names::RECIPE),
        overrides: &[],
        data: &of.data,
        revision: request.revision,
        device: request.device,
        stop,
    }
}

/// Where the networks of a build are made.
pub(super) fn site<'s>(request: &'s BuildRequest, of: &'s TrainingInputs, stop: &'s Arc<AtomicBool>) -> Site<'s> {
    Site { root: &request.folder, data: &of.data, revision: request.revision, device: request.device, stop }
}

/// Of which subnets they are.
pub(super) fn of_all(found: &[Found]) -> String {
    let digest =
        found.iter().fold(Digester::new("subnets"), |all, one| all.text(&one.name).text(&one.subnet.to_string()));
    digest.finish().to_string()
}
