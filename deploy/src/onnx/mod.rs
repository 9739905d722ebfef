//! ONNX: whole networks, and single operators to be timed wherever ONNX runs.

mod file;
mod independent;
mod layer;
mod model;
mod operator;

pub use independent::{Runtime, RuntimeError};
pub use model::{INPUT, OUTPUT, network_model};
pub use operator::operator_model;
