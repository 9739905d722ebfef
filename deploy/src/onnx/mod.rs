//! ONNX: whole networks, and single operators to be timed wherever ONNX runs.

mod file;
mod int8;
mod layer;
mod model;
mod nested;
mod nested_int8;
mod operator;
mod weight_file;

pub use file::OUTPUT;
pub use int8::int8_network_model;
pub use model::{INPUT, network_model};
pub use nested::{Nested, Slice, nested_models};
pub use nested_int8::{Int8Slice, nested_int8_models};
pub use operator::operator_model;
