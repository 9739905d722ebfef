//! Inverted bottleneck of elastic width and kernel size.

use search::subnet::BlockShape;

use super::{ElasticConv2d, ElasticDepthwise, ElasticSqueezeExcite};
use crate::error::SupernetError;
use crate::forward::subnet::Block;
use crate::weights::WeightBuilder;
use network::op::Activation;

/// \[1×1 expand\] → k×k depthwise → \[squeeze-excite\] → 1×1 project, at its widest.
#[derive(Debug)]
pub(crate) struct ElasticBlock {
    pub(crate) expand: Option<ElasticConv2d>,
    pub(crate) depthwise: ElasticDepthwise,
    pub(crate) squeeze_excite: Option<ElasticSqueezeExcite>,
    pub(crate) project: ElasticConv2d,
}

impl ElasticBlock {
    /// `shape` is the block of the largest subnet, `kernels` what its stage offers, ascending.
    pub(crate) fn new(builder: &mut WeightBuilder, shape: &BlockShape, kernels: &[u32]) -> Result<Self, SupernetError> {
        let (input, mid, output) = (shape.in_channels, shape.mid_channels, shape.out_channels);
        Ok(Self {
            expand: match shape.expand_conv {
                true => Some(builder.scope("expand", |b| ElasticConv2d::new(b, input, mid, 1, true))?),
                false => None,
            },
            depthwise: builder.scope("depthwise", |b| ElasticDepthwise::new(b, mid, kernels))?,
            squeeze_excite: shape.se_channels.map(|se| ElasticSqueezeExcite::new(builder, mid, se)).transpose()?,
            project: builder.scope("project", |b| ElasticConv2d::new(b, mid, output, 1, true))?,
        })
    }

    /// The block at the given shape.
    pub(crate) fn slice(&self, shape: &BlockShape) -> Block {
        let mid = shape.mid_channels;
        Block {
            expand: match (&self.expand, shape.expand_conv) {
                (Some(expand), true) => Some(expand.slice(shape.in_channels, mid, 1, shape.activation)),
                _ => None,
            },
            depthwise: self.depthwise.slice(mid, shape.kernel, shape.stride, shape.activation),
            squeeze_excite: match (&self.squeeze_excite, shape.se_channels) {
                (Some(layer), Some(squeezed)) => Some(layer.slice(mid, squeezed)),
                _ => None,
            },
            project: self.project.slice(mid, shape.out_channels, 1, Activation::None),
            residual: shape.residual,
        }
    }
}
