//! Elastic weights in LibTorch: layers, training, calibration, extraction, data, checkpoints.
//!
//! Without the feature `torch` only reading published files as arrays is left ([`import`]).

pub mod import;

#[cfg(feature = "torch")]
pub mod calibrate;
#[cfg(feature = "torch")]
mod channel_sort;
#[cfg(feature = "torch")]
pub mod data;
#[cfg(feature = "torch")]
pub mod device;
#[cfg(feature = "torch")]
pub mod distill;
#[cfg(feature = "torch")]
pub mod elastic;
#[cfg(feature = "torch")]
pub mod error;
#[cfg(feature = "torch")]
pub mod evaluate;
#[cfg(feature = "torch")]
pub mod extract;
#[cfg(feature = "torch")]
pub mod grow;
#[cfg(feature = "torch")]
mod native;
#[cfg(feature = "torch")]
pub mod network;
#[cfg(feature = "torch")]
pub mod npz;
#[cfg(feature = "torch")]
pub mod optim;
#[cfg(feature = "torch")]
mod random;
#[cfg(feature = "torch")]
pub mod statistics;
#[cfg(feature = "torch")]
pub mod subnet;
#[cfg(feature = "torch")]
pub mod supernet;
#[cfg(feature = "torch")]
pub mod tensors;
#[cfg(feature = "torch")]
pub mod torchscript;
#[cfg(feature = "torch")]
pub mod train;
#[cfg(feature = "torch")]
pub mod weights;
