//! Accuracy of a subnet from its architecture.
//!
//! Architectures become 0/1 features of a written-down layout ([`encode`]), models answer for many at once ([`ridge`],
//! [`mlp`], [`ensemble`]), [`fit`] makes them from measured [`pairs`] and says how good they are on pairs never seen
//! ([`report`], [`rank`]), and [`saved`] and [`published`] read them from files. Inference is plain Rust; only training
//! MLPs needs LibTorch (feature `torch`).
//!
//! ```no_run
//! use predictors::settings::FitSettings;
//! use predictors::{fit, pairs, saved};
//! use search::space::SearchSpace;
//! # use std::path::Path;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let space = SearchSpace::builtin("mcu-cifar")?;
//! let path = Path::new("accuracy.parquet");
//! let measured = pairs::read(path)?;
//! let archs = pairs::architectures(&measured, &space, path)?;
//! let fitted = fit::fit(&space, &measured, &archs, &FitSettings::default(), &mut |_, _| {})?;
//! println!("Kendall tau-b on unseen pairs: {:?}", fitted.report.scores.kendall);
//! saved::save(&fitted.predictor, &space, Path::new("predictor.safetensors"))?;
//! println!("{:?}", fitted.predictor.top1([&space.largest(32)?])?);
//! # Ok(())
//! # }
//! ```

pub mod encode;
pub mod rank;

pub mod diagnostics;
pub mod ensemble;
pub mod interactions;
pub mod mlp;
pub mod noise;
pub mod ridge;

pub mod fit;
mod members;
mod origin;
pub mod pairs;
pub mod report;
pub mod settings;
#[cfg(feature = "torch")]
mod train;

mod cholesky;

pub mod published;
pub mod resnet50;
pub mod saved;

pub mod error;

#[cfg(test)]
mod testing;
