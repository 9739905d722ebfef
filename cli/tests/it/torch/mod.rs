//! What needs LibTorch.

mod images;
mod timing;
mod training;
mod training_energy;
mod weights;
