//! Where weights come from (fresh or a file) and what each is to the optimiser.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use tch::{Device, Kind, Tensor};

use crate::error::SupernetError;
use crate::tensors::is_finite;

/// How a weight starts when there is no file to read it from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Init {
    /// Normal with variance 2/(k·k·out/groups): He et al. 2015 (arXiv:1502.01852), fan-out. The published code does not
    /// divide by groups, which starts depthwise convolutions far too small.
    HeFanOut {
        /// Groups of the convolution; for depthwise the number of channels.
        groups: i64,
    },
    /// Uniform in ±1/√in.
    LinearUniform,
    /// One value everywhere.
    Constant(f64),
    /// Identity matrix (kernel transforms).
    Identity,
}

/// What a tensor is to the optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trained, with weight decay.
    Decayed,
    /// Trained, without weight decay: batch norm and biases.
    NotDecayed,
    /// Kernel transforms: trained without weight decay (it would pull the identity to zero), or left as they are.
    Transform,
    /// Running statistics: saved, never trained.
    Statistic,
}

/// One tensor of the supernet under its name in files.
#[derive(Debug)]
pub struct NamedWeight {
    /// Dotted name, e.g. `stages.0.1.expand.conv.weight`.
    pub name: String,
    /// The tensor; shares storage with the layer that uses it.
    pub tensor: Tensor,
    /// What it is to the optimiser.
    pub role: Role,
    /// Whether it stays as it is whatever its role.
    pub is_frozen: bool,
}

impl NamedWeight {
    /// Whether the optimiser moves it.
    pub fn is_trained(&self) -> bool {
        self.role != Role::Statistic && !self.is_frozen
    }
}

/// Whether `layer` is `name` or a part of it.
pub(crate) fn is_in(layer: &str, name: &str) -> bool {
    layer.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

enum Source {
    Fresh(Box<ChaCha8Rng>),
    File(BTreeMap<String, Tensor>),
}

/// Hands out weights by name while a supernet is built and remembers each.
pub(crate) struct WeightBuilder {
    source: Source,
    device: Device,
    prefix: Vec<String>,
    weights: Vec<NamedWeight>,
}

impl WeightBuilder {
    /// Fresh weights; equal seeds give equal weights on every device.
    pub(crate) fn fresh(seed: u64, device: Device) -> Self {
        Self {
            source: Source::Fresh(Box::new(ChaCha8Rng::seed_from_u64(seed))),
            device,
            prefix: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// Weights from named tensors; kernel transforms that are missing start as the identity.
    pub(crate) fn from_tensors(tensors: BTreeMap<String, Tensor>, device: Device) -> Self {
        Self { source: Source::File(tensors), device, prefix: Vec::new(), weights: Vec::new() }
    }

    /// Runs `build` with `name` put before every name inside.
    pub(crate) fn scope<T>(
        &mut self,
        name: impl Into<String>,
        build: impl FnOnce(&mut Self) -> Result<T, SupernetError>,
    ) -> Result<T, SupernetError> {
        self.prefix.push(name.into());
        let built = build(self);
        self.prefix.pop();
        built
    }

    /// The weight `name` of this scope, of exactly this shape.
    ///
    /// # Errors
    /// [`SupernetError::MissingWeight`], [`SupernetError::WeightShape`], [`SupernetError::WeightNotFinite`],
    /// [`SupernetError::NegativeVariance`].
    pub(crate) fn weight(
        &mut self,
        name: &str,
        shape: &[i64],
        init: Init,
        role: Role,
    ) -> Result<Tensor, SupernetError> {
        let name = self.prefix.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
        let tensor = match &mut self.source {
            Source::Fresh(rng) => fresh(shape, init, rng),
            Source::File(tensors) => match tensors.remove(&name) {
                Some(tensor) if tensor.size() != shape => {
                    return Err(SupernetError::WeightShape { name, expected: shape.to_vec(), got: tensor.size() });
                }
                Some(tensor) => {
                    let tensor = tensor.to_kind(Kind::Float);
                    if !is_finite(&tensor) {
                        return Err(SupernetError::WeightNotFinite { name });
                    }
                    if name.ends_with("running_var") && tensor.lt(0.0).any().int64_value(&[]) != 0 {
                        return Err(SupernetError::NegativeVariance { name });
                    }
                    tensor
                }
                None if init == Init::Identity => Tensor::eye(shape[0], (Kind::Float, Device::Cpu)),
                None => return Err(SupernetError::MissingWeight { name }),
            },
        };
        let tensor = tensor.to_device(self.device).detach().copy();
        let tensor = tensor.set_requires_grad(role != Role::Statistic);
        self.weights.push(NamedWeight { name, tensor: tensor.shallow_clone(), role, is_frozen: false });
        Ok(tensor)
    }

    /// Every weight handed out, in order.
    ///
    /// # Errors
    /// [`SupernetError::UnusedWeights`] when the file holds tensors that this network does not have.
    pub(crate) fn finish(self) -> Result<Vec<NamedWeight>, SupernetError> {
        if let Source::File(left) = &self.source
            && let Some(name) = left.keys().next()
        {
            return Err(SupernetError::UnusedWeights { first: name.clone(), count: left.len() });
        }
        Ok(self.weights)
    }
}

/// Elements between the beginnings of two joined weights are a multiple of this: convolutions on a GPU read 16 bytes at
/// a time and fail on a weight that begins anywhere else.
const ALIGNMENT: usize = 64;

/// Moves all weights that are trained (others stay) into one block of memory, end to end in their order but for some zeros between
/// them, and returns it; each is a view of its part from then on, for whoever holds it.
pub(crate) fn join(weights: &[NamedWeight]) -> Tensor {
    let trained = || weights.iter().filter(|weight| weight.is_trained());
    let values: Vec<Tensor> = trained().map(|weight| padded(&weight.tensor.detach())).collect();
    let joined = Tensor::cat(&values, 0);
    let mut start = 0;
    for (weight, values) in trained().zip(&values) {
        let part = joined.narrow(0, start, weight.tensor.numel() as i64).view(weight.tensor.size().as_slice());
        weight.tensor.shallow_clone().set_data(&part);
        start += values.numel() as i64;
    }
    joined
}

/// The elements of one weight as they lie in a joined block.
pub(crate) fn padded(tensor: &Tensor) -> Tensor {
    let missing = tensor.numel().next_multiple_of(ALIGNMENT) - tensor.numel();
    let flat = tensor.flatten(0, -1);
    if missing == 0 { flat } else { flat.constant_pad_nd([0, missing as i64]) }
}

fn fresh(shape: &[i64], init: Init, rng: &mut ChaCha8Rng) -> Tensor {
    let count = shape.iter().product::<i64>() as usize;
    let values: Vec<f32> = match init {
        Init::HeFanOut { groups } => {
            let fan_out = shape[0] / groups * shape[2] * shape[3];
            let std = (2.0 / fan_out as f32).sqrt();
            (0..count).map(|_| std * Distribution::<f32>::sample(&StandardNormal, rng)).collect()
        }
        Init::LinearUniform => {
            let bound = 1.0 / (shape[1] as f32).sqrt();
            let uniform = Uniform::new_inclusive(-bound, bound).expect("a finite bound");
            (0..count).map(|_| uniform.sample(rng)).collect()
        }
        Init::Constant(value) => vec![value as f32; count],
        Init::Identity => return Tensor::eye(shape[0], (Kind::Float, Device::Cpu)),
    };
    Tensor::from_slice(&values).reshape(shape)
}

#[cfg(test)]
mod tests {
    use search::space::SearchSpace;

    use super::*;
    use crate::supernet::Supernet;

    #[test]
    fn joined_weights_are_aligned_views_that_every_holder_sees() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let supernet = Supernet::new(&space, 1, Device::Cpu);
        let before = supernet.duplicate();
        let joined = join(supernet.weights());
        for (weight, before) in supernet.weights().iter().zip(before.weights()) {
            assert!(weight.tensor.equal(&before.tensor), "{}", weight.name);
            if weight.role != Role::Statistic {
                let offset = weight.tensor.data_ptr() as usize - joined.data_ptr() as usize;
                assert_eq!(offset % (4 * ALIGNMENT), 0, "{}", weight.name);
                assert!(weight.tensor.requires_grad());
            }
        }
        // A change of the block is a change of the network.
        let images = Tensor::ones([2, 3, 24, 24], (Kind::Float, Device::Cpu));
        let config = space.resolve(&space.largest(24).unwrap());
        tch::no_grad(|| {
            let _ = joined.shallow_clone().zero_();
        });
        let logits = supernet.forward(&images, &config, crate::forward::subnet::Mode::Train);
        assert_eq!(logits.abs().max().double_value(&[]), 0.0);
    }
}
