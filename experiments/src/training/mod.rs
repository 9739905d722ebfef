//! What needs the weights of a supernet: training one by a recipe, measuring its subnets, calibrating and importing.

#[cfg(feature = "torch")]
pub(crate) mod collect;
#[cfg(feature = "torch")]
pub(crate) mod compare_calibrations;
pub mod energy;
#[cfg(feature = "torch")]
pub(crate) mod evaluate;
#[cfg(feature = "torch")]
pub(crate) mod identity;
pub(crate) mod images;
#[cfg(feature = "torch")]
pub(crate) mod import;
#[cfg(feature = "torch")]
pub(crate) mod logits;
#[cfg(feature = "torch")]
pub(crate) mod make_calibration;
#[cfg(feature = "torch")]
pub(crate) mod measure_accuracy;
#[cfg(feature = "torch")]
pub(crate) mod open_bundle;
#[cfg(feature = "torch")]
pub(crate) mod plan;
#[cfg(feature = "torch")]
pub(crate) mod sample;
#[cfg(feature = "torch")]
pub(crate) mod train;
