//! Recipes, run folders, bundles and the verbs of the command line as functions.

pub mod folders;

pub mod search;

pub mod predictor;

pub mod target;

pub mod training;

#[cfg(feature = "torch")]
pub mod instruments;

#[cfg(feature = "torch")]
pub mod export;

pub mod networks;

pub mod doctor;
pub mod error;
pub mod operator_models;
pub mod threads;
pub mod torch;
