//! Recipes, run folders, bundles and the verbs of the command line as functions: one room for each family of verbs.
//!
//! ```no_run
//! use experiments::folders::spaces;
//! use experiments::target::{cost, list};
//!
//! let space = spaces::find("fbnet-cifar")?;
//! let pixel3 = list::find("pixel3")?;
//! for cost in cost::cost(&pixel3, &space, "subnets.jsonl".as_ref())? {
//!     println!("{} MACs, {:?}", cost.macs, cost.energy.map(|energy| energy.value));
//! }
//! # Ok::<(), experiments::error::Error>(())
//! ```
//!
//! What needs LibTorch is reached through [`torch`] alone: built without it, the same functions say what is missing.

pub mod folders;

pub mod shard;

pub mod share;

pub mod search;

pub mod predictor;

pub mod target;

pub mod training;

#[cfg(feature = "torch")]
pub(crate) mod instruments;

#[cfg(feature = "torch")]
pub mod export;

#[cfg(feature = "torch")]
pub(crate) mod refine;

pub mod networks;

pub mod stages;

pub mod sweep;

pub mod report;

pub mod init;

pub mod build;

pub mod schemas;

pub mod cite;

pub mod doctor;
pub mod duration;
pub mod error;
pub mod operator_models;
pub mod threads;
pub mod torch;
