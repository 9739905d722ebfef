//! Elastic weights in LibTorch: layers, training, calibration, extraction, data, checkpoints.
//!
//! One supernet holds the weights of every subnet of a space. A subnet is a view of them, run by the one forward pass
//! there is ([`forward`]); its batch-norm statistics are its own, estimated from images and handed in. Training
//! ([`train`]) changes the weights for many subnets at once; [`extract`] makes a network of one.
//!
//! ```no_run
//! use search::space::SearchSpace;
//! use supernet::calibrate::calibrate;
//! use supernet::extract::StaticSubnet;
//! use supernet::supernet::Supernet;
//! use tch::{Device, Kind, Tensor};
//!
//! let space = SearchSpace::builtin("mcu-cifar")?;
//! let supernet = Supernet::new(&space, 7, Device::Cpu);
//! let subnet = supernet.subnet(&space.resolve(&space.smallest(32)?));
//! let images = Tensor::randn([64, 3, 32, 32], (Kind::Float, Device::Cpu));
//! let statistics = calibrate(&subnet, [&images]);
//! let network = StaticSubnet::extract(&subnet, &statistics);
//! println!("{:?}", network.forward(&images).argmax(1, false));
//! # Ok::<(), search::error::SearchError>(())
//! ```
//!
//! Without the feature `torch` only reading published files as arrays is left ([`import`]).

/// The file that holds the weights of all subnets, in a bundle and in a checkpoint.
pub const WEIGHTS_FILE: &str = "supernet.safetensors";

#[cfg(feature = "torch")]
pub mod supernet;

#[cfg(feature = "torch")]
mod elastic;
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
pub mod ranks;
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
pub use forward::{calibrate, evaluate, extract, folded, network, statistics, subnet, torchscript};
pub use storage::arrays::npz;
