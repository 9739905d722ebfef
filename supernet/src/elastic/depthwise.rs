//! Depthwise convolution of elastic width and kernel size (`once-for-all` §2.1).
//!
//! The smaller kernel is the centre of the next larger one times a learnable square matrix, one per layer and step
//! (7→5 and 5→3), shared by all channels and chained: y = M·x on the flattened centre. The matrices start as the
//! identity.

use network::op::Activation;
use tch::Tensor;

use super::{ElasticBatchNorm, prefix};
use crate::error::SupernetError;
use crate::forward::subnet::Conv;
use crate::weights::{Init, Role, WeightBuilder};

/// Depthwise convolution with one filter of the largest kernel size per channel.
#[derive(Debug)]
pub(crate) struct ElasticDepthwise {
    pub(crate) weight: Tensor,
    /// From the largest kernel downwards: (smaller size, its matrix).
    transforms: Vec<(u32, Tensor)>,
    pub(crate) batch_norm: ElasticBatchNorm,
}

impl ElasticDepthwise {
    /// `kernels` ascending, as the stage offers them.
    pub(crate) fn new(builder: &mut WeightBuilder, channels: u32, kernels: &[u32]) -> Result<Self, SupernetError> {
        let largest = kernels[kernels.len() - 1];
        let shape = [channels, 1, largest, largest].map(i64::from);
        let init = Init::HeFanOut { groups: i64::from(channels) };
        let weight = builder.weight("conv.weight", &shape, init, Role::Decayed)?;
        let mut transforms = Vec::new();
        for step in kernels.windows(2).rev() {
            let (small, large) = (step[0], step[1]);
            let taps = i64::from(small * small);
            let name = format!("transform_{large}to{small}");
            transforms.push((small, builder.weight(&name, &[taps, taps], Init::Identity, Role::Transform)?));
        }
        Ok(Self { weight, transforms, batch_norm: ElasticBatchNorm::new(builder, channels)? })
    }

    /// The first `channels` filters at kernel size `kernel`: `[channels, 1, kernel, kernel]`.
    pub(crate) fn filters(&self, channels: u32, kernel: u32) -> Tensor {
        let mut filters = prefix(&self.weight, 0, i64::from(channels));
        for (small, transform) in &self.transforms {
            let size = filters.size()[2];
            if size == i64::from(kernel) {
                break;
            }
            let small = i64::from(*small);
            let start = size / 2 - small / 2;
            let centre = filters.narrow(2, start, small).narrow(3, start, small);
            filters = centre.reshape([-1, small * small]).matmul(&transform.tr()).reshape([-1, 1, small, small]);
        }
        filters
    }

    /// Makes these filters, `[channels, 1, kernel, kernel]`, those of the first channels at every kernel size from theirs
    /// up: centres of large ones whose border is zero, transforms the identity.
    pub(crate) fn embed(&self, filters: &Tensor) {
        let [large, small] = [&self.weight, filters].map(|filters| filters.size()[2]);
        let border = (large - small) / 2;
        prefix(&self.weight, 0, filters.size()[0]).copy_(&filters.constant_pad_nd([border; 4]));
        for (small, transform) in &self.transforms {
            let identity = Tensor::eye(i64::from(small * small), (transform.kind(), transform.device()));
            transform.shallow_clone().copy_(&identity);
        }
    }

    /// The layer at this width, kernel size and stride.
    pub(crate) fn slice(&self, channels: u32, kernel: u32, stride: u32, activation: Activation) -> Conv {
        Conv {
            weight: self.filters(channels, kernel),
            batch_norm: Some(self.batch_norm.slice(channels)),
            stride: i64::from(stride),
            padding: i64::from(kernel / 2),
            groups: i64::from(channels),
            activation,
        }
    }
}
