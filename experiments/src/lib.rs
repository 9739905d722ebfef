//! Recipes, run folders, bundles and the verbs of the command line as functions.

pub mod accelerators;
pub mod agreement;
pub mod bundle;
#[cfg(feature = "torch")]
pub mod calibration_images;
pub mod candidates;
#[cfg(feature = "torch")]
pub mod collect;
pub mod confidence;
#[cfg(feature = "torch")]
pub mod deploy;
#[cfg(feature = "torch")]
mod digest;
pub mod doctor;
pub mod error;
#[cfg(feature = "torch")]
pub mod eval;
mod history_file;
#[cfg(feature = "torch")]
pub mod import;
mod journal;
#[cfg(feature = "torch")]
pub mod logits;
#[cfg(feature = "torch")]
pub mod measure;
pub mod near_front;
pub mod operator_models;
pub mod predictor_verbs;
#[cfg(feature = "torch")]
pub mod recipe;
pub mod run_dir;
pub mod search_job;
pub mod search_report;
pub mod spaces;
pub mod target_fit;
#[cfg(feature = "torch")]
pub mod target_measure;
pub mod targets;
pub mod threads;
#[cfg(feature = "torch")]
pub mod timing;
#[cfg(feature = "torch")]
pub mod train;
#[cfg(feature = "torch")]
pub mod training_energy;
#[cfg(feature = "torch")]
pub mod verify;
#[cfg(feature = "torch")]
pub mod weights;
