//! What the verbs that need LibTorch are asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hw_targets::budget::Budget;
use search::arch::ArchSpec;
use search::refine::adapt::Winner;
use search::space::SearchSpace;
pub use supernet::import::Family;

use super::{DataSource, DeviceChoice};
use crate::error::{Error, Result};
use crate::folders::spaces;
use crate::predictor::near_front::NearFront;
use crate::shard::Shard;
use crate::training::energy::settings::EnergySettings;

/// Which images are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// The test set: for final reports.
    #[default]
    Test,
    /// The part of the training set that the bundle's recipe kept apart: for decisions.
    HeldOut,
}

/// Where the statistics of a supernet's subnets come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CalibrationSource {
    /// Training images of the given data.
    #[default]
    Data,
    /// The images that come with the bundle.
    Bundle,
}

/// Where a subnet's batch-norm statistics come from, to compare with other frameworks.
#[derive(Clone, Debug)]
pub enum BatchNormSource {
    /// The running statistics stored with the weights.
    Stored,
    /// The array `batches` `[B, N, 3, H, W]` of an `.npz` file, used at its own size, batch by batch.
    Calibrate(PathBuf),
}

impl std::str::FromStr for BatchNormSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "stored" => Ok(Self::Stored),
            Some(("calibrate", path)) if !path.is_empty() => Ok(Self::Calibrate(path.into())),
            _ => Err(Error::BatchNormSource { given: text.to_owned() }),
        }
    }
}

/// Which subnets of a bundle.
#[derive(Clone, Copy, Debug)]
pub enum SubnetChoice<'a> {
    /// The largest at the highest resolution.
    Largest,
    /// The smallest at the lowest resolution.
    Smallest,
    /// Those of a file.
    File(&'a Path),
}

impl SubnetChoice<'_> {
    /// The subnets, as members of `space`.
    ///
    /// # Errors
    /// A file that cannot be read; what is none of the space, with its line.
    #[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "the stand-in answers without looking"))]
    pub(crate) fn of(self, space: &SearchSpace) -> Result<Vec<ArchSpec>> {
        let resolutions = space.resolutions();
        match self {
            Self::Largest => Ok(vec![space.largest(resolutions[resolutions.len() - 1])?]),
            Self::Smallest => Ok(vec![space.smallest(resolutions[0])?]),
            Self::File(path) => spaces::read_subnets(path, space),
        }
    }
}

/// The variable in which who starts several processes by one command says it to them, a word on each line.
pub const LAUNCHED_BY: &str = "OFA_LAUNCHED_BY";

/// `ofa train`.
#[derive(Clone, Debug)]
pub struct TrainRequest {
    /// The recipe's file.
    pub recipe: PathBuf,
    /// Values that replace some of its own: `key=value`.
    pub overrides: Vec<String>,
    /// Images instead of the recipe's.
    pub data: Option<DataSource>,
    /// Run folder.
    pub out: PathBuf,
    /// Whether to go on from the newest checkpoint there.
    pub resume: bool,
    /// Longest time between two checkpoints.
    pub save_every: Duration,
    /// Epochs between two measurements on held-out images; the last epoch of a phase is measured in any case.
    pub measure_every: u64,
    /// What to take for granted about energy.
    pub energy: EnergySettings,
    /// Commit of the source that the program was built from, or `unknown`.
    pub revision: &'static str,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Whether it may be one of several processes that train together, as the environment says.
    pub in_group: bool,
}

/// `ofa finetune`.
#[derive(Clone, Debug)]
pub struct FineTuneRequest {
    /// The folder of the network.
    pub network: PathBuf,
    /// Images.
    pub data: DataSource,
    /// A recipe's file; without one everything is as usual.
    pub recipe: Option<PathBuf>,
    /// Values that replace some of the recipe's: `key=value`.
    pub overrides: Vec<String>,
    /// A bundle whose largest network teaches.
    pub teacher: Option<String>,
    /// Run folder.
    pub out: PathBuf,
    /// Whether to go on from the newest checkpoint there.
    pub resume: bool,
    /// Longest time between two checkpoints.
    pub save_every: Duration,
    /// Epochs between two measurements on held-out images.
    pub measure_every: u64,
    /// What to take for granted about energy.
    pub energy: EnergySettings,
    /// Commit of the source that the program was built from, or `unknown`.
    pub revision: &'static str,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// `ofa refine` of a subnet within its supernet.
#[derive(Clone, Debug)]
pub struct RefineSubnetRequest {
    /// The bundle, by name or path.
    pub supernet: String,
    /// The file of the subnet.
    pub subnet: PathBuf,
    /// The device; none where only what follows from the network alone is limited.
    pub target: Option<String>,
    /// Whether a target's fitted models answer however far outside of what they were fitted to.
    pub extrapolate: bool,
    /// What is to be kept.
    pub budget: Budget,
    /// Images to calibrate with; none = those that come with the bundle.
    pub data: Option<DataSource>,
    /// Whether images judge, too, where there are some; else the predictor alone does.
    pub judged_by_images: bool,
    /// What the first step changes each cost by, as a part of it.
    pub initial_reduction: f64,
    /// Factor from one step to the next.
    pub decay: f64,
    /// Steps at most.
    pub iterations: usize,
    /// Widths are multiples of this, where they are not those of an expand ratio.
    pub step: u32,
    /// Proposals of each step that are measured.
    pub shortlist: usize,
    /// The run folder.
    pub out: PathBuf,
    /// Whether to go on with the steps that are there.
    pub resume: bool,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// `ofa refine` of a network of any shape.
#[derive(Clone, Debug)]
pub struct RefineRequest {
    /// The folder of the network.
    pub network: PathBuf,
    /// A target's name or path.
    pub target: Option<String>,
    /// Whether fitted models answer however far outside of what they were fitted to.
    pub extrapolate: bool,
    /// Ceilings.
    pub budget: Budget,
    /// Images.
    pub data: DataSource,
    /// How proposals and the result are trained on; without one everything is as usual.
    pub recipe: Option<PathBuf>,
    /// Values that replace some of the recipe's: `key=value`.
    pub overrides: Vec<String>,
    /// What the first step lowers each cost by, as a part of it.
    pub initial_reduction: f64,
    /// Factor from one step to the next.
    pub decay: f64,
    /// Steps at most.
    pub iterations: usize,
    /// Widths are multiples of it.
    pub step: u32,
    /// Which proposal is kept.
    pub winner: Winner,
    /// Whether all widths get smaller by one factor in one step, instead of one width in each.
    pub uniform: bool,
    /// Batches that each proposal is trained with before it is judged.
    pub short_steps: u64,
    /// Passes over the images at the end.
    pub epochs: u64,
    /// Run folder.
    pub out: PathBuf,
    /// Whether to go on with the steps that are there.
    pub resume: bool,
    /// Longest time between two checkpoints.
    pub save_every: Duration,
    /// What to take for granted about energy.
    pub energy: EnergySettings,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// A bundle, by name or path, with the images and the device it is used with.
#[derive(Clone, Debug)]
pub struct BundleUse<'a> {
    /// Its name or path.
    pub bundle: &'a str,
    /// Images; none = those that come with it.
    pub data: Option<&'a DataSource>,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// `ofa predictor collect`.
#[derive(Clone, Debug)]
pub struct CollectRequest<'a> {
    /// The trained supernet, and the images it is measured on.
    pub on: BundleUse<'a>,
    /// Number of pairs spread over the space.
    pub count: usize,
    /// Rounds of measuring near the front after that, and where it is.
    pub near_front: Option<(usize, NearFront)>,
    /// Seed of the choice of subnets.
    pub seed: u64,
    /// Which of them.
    pub shard: Shard,
    /// Files of pairs that need not be measured again, where they are of the same weights and images.
    pub measured: Vec<PathBuf>,
    /// The Parquet file; what it holds already is kept. A part goes to [`Shard::path`].
    pub out: PathBuf,
}

/// `ofa import`.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// The published checkpoint.
    pub checkpoint: PathBuf,
    /// Which of the published supernets it is of.
    pub family: Family,
    /// The space of its weights.
    pub space: String,
    /// Folder of the bundle.
    pub out: PathBuf,
    /// Height and width that images are brought to; the space's largest resolution if none.
    pub image_size: Option<usize>,
    /// Mean of R, G and B in 0…1; ImageNet's if none.
    pub mean: Option<[f64; 3]>,
    /// Standard deviation of R, G and B; ImageNet's if none.
    pub std: Option<[f64; 3]>,
    /// A file with one name of a class per line, in the order of the outputs; their numbers if none.
    pub class_names: Option<PathBuf>,
}

/// `ofa target measure`.
#[derive(Clone, Debug)]
pub struct MeasureRequest<'a> {
    /// The target's name.
    pub name: &'a str,
    /// The space whose operators are measured.
    pub space: &'a SearchSpace,
    /// Resolutions of the space; all of it if empty.
    pub resolutions: Vec<u32>,
    /// Random networks that are measured whole.
    pub networks: usize,
    /// Where to run.
    pub device: DeviceChoice,
    /// Threads that LibTorch was set to.
    pub threads: usize,
    /// Standard error of a median, relative to it, at which a time is settled.
    pub precision: f64,
    /// Seed of the order of visits and of the networks.
    pub seed: u64,
}

/// A kind of file that others run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileForm {
    /// ONNX.
    Onnx,
    /// TensorFlow Lite.
    Tflite,
}

impl FileForm {
    /// As commands and file names have it.
    pub fn word(self) -> &'static str {
        match self {
            FileForm::Onnx => "onnx",
            FileForm::Tflite => "tflite",
        }
    }
}

/// Whose runtime runs a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtimes {
    /// tract, and what Python has where that cannot run it.
    #[default]
    Any,
    /// tract.
    Tract,
    /// What Python has: onnxruntime, LiteRT.
    Python,
}

/// Which file is to be compared with which network.
#[derive(Clone, Copy, Debug)]
pub struct VerifyRequest<'a> {
    /// The file.
    pub file: &'a Path,
    /// The folder of the network.
    pub against: &'a Path,
    /// Images; noise without them.
    pub data: Option<&'a DataSource>,
    /// How many, all for 0; as many as usual without a word.
    pub images: Option<usize>,
    /// Whose runtime runs it.
    pub by: Runtimes,
}

/// Which file is to be written.
#[derive(Clone, Copy, Debug)]
pub struct FileRequest<'a> {
    /// Its kind.
    pub form: FileForm,
    /// Whether numbers are int8.
    pub int8: bool,
    /// Layers that stay in float32 in a file in int8, by name or by the beginning of their names.
    pub keep_float: &'a [String],
    /// Whether to measure top-1 with each layer alone in int8.
    pub damage: bool,
    /// Images that it is checked with, all for 0; as many as usual without a word.
    pub images: Option<usize>,
    /// Where they, and in int8 those for calibration, come from.
    pub data: Option<&'a DataSource>,
    /// Where it is written.
    pub out: &'a Path,
}

/// What a subnet's folder holds of its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsForm {
    /// Named tensors.
    Tensors,
    /// Named tensors, and a TorchScript module.
    TorchScript,
    /// A pointer to the bundle, and the subnet's own batch-norm statistics.
    Pointer,
}

/// Several subnets over one file of weights.
#[derive(Clone, Copy, Debug)]
pub struct NestedRequest<'a> {
    /// A file of subnets, one a line.
    pub subnets: &'a Path,
    /// What their graphs are called, in order; numbers where there are none.
    pub names: &'a [String],
    /// Whether numbers are int8.
    pub int8: bool,
    /// Images that each is checked with, all for 0; as many as usual without a word.
    pub images: Option<usize>,
    /// The folder.
    pub out: &'a Path,
}

impl<'a> FileRequest<'a> {
    /// A file in float32, checked with noise or what comes with the bundle.
    pub fn new(form: FileForm, out: &'a Path) -> Self {
        FileRequest { form, int8: false, keep_float: &[], damage: false, images: None, data: None, out }
    }
}
