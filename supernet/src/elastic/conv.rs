//! Dense convolution that uses its first output and input channels (`once-for-all` §2.2).

use network::op::Activation;
use tch::Tensor;

use super::{ElasticBatchNorm, prefix};
use crate::error::SupernetError;
use crate::forward::subnet::Conv;
use crate::weights::{Init, Role, WeightBuilder};

/// Convolution without bias, followed by batch norm or not.
#[derive(Debug)]
pub(crate) struct ElasticConv2d {
    pub(crate) weight: Tensor,
    pub(crate) batch_norm: Option<ElasticBatchNorm>,
}

impl ElasticConv2d {
    /// A weight of `[out, in, kernel, kernel]`.
    pub(crate) fn new(
        builder: &mut WeightBuilder,
        in_channels: u32,
        out_channels: u32,
        kernel: u32,
        batch_norm: bool,
    ) -> Result<Self, SupernetError> {
        let shape = [out_channels, in_channels, kernel, kernel].map(i64::from);
        Ok(Self {
            weight: builder.weight("conv.weight", &shape, Init::HeFanOut { groups: 1 }, Role::Decayed)?,
            batch_norm: match batch_norm {
                true => Some(ElasticBatchNorm::new(builder, out_channels)?),
                false => None,
            },
        })
    }

    /// The convolution from the first `in_channels` to the first `out_channels`.
    pub(crate) fn slice(&self, in_channels: u32, out_channels: u32, stride: u32, activation: Activation) -> Conv {
        let weight = prefix(&prefix(&self.weight, 0, i64::from(out_channels)), 1, i64::from(in_channels));
        Conv {
            stride: i64::from(stride),
            padding: weight.size()[2] / 2,
            groups: 1,
            weight,
            batch_norm: self.batch_norm.as_ref().map(|norm| norm.slice(out_channels)),
            activation,
        }
    }
}
