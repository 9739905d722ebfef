//! What needs LibTorch.

mod images;
mod refine;
mod timing;
mod training;
mod training_energy;
mod weights;
