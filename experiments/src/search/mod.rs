//! `ofa search`: from a target, a bundle and budgets to the best subnets, and what is said and written of them.

pub mod algorithm;
pub mod confidence;
pub mod inputs;
pub mod plan;
pub mod report;
pub(crate) mod run;
pub(crate) mod tables;
#[cfg(feature = "torch")]
pub(crate) mod verify;
