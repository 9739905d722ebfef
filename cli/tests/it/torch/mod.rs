//! What needs LibTorch.

mod timing;
mod training;
mod training_energy;
mod weights;
