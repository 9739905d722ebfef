//! The classifier.

use tch::Tensor;

use crate::error::SupernetError;
use crate::weights::{Init, Role, WeightBuilder};

/// Fully connected layer with bias; its input width is the same in every subnet of an inverted-bottleneck space.
#[derive(Debug)]
pub(crate) struct ElasticLinear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
}

impl ElasticLinear {
    /// A weight of `[classes, features]`.
    pub(crate) fn new(builder: &mut WeightBuilder, features: u32, classes: u32) -> Result<Self, SupernetError> {
        let shape = [classes, features].map(i64::from);
        Ok(Self {
            weight: builder.weight("weight", &shape, Init::LinearUniform, Role::Decayed)?,
            bias: builder.weight("bias", &shape[..1], Init::Constant(0.0), Role::NotDecayed)?,
        })
    }
}
