//! Stochastic gradient descent with Nesterov momentum whose state can be saved (tch's optimisers cannot).
//!
//! The update is PyTorch's: g ← g + λw; v ← μv + g; w ← w − η(g + μv), v = 0 at the start. A weight that took no part
//! in a step (its block was skipped in every subnet) has gradient zero; momentum and decay go on for it, so that the
//! result depends on saved state alone.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::error::SupernetError;
use crate::weights::{NamedWeight, Role};

/// Constants of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdSettings {
    /// μ.
    pub momentum: f64,
    /// λ, for convolution and linear weights only.
    pub weight_decay: f64,
}

struct Slot {
    name: String,
    weight: Tensor,
    velocity: Tensor,
    decayed: bool,
}

/// Nesterov SGD over the trainable weights of one supernet.
pub struct Sgd {
    settings: SgdSettings,
    slots: Vec<Slot>,
}

impl Sgd {
    /// Momentum zero.
    pub fn new(weights: &[NamedWeight], settings: SgdSettings) -> Self {
        let trained = weights.iter().filter(|weight| weight.role != Role::Statistic);
        let slots = trained.map(|weight| Slot {
            name: weight.name.clone(),
            weight: weight.tensor.shallow_clone(),
            velocity: weight.tensor.detach().zeros_like(),
            decayed: weight.role == Role::Decayed,
        });
        Self { settings, slots: slots.collect() }
    }

    /// One update with learning rate `rate`; gradients are dropped afterwards.
    pub fn step(&mut self, rate: f64) {
        let SgdSettings { momentum, weight_decay } = self.settings;
        tch::no_grad(|| {
            for slot in &mut self.slots {
                let gradient = slot.weight.grad();
                let mut update = if gradient.defined() { gradient.copy() } else { slot.velocity.zeros_like() };
                if slot.decayed && weight_decay > 0.0 {
                    let _ = update.g_add_(&(&slot.weight * weight_decay));
                }
                let _ = slot.velocity.g_mul_scalar_(momentum);
                let _ = slot.velocity.g_add_(&update);
                let _ = update.g_add_(&(&slot.velocity * momentum));
                let _ = slot.weight.g_sub_(&(update * rate));
                slot.weight.zero_grad();
            }
        });
    }

    /// Drops all momentum (a new phase starts).
    pub fn reset(&mut self) {
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
    pub fn restore(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<(), SupernetError> {
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
