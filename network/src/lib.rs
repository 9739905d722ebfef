//! What a network is, without a device and without a search space.
//!
//! ```
//! use network::published;
//! use network::units::Macs;
//!
//! let alexnet = published::network("alexnet", None)?;
//! assert_eq!(alexnet.macs(), Macs(724_406_816));
//! assert_eq!(alexnet.input().size, 227);
//! // Every layer says what it reads, what it makes and what it costs.
//! let first = &alexnet.layers()[0];
//! assert_eq!((first.name.as_str(), first.layer.output.channels), ("conv1.conv", 96));
//! # Ok::<(), published::UnknownNetwork>(())
//! ```
//!
//! A network is a row of operators ([`op`]), each of which is taken apart into layers in one place ([`layers`]). MACs,
//! parameters, memory ([`memory`]), running ([`execute`]), folding for deployment ([`folded`]), running in int8
//! ([`integer`]) and all that other crates do with a network are folds over those layers.

pub mod execute;
pub mod folded;
pub mod integer;
pub mod layers;
pub mod memory;
pub mod op;
mod op_check;
pub mod published;
pub mod shape;
pub mod shape_file;
pub mod units;
pub mod weights;
pub mod widths;
