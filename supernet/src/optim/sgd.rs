//! Stochastic gradient descent with Nesterov momentum whose state can be saved (tch's optimisers cannot).
//!
//! The update is PyTorch's: g ← g + λw; v ← μv + g; w ← w − η(g + μv), v = 0 at the start. A weight that took no part
//! in a step (its block was skipped in every subnet) has gradient zero; momentum and decay go on for it, so that the
//! result depends on saved state alone.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::error::SupernetError;
use crate::native::{self, SgdSlot};
use crate::weights::{NamedWeight, Role, join, padded};

/// Constants of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdSettings {
    /// μ.
    pub momentum: f64,
    /// λ, for convolution and linear weights only.
    pub weight_decay: f64,
    /// Largest Euclidean norm of the gradient over all weights; a larger one is scaled down to it.
    pub clip_gradient: Option<f64>,
}

/// A gradient that no factor brings to a given length: infinite, NaN, or too long for float32.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("the norm of the gradient is {norm}")]
pub struct GradientNotFinite {
    /// Its norm.
    pub norm: f64,
}

struct Slot {
    name: String,
    weight: Tensor,
    velocity: Tensor,
    decayed: bool,
}

/// All weights and velocities end to end, and λ for each: on a GPU one update of everything takes as long as one of a
/// single weight, which is mostly the time to ask for it.
struct Joined {
    weights: Tensor,
    velocities: Tensor,
    decays: Tensor,
}

/// Nesterov SGD over the trainable weights of one supernet.
pub struct Sgd {
    settings: SgdSettings,
    slots: Vec<Slot>,
    joined: Option<Joined>,
}

impl Sgd {
    /// Momentum zero. On a GPU the weights move into one block of memory.
    pub fn new(weights: &[NamedWeight], settings: SgdSettings) -> Self {
        let trained = weights.iter().filter(|weight| weight.is_trained());
        let slots = trained.map(|weight| Slot {
            name: weight.name.clone(),
            weight: weight.tensor.shallow_clone(),
            velocity: weight.tensor.detach().zeros_like(),
            decayed: weight.role == Role::Decayed,
        });
        let mut slots: Vec<Slot> = slots.collect();
        let on_gpu = slots.first().is_some_and(|slot| slot.weight.device().is_cuda());
        let joined = on_gpu.then(|| join_slots(weights, &mut slots, settings.weight_decay));
        Self { settings, slots, joined }
    }

    /// One update with learning rate `rate`; gradients are dropped afterwards.
    ///
    /// # Errors
    /// A gradient that cannot be clipped; weights and momentum stay as they were.
    pub fn step(&mut self, rate: f64) -> Result<(), GradientNotFinite> {
        tch::no_grad(|| match &self.joined {
            Some(joined) => {
                self.step_joined(joined, rate)?;
                self.slots.iter_mut().for_each(|slot| slot.weight.zero_grad());
                Ok(())
            }
            None => self.step_on_cpu(rate),
        })
    }

    /// Everything at once, by LibTorch.
    fn step_joined(&self, joined: &Joined, rate: f64) -> Result<(), GradientNotFinite> {
        let SgdSettings { momentum, clip_gradient, .. } = self.settings;
        let gradient = |slot: &Slot| {
            let gradient = slot.weight.grad();
            padded(&if gradient.defined() { gradient } else { slot.velocity.zeros_like() })
        };
        let gradients: Vec<Tensor> = self.slots.iter().map(gradient).collect();
        let mut update = Tensor::cat(&gradients, 0);
        if let Some(limit) = clip_gradient {
            let norm = update.norm();
            finite(norm.double_value(&[]))?;
            let scale = (limit / (norm + 1e-6)).clamp_max(1.0);
            let _ = update.g_mul_(&scale);
        }
        let Joined { weights, velocities, decays } = joined;
        let _ = update.addcmul_(weights, decays);
        let _ = velocities.shallow_clone().g_mul_scalar_(momentum).g_add_(&update);
        let _ = update.g_add_(&(velocities * momentum));
        let _ = weights.shallow_clone().g_sub_(&(update * rate));
        Ok(())
    }

    /// In one pass of our own, which also clears the gradients.
    fn step_on_cpu(&self, rate: f64) -> Result<(), GradientNotFinite> {
        let SgdSettings { momentum, weight_decay, clip_gradient } = self.settings;
        let scale = match clip_gradient {
            Some(limit) => (limit / (finite(self.gradient_norm())? + 1e-6)).min(1.0),
            None => 1.0,
        };
        let slots = self.slots.iter().map(|slot| SgdSlot {
            weight: &slot.weight,
            velocity: &slot.velocity,
            decay: if slot.decayed { weight_decay } else { 0.0 },
        });
        native::sgd(slots, scale, rate, momentum);
        Ok(())
    }

    fn gradient_norm(&self) -> f64 {
        let gradients = self.slots.iter().map(|slot| slot.weight.grad()).filter(Tensor::defined);
        gradients.map(|gradient| gradient.norm().double_value(&[]).powi(2)).sum::<f64>().sqrt()
    }

    /// The weights end to end, where they are (on a GPU).
    pub(crate) fn joined(&self) -> Option<&Tensor> {
        self.joined.as_ref().map(|joined| &joined.weights)
    }

    /// Whether the weight of this name is one of those it trains.
    pub(crate) fn trains(&self, name: &str) -> bool {
        self.slots.iter().any(|slot| slot.name == name)
    }

    /// Drops all momentum (a new phase starts).
    pub(crate) fn reset(&mut self) {
        self.slots.iter_mut().for_each(|slot| {
            let _ = slot.velocity.zero_();
        });
    }

    /// Velocities by weight name.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        self.slots.iter().map(|slot| (slot.name.clone(), slot.velocity.shallow_clone())).collect()
    }

    /// Takes back what [`Sgd::state`] gave.
    ///
    /// # Errors
    /// A velocity that is missing, of an unknown weight, or of another shape.
    pub(crate) fn restore(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<(), SupernetError> {
        for slot in &mut self.slots {
            let name = || slot.name.clone();
            let velocity = state.remove(&slot.name).ok_or_else(|| SupernetError::MissingWeight { name: name() })?;
            let (expected, got) = (slot.weight.size(), velocity.size());
            if expected != got {
                return Err(SupernetError::WeightShape { name: name(), expected, got });
            }
            slot.velocity.copy_(&velocity);
        }
        match state.keys().next() {
            Some(first) => Err(SupernetError::UnusedWeights { first: first.clone(), count: state.len() }),
            None => Ok(()),
        }
    }
}

/// Scaled by `limit / norm`, a gradient with an infinity in it would become NaN (∞ × 0), and with it the weights.
fn finite(norm: f64) -> Result<f64, GradientNotFinite> {
    if norm.is_finite() { Ok(norm) } else { Err(GradientNotFinite { norm }) }
}

fn join_slots(weights: &[NamedWeight], slots: &mut [Slot], weight_decay: f64) -> Joined {
    tch::no_grad(|| {
        let joined = join(weights);
        let velocities = joined.zeros_like();
        let mut start = 0;
        let mut decays = Vec::new();
        for slot in slots {
            slot.velocity = velocities.narrow(0, start, slot.weight.numel() as i64).view(slot.weight.size().as_slice());
            let decay = if slot.decayed { weight_decay } else { 0.0 };
            let decay = padded(&slot.velocity).full_like(decay);
            start += decay.numel() as i64;
            decays.push(decay);
        }
        Joined { weights: joined, velocities, decays: Tensor::cat(&decays, 0) }
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// A weight of two ones whose gradient is `gradient`.
    fn weight(gradient: [f32; 2]) -> NamedWeight {
        let tensor = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        (&tensor * Tensor::from_slice(&gradient)).sum(Kind::Float).backward();
        NamedWeight { name: "w".into(), tensor, role: Role::Decayed, is_frozen: false }
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.detach()).unwrap()
    }

    #[test]
    fn a_gradient_that_cannot_be_clipped_leaves_the_weights_alone() {
        let settings = SgdSettings { momentum: 0.9, weight_decay: 0.0, clip_gradient: Some(1.0) };
        for gradient in [[f32::INFINITY, 0.0], [f32::NAN, 1.0], [3e38, 3e38]] {
            let weights = [weight(gradient)];
            let mut sgd = Sgd::new(&weights, settings);
            assert!(!sgd.step(0.1).unwrap_err().norm.is_finite(), "{gradient:?}");
            assert_eq!(values(&weights[0].tensor), [1.0, 1.0]);
            assert_eq!(values(&sgd.state()["w"]), [0.0, 0.0]);
        }
        // A long one is scaled to length 1; the first step of Nesterov momentum is 1 + μ times as long.
        let weights = [weight([3e4, 4e4])];
        Sgd::new(&weights, settings).step(0.1).unwrap();
        let expected = [1.0 - 0.1 * 1.9 * 0.6, 1.0 - 0.1 * 1.9 * 0.8];
        assert!(values(&weights[0].tensor).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
