//! What an operator costs on a device: units, operators, tables, models, the target library.
//!
//! ```
//! use hw_targets::library::TargetLibrary;
//! use network::units::{Joules, Measured};
//!
//! let pixel3 = TargetLibrary::new(None).find("pixel3")?;
//! let budget: Joules = "50mJ".parse()?;
//! assert_eq!(pixel3.latency_equivalent(budget).unwrap().to_string(), "41.7 ms");
//! println!("{}", pixel3.explanation(Measured::Energy).unwrap());
//! # Ok::<(), hw_targets::error::HwError>(())
//! ```
//!
//! A network reaches this crate as a [`Workload`](network::op::Workload): operators in order, every shape known. A
//! [`target::Target`] answers for each with a value, its error in two parts, and where it comes from ([`cost`]). Where
//! the answers come from, a measured [`table`] or a fitted [`model`], is the target's own business.

pub mod accelerator;
mod answer;
pub mod budget;
mod conditions;
pub mod cost;
pub mod defects;
pub mod diff;
pub mod error;
pub mod import;
pub mod library;
#[cfg(test)]
mod malformed_tests;
pub mod manifest;
pub mod model;
pub mod networks;
pub mod own;
mod rounding;
pub mod samples;
pub mod schema;
pub mod table;
mod table_file;
pub mod table_op;
pub mod target;
#[cfg(test)]
mod testing;
pub mod work_list;
