//! The choices, and one way of making them all: from a space's YAML or a subnet's JSON to operators with every shape.
//!
//! `space.yaml` → [`SearchSpace`] → [`arch::ArchSpec`] (one member) → [`subnet::SubnetConfig`] (every shape) → operators.
//! Nothing here knows what a network costs or how one is looked for.

mod search_space;

pub(crate) mod space_file;

pub mod schema;

pub mod arch;
mod members;

pub mod arch_file;
pub(crate) mod genome;
mod genome_file;

mod count;
mod sample;

pub mod subnet;

pub(crate) mod lower;

mod fbnet;

pub use network::published::make_divisible;
pub use search_space::{BatchNormSettings, FirstBlock, HeadLayer, SearchSpace, SpaceId, Stage, Stem};
