//! What needs LibTorch.

mod images;
mod killed;
mod refine;
mod timing;
mod training;
mod training_energy;
mod weights;
