//! What comes out of the verbs that need LibTorch, but for networks that were adapted and files that were exported.

use std::path::PathBuf;

use hw_targets::networks::Networks;
use hw_targets::target::Target;
use predictors::pairs::AccuracyPair;
use search::arch::ArchSpec;
use serde_json::{Value, json};

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
    /// Digest of the weights that the training begins with, where they are not fresh ones.
    pub start: Option<String>,
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
    pub subnet: Value,
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
