//! What needs the weights of a supernet: training one by a recipe, measuring its subnets, calibrating and importing.

pub mod collect;
pub mod compare_calibrations;
pub mod energy;
pub mod evaluate;
pub mod images;
pub mod import;
pub mod logits;
pub mod make_calibration;
pub mod measure_accuracy;
pub mod plan;
pub mod sample;
pub mod train;
