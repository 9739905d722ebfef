//! The numbers of a network in host memory, by layer name.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use storage::failure::{Failure, FailureKind};

use crate::layers::{Layer, LayerKind};
use crate::shape::NetworkShape;

/// One tensor, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Lengths of its dimensions.
    pub shape: Vec<usize>,
    /// All numbers.
    pub values: Vec<f32>,
}

/// Every tensor of a network: `NAME.weight` and `NAME.bias` of convolutions (`[outputs, inputs of a group, k, k]`) and
/// linear layers (`[outputs, inputs]`), `NAME.weight`, `NAME.bias`, `NAME.running_mean` and `NAME.running_var` of batch
/// norms, `[C]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights(BTreeMap<String, Array>);

/// Tensors that are not those of a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// A tensor is not there.
    #[error("weight `{name}` is missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A tensor has another shape.
    #[error("weight `{name}` has shape {got:?}, where the network needs {wanted:?}")]
    Shape {
        /// Its name.
        name: String,
        /// What it has.
        got: Vec<usize>,
        /// What is needed.
        wanted: Vec<usize>,
    },
    /// A NaN or an infinity.
    #[error("weight `{name}` holds a NaN or an infinity")]
    NotFinite {
        /// Its name.
        name: String,
    },
    /// A variance below 0.
    #[error("`{name}` holds a negative variance")]
    NegativeVariance {
        /// Its name.
        name: String,
    },
    /// Tensors that no layer has a use for.
    #[error("{count} weights belong to no layer, the first is `{first}`")]
    Unused {
        /// The first name.
        first: String,
        /// How many there are.
        count: usize,
    },
}

impl Failure for WeightError {
    fn kind(&self) -> FailureKind {
        FailureKind::Content
    }

    fn hint(&self) -> Option<String> {
        match self {
            WeightError::NotFinite { .. } | WeightError::NegativeVariance { .. } => None,
            _ => Some("check that the weights were made for this network".into()),
        }
    }
}

/// Names and shapes of the tensors of a layer called `name`.
pub fn tensors_of(name: &str, layer: &Layer) -> Vec<(String, Vec<usize>)> {
    let outputs = layer.output.channels as usize;
    let (weight, bias) = match layer.kind {
        LayerKind::Conv(window, weights) => {
            let inputs = layer.input.channels / weights.groups.max(1);
            (vec![outputs, inputs as usize, window.kernel as usize, window.kernel as usize], weights.bias)
        }
        LayerKind::Depthwise(window, weights) => {
            (vec![outputs, 1, window.kernel as usize, window.kernel as usize], weights.bias)
        }
        LayerKind::Linear(weights) => (vec![outputs, layer.input.elements() as usize], weights.bias),
        LayerKind::BatchNorm => {
            let names = ["weight", "bias", "running_mean", "running_var"];
            return names.map(|tensor| (format!("{name}.{tensor}"), vec![outputs])).to_vec();
        }
        _ => return Vec::new(),
    };
    let mut tensors = vec![(format!("{name}.weight"), weight)];
    if bias {
        tensors.push((format!("{name}.bias"), vec![outputs]));
    }
    tensors
}

impl Weights {
    /// Takes `arrays` for the weights of `network`.
    ///
    /// # Errors
    /// A tensor that is missing, superfluous, of another shape or not finite; a negative variance.
    pub fn new(network: &NetworkShape, arrays: BTreeMap<String, Array>) -> Result<Self, WeightError> {
        let mut used = 0;
        for named in network.layers() {
            for (name, wanted) in tensors_of(&named.name, &named.layer) {
                let Some(array) = arrays.get(&name) else { return Err(WeightError::Missing { name }) };
                let numbers: usize = array.shape.iter().product();
                if array.shape != wanted || array.values.len() != numbers {
                    return Err(WeightError::Shape { name, got: array.shape.clone(), wanted });
                }
                if !array.values.iter().all(|value| value.is_finite()) {
                    return Err(WeightError::NotFinite { name });
                }
                if name.ends_with("running_var") && array.values.iter().any(|value| *value < 0.0) {
                    return Err(WeightError::NegativeVariance { name });
                }
                used += 1;
            }
        }
        if used < arrays.len() {
            let names: std::collections::BTreeSet<String> = network
                .layers()
                .iter()
                .flat_map(|named| tensors_of(&named.name, &named.layer))
                .map(|(n, _)| n)
                .collect();
            let first = arrays.keys().find(|name| !names.contains(*name)).cloned().unwrap_or_default();
            return Err(WeightError::Unused { first, count: arrays.len() - used });
        }
        Ok(Self(arrays))
    }

    /// Random ones that keep the variance of what passes through (He et al. 2015, arXiv:1502.01852); statistics and
    /// biases are random too, so that nothing that is mixed up goes unnoticed.
    pub fn random(network: &NetworkShape, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut arrays = BTreeMap::new();
        for named in network.layers() {
            for (name, shape) in tensors_of(&named.name, &named.layer) {
                let numbers: usize = shape.iter().product();
                let is_norm = named.layer.kind == LayerKind::BatchNorm;
                let fan_in = numbers / shape[0].max(1);
                let mut normal = |mean: f32, std: f32| {
                    (0..numbers).map(|_| mean + std * rng.sample::<f32, _>(StandardNormal)).collect::<Vec<f32>>()
                };
                let values = match name.rsplit('.').next() {
                    Some("weight") if is_norm => normal(1.0, 0.1),
                    Some("weight") => normal(0.0, (2.0 / fan_in as f32).sqrt()),
                    Some("running_var") => normal(1.0, 0.1).into_iter().map(|value| value.abs() + 0.5).collect(),
                    _ => normal(0.0, 0.1),
                };
                arrays.insert(name, Array { shape, values });
            }
        }
        Self(arrays)
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn arrays(&self) -> &BTreeMap<String, Array> {
        &self.0
    }
}
