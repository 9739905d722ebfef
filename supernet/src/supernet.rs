//! The elastic network: weights of every subnet of a space, run at any of them.

use std::collections::BTreeMap;

use search::space::SearchSpace;
use search::subnet::{BlockPosition, SubnetConfig};
use tch::{Device, Tensor};

use crate::elastic::{ElasticBlock, ElasticConv2d, ElasticLinear};
use crate::error::SupernetError;
use crate::forward::statistics::BnStatistics;
use crate::forward::subnet::{Mode, Subnet};
use crate::weights::{NamedWeight, Role, WeightBuilder, is_in};

/// One set of weights for all subnets of a [`SearchSpace`].
///
/// The subnet is an argument of [`Supernet::forward`], never a setting left on the network: A, then B, then A gives
/// A's answer twice.
#[derive(Debug)]
pub struct Supernet {
    space: SearchSpace,
    device: Device,
    stem: ElasticConv2d,
    first: Option<ElasticBlock>,
    pub(crate) stages: Vec<Vec<ElasticBlock>>,
    head: Vec<ElasticConv2d>,
    classifier: ElasticLinear,
    weights: Vec<NamedWeight>,
}

/// What the names of the classifier's weights begin with.
const CLASSIFIER: &str = "classifier.";

impl Supernet {
    /// Fresh weights; equal seeds give equal weights.
    pub fn new(space: &SearchSpace, seed: u64, device: Device) -> Self {
        Self::build(space, device, WeightBuilder::fresh(seed, device)).expect("fresh weights have the right shapes")
    }

    /// Weights from named tensors, as [`Supernet::tensors`] gives them.
    ///
    /// # Errors
    /// A missing, superfluous, misshapen or non-finite tensor.
    pub fn from_tensors(
        space: &SearchSpace,
        tensors: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self, SupernetError> {
        Self::build(space, device, WeightBuilder::from_tensors(tensors, device))
    }

    /// Weights from the named tensors of a supernet of the same space but for its classes, with a fresh classifier by `seed`:
    /// transfer to other images (Yosinski et al. 2014, arXiv:1411.1792).
    ///
    /// # Errors
    /// A missing, superfluous, misshapen or non-finite tensor, the classifier's aside.
    pub fn transferred(
        space: &SearchSpace,
        mut tensors: BTreeMap<String, Tensor>,
        seed: u64,
        device: Device,
    ) -> Result<Self, SupernetError> {
        tensors.retain(|name, _| !name.starts_with(CLASSIFIER));
        let fresh = Self::new(space, seed, device).tensors();
        tensors.extend(fresh.into_iter().filter(|(name, _)| name.starts_with(CLASSIFIER)));
        Self::from_tensors(space, tensors, device)
    }

    fn build(space: &SearchSpace, device: Device, mut builder: WeightBuilder) -> Result<Self, SupernetError> {
        let largest = space.resolve(&space.largest(space.resolutions()[0]).expect("its own resolution"));
        let b = &mut builder;
        let stem_shape = &largest.stem;
        let stem = b.scope("stem", |b| {
            ElasticConv2d::new(b, stem_shape.in_channels, stem_shape.out_channels, stem_shape.kernel, true)
        })?;
        let mut first = None;
        let mut stages: Vec<Vec<ElasticBlock>> = space.stages().iter().map(|_| Vec::new()).collect();
        for shape in &largest.blocks {
            match shape.position {
                BlockPosition::First => {
                    first = Some(b.scope("first", |b| ElasticBlock::new(b, shape, &[shape.kernel]))?);
                }
                BlockPosition::Elastic { stage, index } => {
                    let kernels = &space.stages()[stage].kernels;
                    let name = format!("stages.{stage}.{index}");
                    stages[stage].push(b.scope(name, |b| ElasticBlock::new(b, shape, kernels))?);
                }
            }
        }
        let mut head = Vec::new();
        for (index, shape) in largest.head.iter().enumerate() {
            head.push(b.scope(format!("head.{index}"), |b| {
                ElasticConv2d::new(b, shape.in_channels, shape.out_channels, shape.kernel, shape.batch_norm)
            })?);
        }
        let classifier = b.scope("classifier", |b| ElasticLinear::new(b, largest.features, largest.classes))?;
        let weights = builder.finish()?;
        Ok(Self { space: space.clone(), device, stem, first, stages, head, classifier, weights })
    }

    /// The space whose subnets it holds.
    pub fn space(&self) -> &SearchSpace {
        &self.space
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Every weight and statistic with its name and role, in a fixed order.
    pub fn weights(&self) -> &[NamedWeight] {
        &self.weights
    }

    /// Every weight and statistic by name, detached; shares storage with the network.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.weights.iter().map(|weight| (weight.name.clone(), weight.tensor.detach())).collect()
    }

    /// Makes every block that has a shortcut begin as the shortcut alone: the scale of its last batch norm becomes 0
    /// (Goyal et al. 2017, arXiv:1706.02677, §5.1).
    pub(crate) fn zero_residual_branches(&self) {
        let largest = self.space.largest(self.space.resolutions()[0]).expect("its own resolution");
        let config = self.space.resolve(&largest);
        tch::no_grad(|| {
            for block in self.subnet(&config).blocks.iter().filter(|block| block.residual) {
                let norm = block.project.batch_norm.as_ref().expect("the projection is normalised");
                let _ = norm.weight.shallow_clone().zero_();
            }
        });
    }

    /// Leaves the kernel transforms as they are from now on: fresh ones are the identity, so that a small kernel is the
    /// centre of the large one.
    pub(crate) fn freeze_kernel_transforms(&self) {
        let transforms = self.weights.iter().filter(|weight| weight.role == Role::Transform);
        transforms.for_each(|weight| {
            let _ = weight.tensor.set_requires_grad(false);
        });
    }

    /// Leaves the layers of these names, and those whose names begin so before a dot, as they are from now on.
    pub(crate) fn freeze(&mut self, layers: &[String]) {
        for weight in &mut self.weights {
            if layers.iter().any(|layer| is_in(&weight.name, layer)) {
                weight.is_frozen = true;
                let _ = weight.tensor.set_requires_grad(false);
            }
        }
    }

    /// Whether a weight of the layer of this name, or of one within it, is frozen.
    pub(crate) fn has_frozen(&self, layer: &str) -> bool {
        self.weights.iter().any(|weight| weight.is_frozen && is_in(&weight.name, layer))
    }

    /// Parameters, kernel transforms and what is frozen included.
    pub fn parameter_count(&self) -> i64 {
        let trained = self.weights.iter().filter(|weight| weight.role != Role::Statistic);
        trained.map(|weight| weight.tensor.numel() as i64).sum()
    }

    /// A second supernet with its own copy of the weights, of which the same are frozen.
    pub fn duplicate(&self) -> Self {
        self.with(self.tensors()).expect("the same space and finite weights")
    }

    /// A supernet of other weights on the same device, of which the same are frozen.
    ///
    /// # Errors
    /// As [`Supernet::from_tensors`].
    pub(crate) fn with(&self, tensors: BTreeMap<String, Tensor>) -> Result<Self, SupernetError> {
        let mut other = Self::from_tensors(&self.space, tensors, self.device)?;
        for (other, own) in other.weights.iter_mut().zip(&self.weights).filter(|(_, own)| own.is_frozen) {
            other.is_frozen = true;
            let _ = other.tensor.set_requires_grad(own.tensor.requires_grad());
        }
        Ok(other)
    }

    /// The weights of one subnet as views: cheap, and gradients flow back.
    ///
    /// # Panics
    /// If `config` was resolved from another space.
    pub fn subnet(&self, config: &SubnetConfig) -> Subnet {
        assert_eq!(&config.space, self.space.id(), "a subnet of another space reached the supernet");
        let stem = &config.stem;
        let blocks = config.blocks.iter().map(|shape| {
            let block = match shape.position {
                BlockPosition::First => self.first.as_ref().expect("the space has a first block"),
                BlockPosition::Elastic { stage, index } => &self.stages[stage][index],
            };
            block.slice(shape)
        });
        let head = self.head.iter().zip(&config.head);
        Subnet {
            stem: self.stem.slice(stem.in_channels, stem.out_channels, stem.stride, stem.activation),
            blocks: blocks.collect(),
            head: head
                .map(|(layer, shape)| {
                    layer.slice(shape.in_channels, shape.out_channels, shape.stride, shape.activation)
                })
                .collect(),
            classifier: (self.classifier.weight.shallow_clone(), self.classifier.bias.shallow_clone()),
            dropout: self.space.dropout(),
            bn_eps: self.space.batch_norm().eps,
            config: config.clone(),
        }
    }

    /// Runs one subnet: `images` is `[N, 3, R, R]`, the result `[N, classes]`.
    pub fn forward(&self, images: &Tensor, config: &SubnetConfig, mode: Mode<'_>) -> Tensor {
        self.subnet(config).forward(images, mode)
    }

    /// Writes a subnet's statistics into the running statistics of the layers it uses (a prefix of each).
    pub fn store_statistics(&self, config: &SubnetConfig, statistics: &BnStatistics) {
        tch::no_grad(|| {
            for (norm, layer) in self.subnet(config).batch_norms().zip(statistics.layers()) {
                norm.running_mean.shallow_clone().copy_(&layer.mean);
                norm.running_var.shallow_clone().copy_(&layer.var);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_keeps_all_weights_but_the_classifier() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let (four, device) = (space.with_classes(4), Device::Cpu);
        let of_one = || Supernet::new(&space, 1, device).tensors();
        let theirs = of_one();
        let (fresh, moved) = (
            Supernet::new(&four, 2, device).tensors(),
            Supernet::transferred(&four, of_one(), 2, device).unwrap().tensors(),
        );
        assert_eq!(moved.len(), fresh.len());
        for (name, tensor) in &moved {
            let own = name.starts_with(CLASSIFIER);
            assert_eq!(tensor, if own { &fresh[name] } else { &theirs[name] }, "{name}");
        }
        assert_eq!(moved.keys().filter(|name| name.starts_with(CLASSIFIER)).count(), 2);
        let mut lacking = of_one();
        let _ = lacking.remove("stem.conv.weight").unwrap();
        let error = Supernet::transferred(&four, lacking, 2, device).err().unwrap().to_string();
        assert!(error.contains("stem.conv.weight"), "{error}");
        let other = SearchSpace::builtin("fbnet-cifar").unwrap();
        assert!(Supernet::transferred(&other, theirs, 2, device).is_err());
    }
}
