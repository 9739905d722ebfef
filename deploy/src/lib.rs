//! A network as a file that others run, one format a folder, each a fold over the layers of `network`, and whether the file
//! computes what the network does ([`agreement`]).
//!
//! ```
//! use deploy::agreement::Agreement;
//! use deploy::onnx::network_model;
//! use deploy::runtime::Runtime;
//! use network::folded::Folded;
//! use network::{execute, published, weights::Weights};
//!
//! let network = published::network("resnet8", None)?;
//! let weights = Weights::random(&network, 0);
//! let file = network_model("resnet8", &Folded::new(&network, &weights), &[]);
//!
//! let image = vec![0.5; 3 * 32 * 32];
//! let got = Runtime::onnx(&file, [1, 3, 32, 32])?.run(&image)?;
//! assert!(Agreement::of(&execute::run(&network, &weights, &image), &got, 10).holds());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate knows no device, no search space and no tensor library.

pub mod agreement;
pub mod int8;
pub mod onnx;
mod parts;
pub mod runtime;
pub mod tflite;

/// A layer that a format has no word for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layer `{layer}`: {format} knows no {what}")]
pub struct Unsupported {
    /// The format.
    pub format: &'static str,
    /// The layer's name.
    pub layer: String,
    /// What it is.
    pub what: &'static str,
}
