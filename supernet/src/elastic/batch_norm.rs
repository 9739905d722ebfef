//! One batch norm for all widths: affine parameters and running statistics are shared prefixes (no copy per width).

use tch::Tensor;

use super::prefix;
use crate::error::SupernetError;
use crate::forward::subnet::BatchNorm;
use crate::weights::{Init, Role, WeightBuilder};

/// Batch norm of up to `channels` channels.
#[derive(Debug)]
pub(crate) struct ElasticBatchNorm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    pub(crate) running_mean: Tensor,
    pub(crate) running_var: Tensor,
}

impl ElasticBatchNorm {
    /// γ = 1, β = 0, mean 0, variance 1, under the scope `bn`.
    pub(crate) fn new(builder: &mut WeightBuilder, channels: u32) -> Result<Self, SupernetError> {
        let shape = [i64::from(channels)];
        builder.scope("bn", |builder| {
            Ok(Self {
                weight: builder.weight("weight", &shape, Init::Constant(1.0), Role::NotDecayed)?,
                bias: builder.weight("bias", &shape, Init::Constant(0.0), Role::NotDecayed)?,
                running_mean: builder.weight("running_mean", &shape, Init::Constant(0.0), Role::Statistic)?,
                running_var: builder.weight("running_var", &shape, Init::Constant(1.0), Role::Statistic)?,
            })
        })
    }

    /// The first `channels` channels.
    pub(crate) fn slice(&self, channels: u32) -> BatchNorm {
        let take = |tensor: &Tensor| prefix(tensor, 0, i64::from(channels));
        BatchNorm {
            weight: take(&self.weight),
            bias: take(&self.bias),
            running_mean: take(&self.running_mean),
            running_var: take(&self.running_var),
        }
    }

    /// Reorders the channels.
    pub(crate) fn permute(&self, order: &Tensor) {
        for tensor in [&self.weight, &self.bias, &self.running_mean, &self.running_var] {
            permute_in_place(tensor, 0, order);
        }
    }
}

/// `tensor ← tensor` with dimension `dim` in the given order, gradients untouched.
pub(crate) fn permute_in_place(tensor: &Tensor, dim: i64, order: &Tensor) {
    tch::no_grad(|| {
        let permuted = tensor.index_select(dim, order);
        tensor.shallow_clone().copy_(&permuted);
    });
}
