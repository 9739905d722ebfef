//! `ofa search`: from a target, a bundle and budgets to the best subnets, and what is said and written of them.

pub mod confidence;
pub mod inputs;
pub mod report;
pub mod run;
#[cfg(feature = "torch")]
pub mod verify;
