//! One network from its supernet to files: taken out, trained on, written in other formats and run by other runtimes,
//! measured.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use schemars::JsonSchema;
use search::arch_file::ArchFile;
use search::space::SearchSpace;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::atomic::write_atomically;

use super::record::Made;
use super::settings::Finetune;
use super::watcher::{Steps, Watcher};
use crate::error::{Error, Result};
use crate::folders::bundle::Bundle;
use crate::folders::names;
use crate::share::Interval;
use crate::torch::{self, DataSource, DeviceChoice, FileForm, FileRequest, FineTuneRequest, OpenBundle, WeightsForm};
use crate::training::energy::settings::EnergySettings;

/// Longest time between two checkpoints.
pub(crate) const SAVE_EVERY: Duration = Duration::from_secs(60);

/// A share of images that was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counted {
    /// Share of right ones.
    pub top1: f64,
    /// Images.
    pub images: u64,
    /// One standard deviation of the share.
    pub std_error: f64,
    /// Which images: `held-out`, `test`.
    pub part: String,
}

impl Counted {
    /// So many right of so many.
    pub fn new(top1: f64, images: u64, part: &str) -> Counted {
        Counted { top1, images, std_error: Interval::of_share(top1, images).std_error(), part: part.to_owned() }
    }
}

/// A file that others run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkFile {
    /// Its kind.
    pub format: String,
    /// Where it is, in the folder of the build; none where it was not written.
    pub path: Option<String>,
    /// Who ran it and found the network's outputs.
    pub checked_by: Option<String>,
    /// Why nobody did, or why it was not written.
    pub problem: Option<String>,
}

/// What came of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkResult {
    /// Its folder, in that of the results.
    pub folder: String,
    /// Top-1 on images that decided nothing, where there are such.
    pub measured: Counted,
    /// Its files.
    pub files: Vec<NetworkFile>,
    /// What the refinement said, where there was one.
    pub refined: Value,
}

/// Where networks are made, with which images, and who may stop it.
#[derive(Clone, Copy)]
pub(crate) struct Site<'s> {
    /// All paths are within it.
    pub(crate) root: &'s Path,
    pub(crate) data: &'s DataSource,
    pub(crate) revision: &'static str,
    pub(crate) device: DeviceChoice,
    pub(crate) stop: &'s Arc<AtomicBool>,
}

/// A bundle with its images, read once for all networks, and its space.
pub(crate) struct Source {
    open: OpenBundle,
    space: SearchSpace,
}

impl Source {
    /// Digests of the training images and of the test images.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub(crate) fn images(&self) -> Result<[String; 2]> {
        self.open.digests()
    }

    /// The subnet's weights, calibrated, into `folder`.
    ///
    /// # Errors
    /// A subnet of another space, weights or images that cannot be read, a folder that cannot be written.
    pub(crate) fn take_out(&self, subnet: &Value, folder: &Path) -> Result<()> {
        let arch = self.space.parse(&ArchFile::from_value(subnet.clone())?)?;
        torch::deploy(&self.open, &arch, WeightsForm::Tensors, folder).map(|_| ())
    }
}

impl Site<'_> {
    /// Opens a bundle, named by its path or name.
    ///
    /// # Errors
    /// It is unknown or damaged.
    pub(crate) fn open(&self, bundle: Bundle) -> Result<Source> {
        let (space, data) = (bundle.space()?, self.data.clone());
        let place = torch::place(self.device, Some(&data))?;
        let open = place.map(|place| OpenBundle::new(bundle, space.clone(), Some(data), place));
        Ok(Source { open: open.ok_or(Error::NoTorch { what: "extracting weights" })?, space })
    }

    /// Trains the network in the folder `start` on, in the run folder `within/run`, which goes on after a kill, with the
    /// largest network of `teacher`.
    ///
    /// # Errors
    /// Images or settings that do not fit, a stop on request (state saved).
    pub(crate) fn tune(
        &self,
        start: PathBuf,
        within: &str,
        teacher: String,
        settings: &Finetune,
        watcher: &mut dyn Watcher,
    ) -> Result<Made> {
        let Finetune { epochs, set } = settings;
        let request = FineTuneRequest {
            network: start,
            data: self.data.clone(),
            recipe: None,
            overrides: set.iter().cloned().chain([format!("epochs={epochs}")]).collect(),
            teacher: Some(teacher),
            out: self.root.join(within).join("run"),
            resume: true,
            save_every: SAVE_EVERY,
            measure_every: *epochs,
            energy: EnergySettings::default(),
            revision: self.revision,
            device: self.device,
        };
        torch::finetune(&request, Arc::clone(self.stop), &mut Steps { watcher, all: 0 })?;
        let mut outputs = files_of(self.root, &format!("{within}/run/{}", names::NETWORK_FOLDER))?;
        // What it took differs from time to time, and changes nothing that is made of it.
        outputs.retain(|file| !file.ends_with(names::ENERGY));
        Ok(Made { outputs, ..Made::default() })
    }

    /// A file of each form beside the network in the folder `within`, run by the runtimes of others; its facts are
    /// [`NetworkFile`]s.
    ///
    /// # Errors
    /// A damaged folder, a file that cannot be written. One whose outputs are not the network's is no error.
    pub(crate) fn write_files(
        &self,
        within: &str,
        name: &str,
        forms: &[FileForm],
        watcher: &mut dyn Watcher,
    ) -> Result<Made> {
        let folder = self.root.join(within);
        let mut outputs = files_of(self.root, within)?;
        let mut files = Vec::new();
        for form in forms {
            let path = format!("{within}/{name}.{}", form.word());
            let out = self.root.join(&path);
            let request = FileRequest { data: Some(self.data), ..FileRequest::new(*form, &out) };
            let file = match torch::export_file(&folder, &request, self.device) {
                Ok(made) => {
                    made.warnings.iter().for_each(|warning| watcher.tell(&format!("warning: {warning}")));
                    outputs.push(path.clone());
                    let (checked_by, problem) = match made.ran {
                        Ok(ran) => (Some(ran.runtime), None),
                        Err(missing) => (None, Some(missing)),
                    };
                    NetworkFile { format: form.word().into(), path: Some(path), checked_by, problem }
                }
                // A file that says something else than its network is not written; the others may be right.
                Err(Error::NotExported { problem, .. }) => {
                    watcher.tell(&format!("warning: {path} is not written: {problem}"));
                    NetworkFile { format: form.word().into(), path: None, checked_by: None, problem: Some(problem) }
                }
                Err(error) => return Err(error),
            };
            files.push(file);
        }
        Ok(Made { outputs, said: String::new(), facts: serde_json::to_value(files).expect("plain data") })
    }

    /// Top-1 of the network in the folder `within` on the images that a network may be tested on.
    ///
    /// # Errors
    /// A damaged folder, images that cannot be read.
    pub(crate) fn measure(&self, within: &str) -> Result<Counted> {
        let made = torch::evaluate_network(&self.root.join(within), self.data, self.device)?;
        Ok(Counted::new(made.accuracies[0].top1, made.accuracies[0].images, made.part.name()))
    }
}

/// The files of the folder `within`, by their paths in `root`.
///
/// # Errors
/// A folder that cannot be read.
pub(crate) fn files_of(root: &Path, within: &str) -> Result<Vec<String>> {
    let path = root.join(within);
    let entries = fs::read_dir(&path).map_err(|source| Error::Read { path, source })?;
    let files = entries.flatten().filter(|entry| entry.path().is_file());
    let mut files: Vec<String> =
        files.map(|entry| format!("{within}/{}", entry.file_name().to_string_lossy())).collect();
    files.sort();
    Ok(files)
}

/// Copies the files of one folder into another, which is made.
///
/// # Errors
/// A file that cannot be read or written.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for file in files_of(from, ".")? {
        let bytes = fs::read(from.join(&file)).map_err(|source| Error::Read { path: from.join(&file), source })?;
        write_atomically(&to.join(&file), |out| out.write_all(&bytes)).map_err(|source| Error::Write { source })?;
    }
    Ok(())
}
