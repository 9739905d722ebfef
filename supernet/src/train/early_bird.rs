//! When the order of channels has settled: the signal that ends a phase early.
//!
//! Early-Bird tickets (You et al. 2020, arXiv:1909.11957, §3.2): from epoch to epoch, mark the channels that pruning
//! would keep; when the marks hardly change any more, the network has found out which channels matter, long before it
//! is trained. Importance is here what shrinking will sort channels by (the L1 norm of a middle channel's weights in the
//! project convolution), rather than the scales of batch norm, and each block is pruned by itself, since an elastic width
//! is a choice of its block.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::plan_error::{PlanError, require};
use crate::supernet::Supernet;

/// The end of a phase by mask distance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyBird {
    /// Share of the channels of each block that count as pruned.
    #[serde(default = "half")]
    pub pruned: f64,
    /// The phase ends when no mask of the queue differs from the newest in more than this share of the channels.
    #[serde(default = "tenth")]
    pub distance: f64,
    /// Masks in the queue, one per epoch, the newest included; at least 2.
    #[serde(default = "five")]
    pub masks: usize,
}

fn half() -> f64 {
    0.5
}

fn tenth() -> f64 {
    0.1
}

fn five() -> usize {
    5
}

impl EarlyBird {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let EarlyBird { pruned, distance, masks } = *self;
        require(pruned > 0.0 && pruned < 1.0, "early_bird.pruned", pruned, "but must be between 0 and 1")?;
        require((0.0..=1.0).contains(&distance), "early_bird.distance", distance, "but must be 0 to 1")?;
        require((2..=1000).contains(&masks), "early_bird.masks", masks, "but must be 2 to 1000")
    }
}

/// Which channels would be kept, over all elastic blocks in order.
pub(crate) type Mask = Vec<bool>;

/// The masks of the last epochs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MaskQueue {
    masks: VecDeque<Mask>,
}

impl MaskQueue {
    /// Adds the mask of an epoch. Returns the largest distance between it and the others once the queue is full.
    pub(crate) fn push(&mut self, mask: Mask, length: usize) -> Option<f64> {
        self.masks.push_back(mask);
        while self.masks.len() > length {
            self.masks.pop_front();
        }
        let (newest, others) = (self.masks.back()?, self.masks.iter().take(self.masks.len() - 1));
        let furthest = others.map(|mask| distance(mask, newest)).fold(0.0, f64::max);
        (self.masks.len() == length).then_some(furthest)
    }

    pub(crate) fn clear(&mut self) {
        self.masks.clear();
    }

    /// For a checkpoint: `[masks, channels]` of bytes; `None` when empty.
    pub(crate) fn to_tensor(&self) -> Option<Tensor> {
        let bytes: Vec<u8> = self.masks.iter().flatten().map(|kept| u8::from(*kept)).collect();
        let rows = self.masks.len() as i64;
        (rows > 0).then(|| Tensor::from_slice(&bytes).view([rows, -1]))
    }

    /// Takes back what [`MaskQueue::to_tensor`] gave.
    pub(crate) fn from_tensor(tensor: &Tensor) -> MaskQueue {
        let rows = (0..tensor.size()[0]).map(|row| {
            let bytes = Vec::<u8>::try_from(tensor.get(row).contiguous().view(-1)).expect("a row of bytes");
            bytes.into_iter().map(|byte| byte != 0).collect()
        });
        MaskQueue { masks: rows.collect() }
    }
}

/// Share of the channels in which two masks differ (normalised Hamming distance).
pub(crate) fn distance(a: &Mask, b: &Mask) -> f64 {
    let different = a.iter().zip(b).filter(|(a, b)| a != b).count();
    different as f64 / a.len().max(1) as f64
}

/// The mask of `supernet` as it is: in each elastic block the channels whose importance is above that of the
/// `pruned`-quantile (strictly, so that ties are pruned).
pub(crate) fn mask(supernet: &Supernet, pruned: f64) -> Mask {
    let importances = supernet.channel_importance();
    importances.iter().flat_map(|importance| kept(importance, pruned)).collect()
}

fn kept(importance: &[f32], pruned: f64) -> Vec<bool> {
    let mut sorted = importance.to_vec();
    sorted.sort_by(f32::total_cmp);
    // The published rule: the threshold is the value at index ⌊channels × share⌋ and is pruned itself.
    let threshold = sorted[((sorted.len() as f64 * pruned) as usize).min(sorted.len() - 1)];
    importance.iter().map(|value| *value > threshold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_comes_when_the_masks_have_settled() {
        // Channel importances that swap two channels a step until step 6, then stand still.
        let mut queue = MaskQueue::default();
        let mask = |step: usize| (0..20).map(|channel| (channel + 2 * step.min(6)) % 20 < 10).collect::<Mask>();
        let found: Vec<Option<f64>> = (0..12).map(|step| queue.push(mask(step), 5)).collect();
        assert_eq!(found[..4], [None; 4], "the queue is not full before the fifth mask");
        assert!(found[4].unwrap() > 0.1 && found[9].unwrap() > 0.1);
        // The masks of steps 6 to 10 are equal.
        assert_eq!(found[10], Some(0.0));
        assert_eq!(queue, MaskQueue::from_tensor(&queue.to_tensor().unwrap()));
    }

    #[test]
    fn distances_are_symmetric_and_zero_at_home() {
        let (a, b) = (vec![true, true, false, false], vec![true, false, false, false]);
        assert_eq!((distance(&a, &b), distance(&b, &a), distance(&a, &a)), (0.25, 0.25, 0.0));
    }

    #[test]
    fn ties_with_the_threshold_are_pruned() {
        assert_eq!(kept(&[3.0, 1.0, 2.0, 4.0], 0.5), [false, false, false, true]);
        assert_eq!(kept(&[1.0, 1.0, 1.0, 1.0], 0.5), [false; 4]);
    }
}
