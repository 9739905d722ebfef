//! Elastic weights in LibTorch: layers, training, calibration, extraction, data, checkpoints.

pub mod calibrate;
mod channel_sort;
pub mod data;
pub mod device;
pub mod distill;
pub mod elastic;
pub mod error;
pub mod evaluate;
pub mod extract;
pub mod import;
pub mod npz;
pub mod optim;
mod random;
pub mod statistics;
pub mod subnet;
pub mod supernet;
pub mod tensors;
pub mod torchscript;
pub mod train;
pub mod weights;
