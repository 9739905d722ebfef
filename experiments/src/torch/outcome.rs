//! What comes out of the verbs that need LibTorch.

use std::path::PathBuf;

use deploy::agreement::Agreement;
use hw_targets::networks::Networks;
use hw_targets::target::Target;
use network::units::Quantity;
use predictors::pairs::AccuracyPair;
use search::arch::ArchSpec;
use serde_json::{Map, Value, json};

use super::{Accuracy, DataSource, EnergyReport};

/// What a training depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingInputs {
    /// Where the images are.
    pub data: DataSource,
    /// Digest of the recipe, but for the places of data and weights.
    pub recipe: String,
    /// Digest of the space.
    pub space: String,
    /// Digest of the training images, their labels and class names.
    pub images: String,
    /// The same of the test images, where the source has them apart.
    pub tests: String,
    /// Passes over the images.
    pub epochs: u64,
}

/// Progress of a training, as a caller may want to show it.
pub trait Progress {
    /// Before the first step: steps of each phase with its name, and the step that the run starts at.
    fn begin(&mut self, phases: &[(String, u64)], global_step: u64);
    /// After a step.
    fn step(&mut self, step: &StepReport);
    /// After an epoch: its line for the log.
    fn epoch(&mut self, line: &str);
    /// What a reader should know about the images.
    fn note(&mut self, note: &str);
}

/// One step of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Its phase, counted from 0.
    pub phase: usize,
    /// Its number in the phase, counted from 0.
    pub step: u64,
    /// Steps of the phase.
    pub phase_steps: u64,
    /// Its number in the run, counted from 0.
    pub global_step: u64,
    /// Images it was computed with.
    pub images: usize,
    /// Seconds it took.
    pub seconds: f64,
    /// Mean loss of its subnets.
    pub loss: f64,
    /// Seconds that are left, where that can be told.
    pub left: Option<Left>,
}

/// Seconds that a training still takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Left {
    /// In this phase.
    pub phase: f64,
    /// In all.
    pub run: f64,
}

/// What images were found to be.
#[derive(Debug)]
pub struct DataChecked {
    /// All of it.
    pub json: Value,
    /// Counts, sizes, pixels, duplicates: labels and values.
    pub rows: Vec<(String, String)>,
    /// Each class with its images in the training part and, where there is one, in the test part.
    pub classes: Vec<Vec<String>>,
    /// Every broken image with what is wrong.
    pub broken: Vec<String>,
    /// What was left out and why.
    pub notes: Vec<String>,
    /// What loading the images would be refused for.
    pub failure: Option<crate::error::Error>,
}

/// What a training would do and take, as `ofa train --dry-run` finds out.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// Images: to train on, held out, to test with.
    pub images: [usize; 3],
    /// Their classes.
    pub classes: usize,
    /// Images per step.
    pub batch: usize,
    /// Number of parameters of the supernet.
    pub parameters: u64,
    /// Number format of feature maps.
    pub precision: &'static str,
    /// Where it would compute.
    pub device: String,
    /// Its phases.
    pub phases: Vec<PlannedPhase>,
    /// Seconds of reading images and weights, which was done.
    pub preparation: f64,
    /// Seconds of measuring on test images at the end.
    pub report: f64,
    /// Seconds in all.
    pub seconds: f64,
    /// Memory that it needs.
    pub memory: Memory,
    /// Energy of as many seconds as it would take.
    pub energy: EnergyReport,
}

/// A phase that has not begun.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedPhase {
    /// Its name.
    pub name: String,
    /// Passes over the images.
    pub epochs: u64,
    /// Whether it may end before the last of them.
    pub may_end_early: bool,
    /// Steps.
    pub steps: u64,
    /// Subnets that learn in a step.
    pub subnets: u64,
    /// Height and width of images, one of these in each step.
    pub resolutions: Vec<u32>,
    /// Multiply-accumulates of a step for each of its images.
    pub macs_per_image: f64,
    /// Seconds of a step.
    pub step_seconds: f64,
    /// Whether some were timed; otherwise it follows from those of other phases.
    pub is_timed: bool,
    /// Seconds of all steps, and of measuring on held-out images.
    pub seconds: f64,
}

/// Memory of a training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes.
    pub bytes: u64,
    /// Whether they were measured.
    pub is_measured: bool,
    /// What of.
    pub what: String,
}

impl DryRun {
    /// As a JSON object.
    pub fn to_json(&self) -> Value {
        let phases = self.phases.iter().map(|phase| {
            json!({
                "name": phase.name,
                "epochs": phase.epochs,
                "may_end_early": phase.may_end_early,
                "steps": phase.steps,
                "subnets": phase.subnets,
                "resolutions": phase.resolutions,
                "macs_per_image": phase.macs_per_image,
                "step_seconds": phase.step_seconds,
                "is_timed": phase.is_timed,
                "seconds": phase.seconds,
            })
        });
        let [train, held_out, test] = self.images;
        let Memory { bytes, is_measured, what } = &self.memory;
        json!({
            "images": {"train": train, "held_out": held_out, "test": test},
            "classes": self.classes,
            "batch_size": self.batch,
            "parameters": self.parameters,
            "precision": self.precision,
            "device": self.device,
            "phases": phases.collect::<Vec<_>>(),
            "preparation_seconds": self.preparation,
            "report_seconds": self.report,
            "seconds": self.seconds,
            "memory": {"bytes": bytes, "is_measured": is_measured, "what": what},
            "energy": self.energy,
        })
    }
}

/// What comes out of a training besides its folder.
#[derive(Debug)]
pub struct Trained {
    /// Number of parameters of the supernet.
    pub parameters: u64,
    /// What they cost.
    pub energy: EnergyReport,
}

/// What comes out of a fine-tuning.
#[derive(Clone, Debug, PartialEq)]
pub struct FineTuned {
    /// The folder of the network.
    pub folder: PathBuf,
    /// On held-out images, as it was.
    pub before: Accuracy,
    /// On the same images, as it is.
    pub held_out: Accuracy,
    /// On the images that decided nothing.
    pub tested: Accuracy,
    /// What those may be called.
    pub part: MeasuredPart,
    /// What it took.
    pub energy: EnergyReport,
}

/// What comes out of a refinement.
#[derive(Clone, Debug, PartialEq)]
pub struct Refined {
    /// The folder of the network.
    pub folder: PathBuf,
    /// Steps that it took.
    pub steps: usize,
    /// What it cost before and costs now, in SI units or as a count.
    pub costs: Vec<(Quantity, f64, f64)>,
    /// Operators whose costs are between those of widths that the target knows.
    pub interpolated: usize,
    /// Top-1 on held-out images, as it was.
    pub before: f64,
    /// On the same images, as it is.
    pub held_out: Accuracy,
    /// On the images that decided nothing.
    pub tested: Accuracy,
    /// What those may be called.
    pub part: MeasuredPart,
    /// What it took.
    pub energy: EnergyReport,
}

impl Refined {
    /// As a JSON object.
    pub fn to_json(&self) -> Value {
        json!({
            "network": self.folder,
            "steps": self.steps,
            "costs": costs_json(&self.costs),
            "operators_with_interpolated_cost": self.interpolated,
            "held_out_top1_before": self.before,
            "held_out_top1": self.held_out.top1,
            "held_out_images": self.held_out.images,
            "part": self.part.name(),
            "top1": self.tested.top1,
            "images": self.tested.images,
        })
    }
}

/// What comes out of refining a subnet within its supernet.
#[derive(Clone, Debug, PartialEq)]
pub struct SubnetRefined {
    /// The folder of the network.
    pub folder: PathBuf,
    /// Which subnet it is, as JSON.
    pub subnet: Value,
    /// Steps that it took.
    pub steps: usize,
    /// Whether they spent what the budget left.
    pub upwards: bool,
    /// What it cost before and costs now, in SI units or as a count.
    pub costs: Vec<(Quantity, f64, f64)>,
    /// Operators whose costs are between those of widths that the target knows.
    pub interpolated: usize,
    /// Predicted top-1, before and after.
    pub predicted: (f64, f64),
    /// Measured, where there are images.
    pub tested: Option<Tested>,
}

/// A network measured on two sets of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// On the images that decided.
    pub held_out: Accuracy,
    /// On the images that decided nothing.
    pub tested: Accuracy,
    /// What those may be called.
    pub part: MeasuredPart,
}

impl SubnetRefined {
    /// As a JSON object.
    pub fn to_json(&self) -> Value {
        let mut object = json!({
            "network": self.folder,
            "subnet": self.subnet,
            "steps": self.steps,
            "upwards": self.upwards,
            "costs": costs_json(&self.costs),
            "operators_with_interpolated_cost": self.interpolated,
            "predicted_top1_before": self.predicted.0,
            "predicted_top1": self.predicted.1,
        });
        if let Some(Tested { held_out, tested, part }) = &self.tested {
            object["held_out_top1"] = held_out.top1.into();
            object["held_out_images"] = held_out.images.into();
            object["part"] = part.name().into();
            object["top1"] = tested.top1.into();
            object["images"] = tested.images.into();
        }
        object
    }
}

/// Costs before and after, by quantity.
fn costs_json(costs: &[(Quantity, f64, f64)]) -> Map<String, Value> {
    let costs = costs.iter().map(|(quantity, before, after)| {
        let scale = quantity.json_scale();
        (quantity.json_key().to_owned(), json!({"before": before * scale, "after": after * scale}))
    });
    costs.collect()
}

/// Which images a number was measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasuredPart {
    /// Images that the weights have not seen and that decided nothing.
    Test,
    /// The training images that the recipe kept apart.
    HeldOut,
    /// Images that the weights were trained on, though the source calls them test images.
    Training,
    /// All images of a source without a test part, some of which the weights may have seen.
    All,
}

impl MeasuredPart {
    /// As every number names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::HeldOut => "held-out",
            Self::Training => "training",
            Self::All => "all",
        }
    }
}

/// Measured accuracies, and on what.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Which images.
    pub part: MeasuredPart,
    /// One per network.
    pub accuracies: Vec<Accuracy>,
    /// What a reader should know about the images.
    pub notes: Vec<String>,
    /// What may make the numbers wrong, one sentence each.
    pub warnings: Vec<String>,
}

/// What `ofa predictor collect` ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct Collected {
    /// All pairs of the file.
    pub pairs: Vec<AccuracyPair>,
    /// The file.
    pub out: PathBuf,
    /// What a reader should know about the images.
    pub notes: Vec<String>,
}

/// A bundle made of published weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Number of parameters of the supernet.
    pub parameters: u64,
    /// Name of its space.
    pub space: String,
    /// What was taken for granted.
    pub notes: Vec<String>,
}

/// Calibration images that a bundle was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalibrationMade {
    /// Number of images.
    pub images: usize,
    /// Where they are.
    pub folder: PathBuf,
}

/// Subnets under both calibrations, on the same held-out images.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// One per subnet.
    pub rows: Vec<ComparedSubnet>,
}

/// One subnet of a [`Comparison`].
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedSubnet {
    /// The subnet.
    pub arch: ArchSpec,
    /// The subnet as JSON (`ofa.subnet/1`).
    pub subnet: serde_json::Value,
    /// Calibrated on real training images.
    pub real: Accuracy,
    /// Calibrated on the bundle's own images.
    pub made: Accuracy,
}

impl ComparedSubnet {
    /// Top-1 lost (negative) or won by the bundle's images, in points.
    pub fn difference(&self) -> f64 {
        100.0 * (self.made.top1 - self.real.top1)
    }
}

impl Comparison {
    /// The largest change of top-1, up or down, in points.
    pub fn worst(&self) -> f64 {
        self.rows.iter().map(|row| row.difference().abs()).fold(0.0, f64::max)
    }

    /// The mean change of top-1 in points.
    pub fn mean(&self) -> f64 {
        self.rows.iter().map(ComparedSubnet::difference).sum::<f64>() / self.rows.len().max(1) as f64
    }
}

/// A target that was measured and kept.
#[derive(Debug)]
pub struct MeasuredTarget {
    /// The target.
    pub target: Target,
    /// Operators in its table.
    pub operators: usize,
    /// How many of all works were visited as often as allowed and are still not settled.
    pub unsettled: usize,
    /// The networks, if there are any.
    pub networks: Option<Networks>,
    /// Where the table is.
    pub folder: PathBuf,
}

/// A network as one file.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedFile {
    /// Where it is.
    pub file: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// What a runtime of others made of it, or what is missing to run it with.
    pub ran: std::result::Result<FileRun, String>,
    /// With which images it was checked.
    pub checked_with: String,
    /// Height and width of its images.
    pub size: u32,
    /// Mean and deviation of pixels from 0 to 1 that it is normalised by, where that is known.
    pub normalisation: Option<[[f64; 3]; 2]>,
    /// What int8 lost.
    pub int8: Option<Int8Report>,
    /// What is odd about the network's folder.
    pub warnings: Vec<String>,
    /// What there is to say about the images.
    pub notes: Vec<String>,
}

/// A file run by a runtime of others.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRun {
    /// Its name and version.
    pub runtime: String,
    /// How far what it computes is from the network, in int8 from the network in int8.
    pub agreement: Agreement,
    /// What one image takes in it on this machine.
    pub milliseconds: f64,
    /// Outputs in int8 of which TensorFlow Lite Micro makes another number, where it is there.
    pub differing_in_micro: Option<u64>,
}

/// Several subnets over one file of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct NestedFile {
    /// The file of weights.
    pub weights: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// The subnets, in order.
    pub slices: Vec<NestedSlice>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct NestedSlice {
    /// Its graph.
    pub file: PathBuf,
    /// How large that is.
    pub bytes: u64,
    /// How large a file of it alone is.
    pub alone: u64,
    /// How far what a runtime of others computes is from the subnet, or what is missing to run it with.
    pub ran: Result<FileRun, String>,
    /// Images that it was checked with, in words.
    pub checked_with: String,
    /// Side of its images in pixels.
    pub size: u32,
    /// Mean and standard deviation of each channel, where known.
    pub normalisation: Option<[[f64; 3]; 2]>,
    /// What int8 did to it.
    pub int8: Option<Int8Report>,
    /// Which subnet it is.
    pub subnet: serde_json::Value,
}

/// What rounding to int8 did to a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8Report {
    /// Bytes of weights, biases and scales.
    pub weights: u64,
    /// Bytes of weights and biases in float32.
    pub float_weights: u64,
    /// Images compared.
    pub images: usize,
    /// Images of which the network says the same class in float32 and in int8.
    pub same_class: usize,
    /// Top-1 in float32 and in int8, where the images have labels.
    pub top1: Option<[f64; 2]>,
    /// Of the outputs.
    pub signal_to_noise_db: f64,
    /// Whether channels were balanced first.
    pub is_equalised: bool,
    /// Layer by layer.
    pub layers: Vec<LayerDamage>,
}

/// What rounding did to one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerDamage {
    /// Its name.
    pub layer: String,
    /// Of its output, all before it being rounded, too.
    pub signal_to_noise_db: f64,
    /// Top-1 of the float32 network with this layer alone in int8, where that was asked for.
    pub top1_alone: Option<f64>,
}

/// A file found to be a network's, or not.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedFile {
    /// The runtime of others that ran it.
    pub runtime: String,
    /// Whether it reads bytes of pixels, and computes in int8.
    pub is_int8: bool,
    /// How far it is from the network in float32.
    pub agreement: Agreement,
    /// Top-1 of the network and of the file, where the images have labels.
    pub top1: Option<[f64; 2]>,
    /// Of the outputs.
    pub signal_to_noise_db: f64,
    /// What one image takes in that runtime on this machine.
    pub milliseconds: f64,
    /// With which images it was compared.
    pub checked_with: String,
    /// Height and width of its images.
    pub size: u32,
    /// What is odd about the network's folder.
    pub warnings: Vec<String>,
    /// What there is to say about the images.
    pub notes: Vec<String>,
}
