//! Networks taken out of a supernet.

pub(crate) mod deploy;
pub(crate) mod onnx;
