//! What comes out of exporting networks and of holding files against them.

use std::path::PathBuf;

use deploy::agreement::Agreement;

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
