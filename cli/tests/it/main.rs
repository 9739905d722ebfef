//! The built binary, from the outside: results, JSON shapes, errors and exit codes.

mod costs;
mod energy;
mod errors;
mod fits;
mod predictors;
mod search;
mod support;
mod talk;
mod targets;
#[cfg(feature = "torch")]
mod timing;
#[cfg(feature = "torch")]
mod training;
#[cfg(feature = "torch")]
mod training_energy;
#[cfg(feature = "torch")]
mod weights;
mod zoo;
