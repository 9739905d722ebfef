//! An exponential moving average of the weights (Polyak averaging): flatter minima, and no need to wait for the end of
//! the learning-rate schedule to see how good the weights are.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::error::SupernetError;
use crate::supernet::Supernet;
use crate::weights::join;

/// The average of one supernet's weights.
pub(crate) struct WeightAverage {
    /// What it keeps of itself at each step, in the long run.
    kept: f64,
    supernet: Supernet,
    /// Its weights end to end, on a GPU.
    joined: Option<Tensor>,
}

impl WeightAverage {
    /// Begins as the weights are.
    pub(crate) fn new(kept: f64, weights: &Supernet) -> Self {
        Self::of(kept, weights.duplicate())
    }

    /// Goes on with the average of a checkpoint.
    ///
    /// # Errors
    /// Tensors of another space.
    pub(crate) fn restore(
        kept: f64,
        like: &Supernet,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self, SupernetError> {
        Ok(Self::of(kept, like.with(tensors)?))
    }

    fn of(kept: f64, supernet: Supernet) -> Self {
        let joined = supernet.device().is_cuda().then(|| tch::no_grad(|| join(supernet.weights())));
        Self { kept, supernet, joined }
    }

    /// Moves towards `weights` after global step `step`. Early averages forget faster, since the first weights are worth
    /// nothing. `joined` is where the weights lie end to end, if they do.
    pub(crate) fn update(&self, weights: &Supernet, joined: Option<&Tensor>, step: u64) {
        let kept = self.kept.min((1.0 + step as f64) / (10.0 + step as f64));
        tch::no_grad(|| match (&self.joined, joined) {
            (Some(average), Some(weights)) => {
                let _ = average.shallow_clone().lerp_(weights, 1.0 - kept);
            }
            _ => {
                for (average, weight) in self.supernet.weights().iter().zip(weights.weights()) {
                    let _ = average.tensor.shallow_clone().lerp_(&weight.tensor, 1.0 - kept);
                }
            }
        });
    }

    pub(crate) fn supernet(&self) -> &Supernet {
        &self.supernet
    }
}
