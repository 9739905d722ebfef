//! The stages of a build after its search: what was found is measured, written in other formats, tested and shown.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use search::arch_file::ArchFile;
use search::space::SearchSpace;
use serde_json::Value;
use storage::atomic::write_atomically;

use super::chart;
use super::file::Finetune;
use super::networks::{self, BuiltNetwork, Counted, Found, NETWORKS, NetworkFile};
use super::run::{Build, CHART, PAGE, RESULTS, SAVE_EVERY, SUBNETS, Steps, inputs, of_all, remove};
use super::stage::{Inputs, Made, Record, Stage, State};
use crate::error::{Error, Result};
use crate::folders::bundle::Bundle;
use crate::folders::names;
use crate::report::{data, html};
use crate::sweep::folder::SweepFolder;
use crate::sweep::plan::SweepPlan;
use crate::torch::{
    self, BundleUse, CalibrationSource, FileForm, FileRequest, FineTuneRequest, OpenBundle, Part, SubnetChoice,
    TrainingInputs, WeightsForm,
};
use crate::training::energy::settings::EnergySettings;

/// The folder of networks that were trained on.
const TUNED: &str = "tuned";

impl Build<'_> {
    pub(super) fn verify(&mut self, found: &[Found], weights: &str) -> Result<Record> {
        let inputs = inputs([("subnets", &*of_all(found)), ("weights", weights), ("images", &self.of.images)]);
        self.stage(
            Stage::Verify,
            &inputs,
            |_, _| Ok(()),
            |build| {
                let (bundle, subnets) = (build.bundle(), build.request.folder.join(SUBNETS));
                let on = BundleUse { bundle: &bundle, data: Some(&build.of.data), device: build.request.device };
                let made = torch::evaluate(&on, SubnetChoice::File(&subnets), Part::HeldOut, CalibrationSource::Data)?;
                let counted = made.accuracies.iter().map(|one| Counted::new(one.top1, one.images, made.part.name()));
                let counted: Vec<Counted> = counted.collect();
                let off = counted.iter().zip(found).map(|(counted, found)| (counted.top1 - found.predicted).abs());
                let said = format!(
                    "predictions are {:.1} points off on average, on {} held-out images",
                    100.0 * off.sum::<f64>() / found.len() as f64,
                    counted.first().map_or(0, |one| one.images)
                );
                Ok(Made { outputs: Vec::new(), said, facts: serde_json::to_value(&counted).expect("plain data") })
            },
        )
    }

    /// Trains each network on, in a run of its own that goes on after a kill.
    pub(super) fn finetune(&mut self, found: &[Found], weights: &str) -> Result<Record> {
        let Finetune { epochs, set } = self.file.finetune.clone();
        let of_one = |subnet: &str, build: &Self| {
            inputs([
                ("subnets", subnet),
                ("weights", weights),
                ("images", &build.of.images),
                ("epochs", &epochs.to_string()),
                ("set", &set.join(" ")),
            ])
        };
        let all = of_one(&of_all(found), self);
        let clear = |folder: &Path, _: &State| remove_others(folder, TUNED, found);
        self.stage(Stage::Finetune, &all, clear, |build| {
            let mut outputs = Vec::new();
            if epochs == 0 {
                return Ok(Made { said: "none asked for".into(), ..Made::default() });
            }
            let (open, space) = build.open()?;
            for one in found {
                let (name, inputs) = (format!("finetune-{}", one.name), of_one(&one.subnet.to_string(), build));
                let record = build.each(&name, &inputs, &format!("{TUNED}/{}", one.name), |build, within| {
                    let folder = build.request.folder.join(within);
                    let (start, run) = (folder.join("start"), folder.join("run"));
                    build.take_out((&open, &space), one, &start)?;
                    let bundle = build.bundle();
                    let request = FineTuneRequest {
                        network: start,
                        data: build.of.data.clone(),
                        recipe: None,
                        overrides: set.iter().cloned().chain([format!("epochs={epochs}")]).collect(),
                        teacher: Some(bundle),
                        out: run.clone(),
                        resume: true,
                        save_every: SAVE_EVERY,
                        measure_every: epochs,
                        energy: EnergySettings::default(),
                        device: build.request.device,
                    };
                    torch::finetune(&request, Arc::clone(build.stop), &mut Steps { progress: build.progress, all: 0 })?;
                    let network = format!("{within}/run/{}", names::NETWORK_FOLDER);
                    let outputs = files_of(&build.request.folder, &network)?;
                    Ok(Made { outputs, ..Made::default() })
                })?;
                outputs.extend(record.outputs.keys().cloned());
            }
            let said = format!("{} networks, {epochs} epochs each", found.len());
            Ok(Made { outputs, said, facts: Value::Null })
        })
    }

    /// Each network is a record of its own, so that a kill loses one at most.
    pub(super) fn export(&mut self, found: &[Found], weights: &str, tuned: &Record) -> Result<Record> {
        let forms: Vec<FileForm> = self.file.export.formats.iter().map(|format| (*format).into()).collect();
        let words: Vec<&str> = forms.iter().map(|form| form.word()).collect();
        let is_tuned = self.file.finetune.epochs > 0;
        let of_one = |subnet: &str, build: &Self| {
            let TrainingInputs { images, tests, .. } = &build.of;
            inputs([
                ("subnets", subnet),
                ("weights", weights),
                ("fine-tuning", &*tuned.digest()),
                ("images", images),
                ("test images", tests),
                ("formats", &*words.join(", ")),
            ])
        };
        let all = of_one(&of_all(found), self);
        let clear = |folder: &Path, _: &State| remove_others(folder, NETWORKS, found);
        self.stage(Stage::Export, &all, clear, |build| {
            let (open, space) = build.open()?;
            let (mut outputs, mut files) = (Vec::new(), Vec::new());
            for (at, one) in found.iter().enumerate() {
                build.go_on()?;
                build.progress.step(at as u64, found.len() as u64);
                let (name, inputs) = (format!("export-{}", one.name), of_one(&one.subnet.to_string(), build));
                let record = build.each(&name, &inputs, &format!("{NETWORKS}/{}", one.name), |build, within| {
                    let folder = build.request.folder.join(within);
                    remove(&folder)?;
                    if is_tuned {
                        let network = format!("{TUNED}/{}/run/{}", one.name, names::NETWORK_FOLDER);
                        copy_folder(&build.request.folder.join(network), &folder)?;
                    } else {
                        build.take_out((&open, &space), one, &folder)?;
                    }
                    build.one(within, &one.name, &forms)
                })?;
                outputs.extend(record.outputs.keys().cloned());
                files.push(record.facts);
            }
            let flat = files.iter().filter_map(Value::as_array).flatten();
            let checked = flat.clone().filter(|file| !file["checked_by"].is_null()).count();
            let all = flat.count();
            let said = format!("{} networks, {checked} of {all} files checked by runtimes of others", found.len());
            Ok(Made { outputs, said, facts: files.into() })
        })
    }

    /// The bundle with its images, read once for all networks, and its space.
    fn open(&self) -> Result<(OpenBundle, SearchSpace)> {
        let bundle = Bundle::at(self.bundle());
        let (space, data) = (bundle.space()?, self.of.data.clone());
        let place = torch::place(self.request.device, Some(&data))?;
        let open = place.map(|place| OpenBundle::new(bundle, space.clone(), Some(data), place));
        Ok((open.ok_or(Error::NoTorch { what: "extracting weights" })?, space))
    }

    /// What is done for one network: found, gone on with, or done in its folder `within` that of the build, emptied first.
    fn each(
        &mut self,
        name: &str,
        inputs: &Inputs,
        within: &str,
        work: impl FnOnce(&mut Self, &str) -> Result<Made>,
    ) -> Result<Record> {
        match self.records.state(name, inputs) {
            State::Found(record) => return Ok(*record),
            State::Begun => {}
            State::New | State::Again(_) => {
                self.records.forget(name)?;
                remove(&self.request.folder.join(within))?;
                self.records.begin(name, inputs, 0.0)?;
            }
        }
        let started = Instant::now();
        let made = work(self, within)?;
        self.records.end(name, inputs, &made, started.elapsed().as_secs_f64())
    }

    /// The subnet's weights, calibrated, into `folder`.
    fn take_out(&self, (open, space): (&OpenBundle, &SearchSpace), one: &Found, folder: &Path) -> Result<()> {
        let arch = space.parse(&ArchFile::from_value(one.subnet.clone())?)?;
        torch::deploy(open, &arch, WeightsForm::Tensors, folder).map(|_| ())
    }

    /// A file of each form beside the network in the folder `within` that of the build.
    fn one(&mut self, within: &str, name: &str, forms: &[FileForm]) -> Result<Made> {
        let folder = self.request.folder.join(within);
        let mut outputs = files_of(&self.request.folder, within)?;
        let mut files = Vec::new();
        for form in forms {
            let path = format!("{within}/{name}.{}", form.word());
            let out = self.request.folder.join(&path);
            let request = FileRequest { data: Some(&self.of.data), ..FileRequest::new(*form, &out) };
            let file = match torch::export_file(&folder, &request, self.request.device) {
                Ok(made) => {
                    made.warnings.iter().for_each(|warning| self.progress.tell(&format!("warning: {warning}")));
                    outputs.push(path.clone());
                    let (checked_by, problem) = match made.ran {
                        Ok(ran) => (Some(ran.runtime), None),
                        Err(missing) => (None, Some(missing)),
                    };
                    NetworkFile { format: form.word().into(), path: Some(path), checked_by, problem }
                }
                // A file that says something else than its network is not written; the others may be right.
                Err(Error::NotExported { problem, .. }) => {
                    self.progress.tell(&format!("warning: {path} is not written: {problem}"));
                    NetworkFile { format: form.word().into(), path: None, checked_by: None, problem: Some(problem) }
                }
                Err(error) => return Err(error),
            };
            files.push(file);
        }
        Ok(Made { outputs, said: String::new(), facts: serde_json::to_value(files).expect("plain data") })
    }

    pub(super) fn test(&mut self, found: &[Found], exported: &Record) -> Result<Record> {
        let inputs = inputs([("networks", &*exported.digest()), ("test images", &self.of.tests)]);
        self.stage(
            Stage::Test,
            &inputs,
            |_, _| Ok(()),
            |build| {
                let mut counted = Vec::new();
                for (at, one) in found.iter().enumerate() {
                    build.go_on()?;
                    build.progress.step(at as u64, found.len() as u64);
                    let folder = build.request.folder.join(NETWORKS).join(&one.name);
                    let made = torch::evaluate_network(&folder, &build.of.data, build.request.device)?;
                    counted.push(Counted::new(made.accuracies[0].top1, made.accuracies[0].images, made.part.name()));
                }
                let best = counted.iter().map(|one| one.top1).fold(0.0, f64::max);
                let said =
                    format!("up to {:.1} % of {} images", 100.0 * best, counted.first().map_or(0, |one| one.images));
                Ok(Made { outputs: Vec::new(), said, facts: serde_json::to_value(&counted).expect("plain data") })
            },
        )
    }

    pub(super) fn report(
        &mut self,
        plan: &SweepPlan,
        found: &[Found],
        [verified, exported, tested]: [Record; 3],
    ) -> Result<Vec<BuiltNetwork>> {
        let inputs = inputs([
            ("subnets", &*of_all(found)),
            ("held-out accuracies", &*verified.digest()),
            ("networks", &*exported.digest()),
            ("test accuracies", &*tested.digest()),
        ]);
        let read = |value: Value| serde_json::from_value::<Vec<Counted>>(value).map_err(std::io::Error::other);
        let (held_out, tested) = (read(verified.facts)?, read(tested.facts)?);
        let files: Vec<Vec<NetworkFile>> = serde_json::from_value(exported.facts).map_err(std::io::Error::other)?;
        let rows = found.iter().cloned().zip(held_out).zip(tested.into_iter().zip(files));
        let networks: Vec<BuiltNetwork> = rows
            .map(|((found, held_out), (tested, files))| {
                let folder = format!("{NETWORKS}/{}", found.name);
                BuiltNetwork { found, held_out, tested, folder, files }
            })
            .collect();
        self.stage(
            Stage::Report,
            &inputs,
            |_, _| Ok(()),
            |build| {
                let folder = SweepFolder::at(&build.request.folder);
                let page = html::page(&plan.name, &data::of_plans(&[(plan, &folder)])?);
                build.write(PAGE, &page)?;
                build.write(CHART, &chart::svg(&plan.name, &networks))?;
                build.write(RESULTS, &format!("{:#}\n", networks::json(&plan.name, &networks)))?;
                let outputs = [PAGE, CHART, RESULTS].map(str::to_owned).to_vec();
                Ok(Made { said: outputs.join(", "), outputs, facts: Value::Null })
            },
        )?;
        Ok(networks)
    }
}

/// Removes from the folder `kind` networks of an earlier search that are none of `found`.
fn remove_others(folder: &Path, kind: &str, found: &[Found]) -> Result<()> {
    let entries = fs::read_dir(folder.join(kind)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut others = names.filter(|name| networks::is_name(name) && !found.iter().any(|one| one.name == *name));
    others.try_for_each(|name| remove(&folder.join(kind).join(name)))
}

/// The files of the folder `within` that of a build, by their paths in that.
fn files_of(folder: &Path, within: &str) -> Result<Vec<String>> {
    let path = folder.join(within);
    let entries = fs::read_dir(&path).map_err(|source| Error::Read { path, source })?;
    let files = entries.flatten().filter(|entry| entry.path().is_file());
    let mut files: Vec<String> =
        files.map(|entry| format!("{within}/{}", entry.file_name().to_string_lossy())).collect();
    files.sort();
    Ok(files)
}

/// Copies the files of one folder into another, which is made.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for file in files_of(from, ".")? {
        let bytes = fs::read(from.join(&file)).map_err(|source| Error::Read { path: from.join(&file), source })?;
        write_atomically(&to.join(&file), |out| out.write_all(&bytes)).map_err(|source| Error::Write { source })?;
    }
    Ok(())
}
