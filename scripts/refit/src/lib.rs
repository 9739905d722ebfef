//! The workshop that makes the shipped targets (`hw-targets/targets/*.yaml`) out of published measurements.
//!
//! `cargo run --release -p refit --bin refit` reads them from `data/hw` of the folder `OFA_SHARED` and writes the files;
//! a test says that what is shipped is what comes out. No verb of `ofa` calls any of this.

pub mod networks;
#[cfg(test)]
mod ofa_yaml_tests;
pub mod sources;
pub mod targets;
#[cfg(test)]
mod testing;
mod tiny_networks;
