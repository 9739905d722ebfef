//! The stages of a build after its search: what was found is measured, written in other formats, tested and shown.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::chart;
use super::networks::{self, BuiltNetwork, Found, NETWORKS};
use super::run::{Build, CHART, PAGE, RESULTS, SUBNETS, of_all, site};
use super::stage::Stage;
use crate::error::Result;
use crate::folders::bundle::Bundle;
use crate::folders::names;
use crate::report::{data, html};
use crate::shard::Shard;
use crate::stages::network::{Counted, NetworkFile, copy_folder};
use crate::stages::record::{Made, Record, State, inputs, remove};
use crate::stages::settings::Finetune;
use crate::sweep::folder::SweepFolder;
use crate::sweep::plan::SweepPlan;
use crate::torch::{self, BundleUse, CalibrationSource, FileForm, Part, SubnetChoice, TrainingInputs};

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
                let made = torch::evaluate(
                    &on,
                    SubnetChoice::File(&subnets),
                    Shard::WHOLE,
                    Part::HeldOut,
                    CalibrationSource::Data,
                )?;
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
            let source = site(build.request, &build.of, build.stop).open(Bundle::at(build.bundle()))?;
            for one in found {
                let (name, inputs) = (format!("finetune-{}", one.name), of_one(&one.subnet.to_string(), build));
                let within = format!("{TUNED}/{}", one.name);
                let records = build.records.clone();
                let record = records.each(&name, &inputs, Some(&within), || {
                    let start = build.request.folder.join(&within).join("start");
                    source.take_out(&one.subnet, &start)?;
                    let site = site(build.request, &build.of, build.stop);
                    let settings = Finetune { epochs, set: set.clone() };
                    site.tune(start, &within, build.bundle(), &settings, build.progress)
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
            let source = site(build.request, &build.of, build.stop).open(Bundle::at(build.bundle()))?;
            let (mut outputs, mut files) = (Vec::new(), Vec::new());
            for (at, one) in found.iter().enumerate() {
                build.go_on()?;
                build.progress.step(at as u64, found.len() as u64);
                let (name, inputs) = (format!("export-{}", one.name), of_one(&one.subnet.to_string(), build));
                let within = format!("{NETWORKS}/{}", one.name);
                let records = build.records.clone();
                let record = records.each(&name, &inputs, Some(&within), || {
                    let folder = build.request.folder.join(&within);
                    remove(&folder)?;
                    if is_tuned {
                        let network = format!("{TUNED}/{}/run/{}", one.name, names::NETWORK_FOLDER);
                        copy_folder(&build.request.folder.join(network), &folder)?;
                    } else {
                        source.take_out(&one.subnet, &folder)?;
                    }
                    let site = site(build.request, &build.of, build.stop);
                    site.write_files(&within, &one.name, &forms, build.progress)
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
                    counted
                        .push(site(build.request, &build.of, build.stop).measure(&format!("{NETWORKS}/{}", one.name))?);
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
