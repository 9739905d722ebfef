//! The built binary, from the outside: results, JSON shapes, errors and exit codes.

mod costs;
mod documented;
mod energy;
mod errors;
mod facts;
mod fits;
mod networks;
mod pictures;
mod predictors;
mod report;
mod screens;
mod search;
mod support;
mod sweep;
mod talk;
mod targets;
#[cfg(feature = "torch")]
mod torch;
mod zoo;
