//! The C++ side of training on the CPU (`native/`): the only unsafe code that calls it.
//!
//! Every function takes tensors by pointer to LibTorch's `at::Tensor`, as torch-sys does, and turns a C++ exception into
//! a panic with its message: shapes are checked by who calls, so one is a bug.

mod call;

mod gradients;

mod kernels;

mod layers;

mod store;

mod synchronise;

mod update;

#[cfg(test)]
mod tests;

pub(crate) use gradients::GradientWatch;
pub(crate) use kernels::kernels_here;
pub(crate) use layers::{Norm, Raw, average_pool, depthwise, moments, normalise, pointwise, statistics};
pub(crate) use store::Store;
pub(crate) use synchronise::Synchronised;
pub(crate) use update::{SgdSlot, sgd};
