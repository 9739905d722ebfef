//! The verbs that need LibTorch, where there is none: each answers that it is missing.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use predictors::pairs::AccuracyPair;
use search::arch::ArchSpec;
use search::space::SearchSpace;
use serde::Serialize;
use storage::digest::Digest;

use super::adapted::{FineTuned, Refined, SubnetRefined};
use super::exported::{ExportedFile, NestedFile, VerifiedFile};
use super::outcome::{
    CalibrationMade, Collected, Comparison, DataChecked, DryRun, Evaluation, Imported, MeasuredTarget, Progress,
    Trained, TrainingInputs,
};
use super::request::{
    BatchNormSource, BundleUse, CalibrationSource, CollectRequest, FileRequest, FineTuneRequest, ImportRequest,
    MeasureRequest, NestedRequest, Part, RefineRequest, RefineSubnetRequest, SubnetChoice, TrainRequest, VerifyRequest,
    WeightsForm,
};
use crate::error::{Error, Result};
use crate::folders::bundle::Bundle;
use crate::init::{InitRequest, Initialised};
use crate::search::report::SearchReport;
use crate::shard::Shard;

/// Whether there is a LibTorch.
pub const IS_THERE: bool = false;

/// Whether the next command may have LibTorch: the launcher of the Python package says so, which fetches LibTorch only
/// for what needs it.
pub fn is_within_reach() -> bool {
    std::env::var_os("OFA_LIBTORCH_ON_DEMAND").is_some()
}

/// A source of images, which nobody will read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSource(String);

impl std::fmt::Display for DataSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DataSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<DataSource> {
        Ok(DataSource(text.to_owned()))
    }
}

impl DataSource {
    /// The source, of which nobody will read a broken image either.
    pub fn skipping(self, _: SkipBroken) -> DataSource {
        self
    }
}

/// How many broken images may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipBroken;

impl FromStr for SkipBroken {
    type Err = String;

    fn from_str(_text: &str) -> std::result::Result<SkipBroken, String> {
        Ok(SkipBroken)
    }
}

/// A device, on which nothing will be computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceChoice;

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(_text: &str) -> Result<DeviceChoice> {
        Ok(DeviceChoice)
    }
}

/// The accuracy of a network that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Accuracy {
    /// Share of images whose first guess is right.
    pub top1: f64,
    /// Share of images whose label is among the first five guesses.
    pub top5: f64,
    /// Mean cross-entropy, nats.
    pub loss: f64,
    /// Images seen.
    pub images: u64,
    /// Whether the first guess is right, image by image.
    pub right: Vec<bool>,
}

/// What a training cost: there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct EnergyReport(Infallible);

impl Serialize for EnergyReport {
    fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {}
    }
}

impl EnergyReport {
    /// What was spent.
    pub fn spent_rows(&self) -> Vec<(String, String)> {
        match self.0 {}
    }

    /// What to tell at the end of a run.
    pub fn rows(&self) -> Vec<(String, String)> {
        match self.0 {}
    }
}

/// A bundle in use: there is none.
pub(crate) struct OpenBundle(Infallible);

impl OpenBundle {
    pub(crate) fn new(_: Bundle, _: SearchSpace, _: Option<DataSource>, place: Place) -> OpenBundle {
        match place {}
    }

    pub(crate) fn digests(&self) -> Result<[String; 2]> {
        match self.0 {}
    }
}

/// There is no bundle in use that has weights.
pub(crate) fn weights_digest(bundle: &OpenBundle) -> Result<Digest> {
    match bundle.0 {}
}

/// Where tensors are: nowhere.
type Place = Infallible;

/// No device. Images are of no use without weights to calibrate.
pub(crate) fn place(_: DeviceChoice, data: Option<&DataSource>) -> Result<Option<Place>> {
    data.map_or(Ok(None), |_| missing("calibrating weights"))
}

/// There is no bundle in use to do it with.
pub(crate) fn verify(bundle: &OpenBundle, _: Option<f64>, _: &mut SearchReport) -> Result<()> {
    match bundle.0 {}
}

/// There is none.
pub(crate) struct Extracted(Infallible);

impl Extracted {
    pub(crate) fn write(&self, _: &Path) -> Result<Vec<PathBuf>> {
        match self.0 {}
    }
}

/// There is no bundle in use to do it with.
pub(crate) fn extract(bundle: &OpenBundle, _: &ArchSpec, _: WeightsForm) -> Result<Extracted> {
    match bundle.0 {}
}

/// There is no bundle in use to do it with.
pub(crate) fn deploy(bundle: &OpenBundle, _: &ArchSpec, _: WeightsForm, _: &Path) -> Result<Vec<PathBuf>> {
    match bundle.0 {}
}

/// Trains a supernet.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn train(_: &TrainRequest, _: &dyn Fn() -> Arc<AtomicBool>, _: &mut dyn Progress) -> Result<Option<Trained>> {
    missing("training")
}

/// Says what a training would do and take.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn dry_run(_: &TrainRequest, _: &AtomicBool, _: &mut dyn Progress) -> Result<DryRun> {
    missing("training")
}

/// Nothing is fine-tuned here.
///
/// # Errors
/// None.
pub fn check_finetune(_: &[String]) -> Result<()> {
    Ok(())
}

/// The source of images that `words` name.
///
/// # Errors
/// None.
pub fn data_source(words: &str) -> Result<DataSource> {
    words.parse()
}

/// The space of a recipe.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn recipe_space(_: &Path, _: &[String]) -> Result<SearchSpace> {
    missing("training")
}

/// What a training depends on.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn training_inputs(_: &Path, _: &[String], _: Option<&DataSource>) -> Result<TrainingInputs> {
    missing("training")
}

/// Looks at every image of a source.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn check_data(_: &DataSource, _: Option<&Path>, _: u64) -> Result<DataChecked> {
    missing("looking at images")
}

/// Looks at images and writes the files of a build.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn init(_: &InitRequest, _: &AtomicBool) -> Result<Initialised> {
    missing("measuring what a training takes")
}

/// Trains a network on.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn finetune(_: &FineTuneRequest, _: Arc<AtomicBool>, _: &mut dyn Progress) -> Result<FineTuned> {
    missing("training")
}

/// Makes a network fit a budget.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn refine(_: &RefineRequest, _: Arc<AtomicBool>, _: &mut dyn Progress) -> Result<Refined> {
    missing("training")
}

/// Moves a subnet to a budget within its supernet.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn refine_subnet(_: &RefineSubnetRequest, _: Arc<AtomicBool>, _: &mut dyn Progress) -> Result<SubnetRefined> {
    missing("refining")
}

/// Measures subnets of a bundle.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn evaluate(_: &BundleUse<'_>, _: SubnetChoice<'_>, _: Shard, _: Part, _: CalibrationSource) -> Result<Evaluation> {
    missing("evaluating")
}

/// Everything: what has parts is missing.
///
/// # Errors
/// None.
pub fn own_shard() -> Result<Shard> {
    Ok(Shard::WHOLE)
}

/// Measures a network.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn evaluate_network(_: &Path, _: &DataSource, _: DeviceChoice) -> Result<Evaluation> {
    missing("evaluating")
}

/// Writes logits of subnets.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn write_logits(_: &BundleUse<'_>, _: SubnetChoice<'_>, _: &Path, _: &BatchNormSource, _: &Path) -> Result<usize> {
    missing("evaluating")
}

/// Takes a subnet out of a bundle.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn export(_: &BundleUse<'_>, _: &Path, _: WeightsForm, _: &Path) -> Result<Vec<PathBuf>> {
    missing("extracting weights")
}

/// Writes a network as one file.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn export_file(_: &Path, _: &FileRequest<'_>, _: DeviceChoice) -> Result<ExportedFile> {
    missing("checking an export")
}

/// The same of a subnet.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn export_subnet_file(_: &BundleUse<'_>, _: &Path, _: &FileRequest<'_>) -> Result<ExportedFile> {
    missing("extracting weights")
}

/// Writes several subnets over one file of weights.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn export_nested(_: &BundleUse<'_>, _: &NestedRequest<'_>) -> Result<NestedFile> {
    missing("extracting weights")
}

/// Compares a file with a network.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn verify_file(_: &VerifyRequest<'_>, _: DeviceChoice) -> Result<VerifiedFile> {
    missing("comparing with a network")
}

/// Makes a published checkpoint a bundle.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn import(_: &ImportRequest) -> Result<Imported> {
    missing("importing weights")
}

/// Distils calibration images.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn make_calibration(
    _: &BundleUse<'_>,
    _: usize,
    _: &AtomicBool,
    _: &mut dyn FnMut(usize, f64),
) -> Result<CalibrationMade> {
    missing("calibrating")
}

/// Compares two ways to calibrate.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn compare_calibrations(_: &BundleUse<'_>, _: usize, _: u64) -> Result<Comparison> {
    missing("calibrating")
}

/// Measures pairs for a predictor.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn collect(
    _: &CollectRequest<'_>,
    _: &Arc<AtomicBool>,
    _: &mut dyn FnMut(usize, &AccuracyPair),
) -> Result<Collected> {
    missing("measuring accuracy")
}

/// Measures a table of the machine at hand.
///
/// # Errors
/// [`Error::NoTorch`], always.
pub fn measure_target(
    _: &MeasureRequest<'_>,
    _: &AtomicBool,
    _: &mut dyn FnMut(usize, usize, usize),
) -> Result<MeasuredTarget> {
    missing("timing operators")
}

fn missing<T>(what: &'static str) -> Result<T> {
    Err(Error::NoTorch { what })
}
