//! Squeeze-excite of elastic width (`once-for-all` §2.2): both 1×1 convolutions are prefixes.

use tch::Tensor;

use super::prefix;
use crate::error::SupernetError;
use crate::forward::subnet::SqueezeExcite;
use crate::weights::{Init, Role, WeightBuilder};

/// Two biased 1×1 convolutions: `channels` → `squeezed` → `channels`.
#[derive(Debug)]
pub(crate) struct ElasticSqueezeExcite {
    pub(crate) reduce: (Tensor, Tensor),
    pub(crate) expand: (Tensor, Tensor),
}

impl ElasticSqueezeExcite {
    /// Weights for the widest form, under the scope `se`.
    pub(crate) fn new(builder: &mut WeightBuilder, channels: u32, squeezed: u32) -> Result<Self, SupernetError> {
        let mut layer = |name: &str, from: u32, to: u32| {
            builder.scope(format!("se.{name}"), |builder| {
                let shape = [to, from, 1, 1].map(i64::from);
                let weight = builder.weight("weight", &shape, Init::HeFanOut { groups: 1 }, Role::Decayed)?;
                let bias = builder.weight("bias", &shape[..1], Init::Constant(0.0), Role::NotDecayed)?;
                Ok((weight, bias))
            })
        };
        Ok(Self { reduce: layer("reduce", channels, squeezed)?, expand: layer("expand", squeezed, channels)? })
    }

    /// The layer at this width.
    pub(crate) fn slice(&self, channels: u32, squeezed: u32) -> SqueezeExcite {
        let take = |(weight, bias): &(Tensor, Tensor), from: u32, to: u32| {
            (prefix(&prefix(weight, 0, i64::from(to)), 1, i64::from(from)), prefix(bias, 0, i64::from(to)))
        };
        SqueezeExcite { reduce: take(&self.reduce, channels, squeezed), expand: take(&self.expand, squeezed, channels) }
    }
}
