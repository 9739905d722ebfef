//! Target devices: which there are, what networks cost on one, and making one's own by measuring, importing and fitting.

pub mod accelerators;
pub mod agreement;
pub mod cost;
pub mod diff;
pub mod fit;
pub mod keep;
pub mod list;
#[cfg(feature = "torch")]
pub(crate) mod measure;
pub mod range;
pub mod work_list;
