//! Layers that hold weights for their largest form and hand out the prefix that one subnet uses.
//!
//! Slicing is always a prefix (`once-for-all` §2.1–2.3); slices are views, so gradients flow into the prefix and the
//! rest of a weight gets exactly zero.

use tch::Tensor;

mod batch_norm;
mod block;
mod conv;
mod depthwise;
mod linear;
mod squeeze_excite;

pub(crate) use batch_norm::ElasticBatchNorm;
pub(crate) use batch_norm::permute_in_place;
pub(crate) use block::ElasticBlock;
pub(crate) use conv::ElasticConv2d;
pub(crate) use depthwise::ElasticDepthwise;
pub(crate) use linear::ElasticLinear;
pub(crate) use squeeze_excite::ElasticSqueezeExcite;

/// The first `count` of dimension `dim`: a view, and the tensor itself where that is all of it, since the gradient of a
/// view has to be put into zeros of the whole.
pub(crate) fn prefix(tensor: &Tensor, dim: i64, count: i64) -> Tensor {
    match tensor.size()[dim as usize] == count {
        true => tensor.shallow_clone(),
        false => tensor.narrow(dim, 0, count),
    }
}
