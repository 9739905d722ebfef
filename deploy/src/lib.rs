//! A network as a file that others run, one format a folder, each a fold over the layers of `network`.
//!
//! ```
//! use deploy::onnx::operator_model;
//! use network::published;
//!
//! let network = published::network("resnet8", None)?;
//! let bytes = operator_model("stem", &network.nodes()[0].op);
//! assert!(bytes.len() > 4 * 16 * 3 * 3 * 3, "the weights are in it");
//! # Ok::<(), published::UnknownNetwork>(())
//! ```
//!
//! This crate knows no device, no search space and no tensor library.

pub mod onnx;
