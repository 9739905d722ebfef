//! What a step does with each of its subnets.

use tch::{Device, Kind, Tensor};

use super::exchange::{Exchange, Sharing};
use crate::supernet::Supernet;

/// The forward and backward passes of a step, whose gradients add up, over all ranks where there are others.
pub(super) struct Passes<'a> {
    left: usize,
    loss: Tensor,
    others: Option<(&'a Exchange, &'a Supernet)>,
    sharing: Option<Sharing<'a>>,
}

impl<'a> Passes<'a> {
    pub(super) fn new(count: usize, device: Device, others: Option<(&'a Exchange, &'a Supernet)>) -> Passes<'a> {
        // Summed where it is computed: asking for a number makes a GPU's queue run empty.
        let loss = Tensor::zeros([], (Kind::Float, device));
        Passes { left: count, loss, others, sharing: None }
    }

    /// One pass; in the last one gradients begin to travel.
    pub(super) fn learn(&mut self, forward: impl FnOnce() -> Tensor) {
        self.left -= 1;
        if self.left == 0 {
            self.sharing = self.others.map(|(exchange, supernet)| exchange.begin(supernet));
        }
        let watch = self.sharing.as_ref().map(Sharing::watch);
        let loss = forward();
        // A subnet may consist of frozen layers alone.
        if loss.requires_grad() {
            match self.sharing.as_mut().zip(watch) {
                Some((sharing, watch)) => sharing.backward(watch, &loss),
                None => loss.backward(),
            }
        }
        let _ = self.loss.g_add_(&loss.detach());
    }

    /// Waits for the gradients of the whole batch; the sum of this rank's losses.
    pub(super) fn finish(self) -> f64 {
        if let Some(sharing) = self.sharing {
            sharing.finish();
        }
        self.loss.double_value(&[])
    }
}
