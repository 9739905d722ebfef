//! ONNX: one operator as a model of its own, to be timed wherever ONNX runs.

mod file;
mod operator;

pub use operator::operator_model;
