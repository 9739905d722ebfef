//! Optimisers written on tensors: tch's own cannot be saved.

mod adam;
mod sgd;

pub(crate) use adam::Adam;
pub use sgd::{GradientNotFinite, Sgd, SgdSettings};
