//! What a training run does: its phases and constants.

use rand::{Rng, RngExt};
use search::arch::{ArchSpec, BlockSpec, StageSpec};
use search::space::SearchSpace;

use crate::data::Augmentation;
use crate::optim::SgdSettings;
use crate::random::{Purpose, generator};

/// Whose probabilities subnets learn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Teacher {
    /// The largest network as it was at the end of the first phase (Cai et al. 2020, §3.2).
    #[default]
    FirstPhase,
    /// The largest subnet of the same step, which itself learns from the labels alone (in-place distillation, Yu & Huang
    /// 2019, §4.2): it costs no forward pass of its own, and gets better while it teaches.
    Largest,
}

/// One phase of progressive shrinking.
#[derive(Clone, Debug, PartialEq)]
pub struct ShrinkingPhase {
    /// Name in logs.
    pub name: String,
    /// Passes over the training images.
    pub epochs: u64,
    /// Peak learning rate; cosine to zero over the phase.
    pub learning_rate: f64,
    /// Epochs of linear warm-up from zero, part of `epochs`.
    pub warm_up_epochs: f64,
    /// How many of the largest kernel sizes take part.
    pub kernels: usize,
    /// How many of the largest depths take part.
    pub depths: usize,
    /// How many of the largest expand ratios take part.
    pub expands: usize,
    /// Subnets drawn at random per step.
    pub random_subnets: u64,
    /// Whether the largest subnet joins every step.
    pub with_largest: bool,
    /// Whether the smallest subnet of the phase joins every step.
    pub with_smallest: bool,
    /// Weight of distillation from the teacher; 0 = none, and then no teacher is needed.
    pub distillation: f64,
    /// Who teaches.
    pub teacher: Teacher,
    /// Weight of the cross-entropy with the labels.
    pub label_loss: f64,
    /// Sort channels by importance first; the number is how many expand ratios earlier phases trained.
    pub sort_channels: Option<usize>,
}

/// A whole training run.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainPlan {
    /// Seed of weights, order of images, augmentation, resolutions and subnets.
    pub seed: u64,
    /// Images per step.
    pub batch_size: usize,
    /// Optimiser.
    pub sgd: SgdSettings,
    /// ε of label smoothing.
    pub label_smoothing: f64,
    /// What happens to training images.
    pub augmentation: Augmentation,
    /// Batches of training images used for calibration, and images per batch.
    pub calibration: (usize, usize),
    /// Phases in order; the teacher is the largest network at the end of the first.
    pub phases: Vec<ShrinkingPhase>,
}

impl TrainPlan {
    /// The resolution and the subnets of one step: a pure function of its place in the run.
    pub(crate) fn subnets(&self, space: &SearchSpace, phase: usize, step: u64) -> Vec<ArchSpec> {
        let plan = &self.phases[phase];
        let mut rng = generator(self.seed, Purpose::Subnets, phase as u64, step);
        let resolutions = space.resolutions();
        let resolution = resolutions[rng.random_range(0..resolutions.len())];
        let space = space.largest_choices(plan.kernels, plan.depths, plan.expands);
        let mut subnets = Vec::new();
        let expected = "a resolution of the space";
        subnets.extend(plan.with_largest.then(|| space.largest(resolution).expect(expected)));
        subnets.extend(plan.with_smallest.then(|| space.smallest(resolution).expect(expected)));
        subnets.extend((0..plan.random_subnets).map(|_| uniform_choices(&space, resolution, &mut rng)));
        subnets
    }
}

/// Every depth, kernel size and expand ratio drawn uniformly by itself, as the published training does (§1.4); shallow
/// networks come up more often than their share of the space.
fn uniform_choices(space: &SearchSpace, resolution: u32, rng: &mut impl Rng) -> ArchSpec {
    let mut pick = |choices: &[u32]| choices[rng.random_range(0..choices.len())];
    let stages = space.stages().iter().map(|stage| {
        let depth = pick(&stage.depths);
        let block = |_| BlockSpec { kernel: pick(&stage.kernels), expand: pick(&stage.expands) };
        StageSpec { blocks: (0..depth).map(block).collect() }
    });
    let stages = stages.collect();
    space.arch(resolution, stages).expect("choices of the space")
}

/// Learning rate of step `step` of `steps`: linear warm-up over the first `warm_up` steps, then half a cosine to zero.
pub fn cosine_rate(peak: f64, step: u64, steps: u64, warm_up: u64) -> f64 {
    if step < warm_up {
        return peak * (step + 1) as f64 / warm_up as f64;
    }
    let progress = (step - warm_up) as f64 / (steps - warm_up).max(1) as f64;
    peak * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::cosine_rate;

    #[test]
    fn the_rate_climbs_then_falls_to_zero() {
        let rates: Vec<f64> = (0..100).map(|step| cosine_rate(0.4, step, 100, 10)).collect();
        assert!((rates[0] - 0.04).abs() < 1e-12 && (rates[9] - 0.4).abs() < 1e-12 && (rates[10] - 0.4).abs() < 1e-12);
        assert!(rates[10..].windows(2).all(|pair| pair[1] < pair[0]) && rates[99] < 0.001);
        assert!((rates[55] - 0.2).abs() < 1e-12, "half way down in the middle");
    }
}
