//! Elastic weights in LibTorch: layers, training, calibration, extraction, data, checkpoints.
//!
//! Without the feature `torch` only reading published files as arrays is left ([`import`]).

#[cfg(feature = "torch")]
pub mod supernet;

#[cfg(feature = "torch")]
pub mod elastic;
#[cfg(feature = "torch")]
pub mod weights;

#[cfg(feature = "torch")]
pub mod forward;
#[cfg(feature = "torch")]
mod native;

#[cfg(feature = "torch")]
pub mod data;
#[cfg(feature = "torch")]
pub mod optim;
#[cfg(feature = "torch")]
mod random;
#[cfg(feature = "torch")]
pub mod train;

#[cfg(feature = "torch")]
pub mod distill;

pub mod import;
#[cfg(feature = "torch")]
pub mod tensors;

#[cfg(feature = "torch")]
pub mod device;
#[cfg(feature = "torch")]
pub mod error;

#[cfg(feature = "torch")]
pub use forward::{calibrate, evaluate, extract, network, statistics, subnet, torchscript};
pub use storage::arrays::npz;
