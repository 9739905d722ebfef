//! What needs LibTorch.

mod build;
mod exported;
mod images;
mod imports;
mod killed;
mod ranks;
mod refine;
mod releases;
mod shards;
mod sweep_stages;
mod timing;
mod training;
mod training_energy;
mod waiting;
mod weights;
