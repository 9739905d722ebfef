//! Which subnets take part in a step: a pure function of its place in the run.

use rand::{Rng, RngExt};
use search::arch::{ArchSpec, BlockSpec, StageSpec};
use search::space::SearchSpace;

use super::phase::{RandomSubnets, Sampling, ShrinkingPhase};
use super::plan::TrainPlan;
use crate::random::{Purpose, generator};

/// The subnets of one step, all at one resolution.
pub(crate) struct StepSubnets {
    pub(crate) largest: Option<ArchSpec>,
    pub(crate) smallest: Option<ArchSpec>,
    /// The candidates for each random subnet; one each, unless sampling is attentive.
    pub(crate) random: Vec<Vec<ArchSpec>>,
    pub(crate) resolution: u32,
}

impl TrainPlan {
    /// The resolution and the subnets of step `step` of phase `phase`.
    pub(crate) fn subnets(&self, space: &SearchSpace, phase: usize, step: u64) -> StepSubnets {
        let mut rng = generator(self.settings().seed, Purpose::Subnets, phase as u64, step);
        let ShrinkingPhase { choices, subnets, .. } = &self.phases()[phase];
        let resolutions = if choices.resolutions.is_empty() { space.resolutions() } else { &choices.resolutions };
        let resolution = resolutions[rng.random_range(0..resolutions.len())];
        let space = space.largest_choices(choices.kernels, choices.depths, choices.expands);
        let expected = "a resolution of the space";
        StepSubnets {
            largest: subnets.largest.then(|| space.largest(resolution).expect(expected)),
            smallest: subnets.smallest.then(|| space.smallest(resolution).expect(expected)),
            random: subnets.random.map_or_else(Vec::new, |random| draw(random, &space, resolution, &mut rng)),
            resolution,
        }
    }
}

/// The candidates for each random subnet.
fn draw(random: RandomSubnets, space: &SearchSpace, resolution: u32, rng: &mut impl Rng) -> Vec<Vec<ArchSpec>> {
    let candidates = random.attentive.map_or(1, |attentive| attentive.candidates);
    let mut one = || match random.sampling {
        Sampling::Uniform => uniform_choices(space, resolution, rng),
        Sampling::Compound => compound_choices(space, resolution, rng),
    };
    (0..random.count.get()).map(|_| (0..candidates).map(|_| one()).collect()).collect()
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

/// One level for depth and expand ratio of each stage, kernel sizes by themselves. A stage that offers different numbers
/// of both takes of each the choice nearest to the level.
fn compound_choices(space: &SearchSpace, resolution: u32, rng: &mut impl Rng) -> ArchSpec {
    let stages = space.stages().iter().map(|stage| {
        let levels = stage.depths.len().max(stage.expands.len());
        let level = rng.random_range(0..levels);
        let at = |choices: &[u32]| {
            let last = (choices.len() - 1) as f64;
            choices[(level as f64 / (levels - 1).max(1) as f64 * last).round() as usize]
        };
        let (depth, expand) = (at(&stage.depths), at(&stage.expands));
        let mut kernel = || stage.kernels[rng.random_range(0..stage.kernels.len())];
        StageSpec { blocks: (0..depth).map(|_| BlockSpec { kernel: kernel(), expand }).collect() }
    });
    let stages = stages.collect();
    space.arch(resolution, stages).expect("choices of the space")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::phase::{Attentive, Choices, Keep, Subnets};
    use super::super::plan::tests::{full, plan, random, shrink};
    use super::*;

    /// A sandwich with these random subnets, at one resolution.
    fn sandwich(random: RandomSubnets) -> TrainPlan {
        let shrink = shrink(5);
        let choices = Choices { resolutions: vec![24], ..shrink.choices };
        let subnets = Subnets { random: Some(random), ..shrink.subnets };
        plan(vec![ShrinkingPhase { learning_rate: full(5).learning_rate, choices, subnets, ..shrink }])
    }

    #[test]
    fn a_step_draws_the_same_subnets_whenever_it_is_asked() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let attentive = Some(Attentive { candidates: 3, keep: Keep::Best });
        let plan = sandwich(RandomSubnets { attentive, ..random(2) });
        let step = plan.subnets(&space, 0, 7);
        assert_eq!(step.resolution, 24);
        assert_eq!(step.random.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
        assert_eq!(step.random, plan.subnets(&space, 0, 7).random);
        assert_ne!(step.random, plan.subnets(&space, 0, 8).random);
        assert_eq!(step.largest, space.largest(24).ok());
        assert_eq!(step.smallest, space.smallest(24).ok());
    }

    #[test]
    fn compound_subnets_are_deep_where_they_are_wide() {
        let space = SearchSpace::builtin("fbnet-cifar").unwrap();
        let plan = sandwich(RandomSubnets { sampling: Sampling::Compound, ..random(1) });
        let mut seen = HashSet::new();
        for step in 0..300 {
            let arch = &plan.subnets(&space, 0, step).random[0][0];
            for (stage, choices) in arch.stages().iter().zip(space.stages()) {
                let expand = stage.blocks[0].expand;
                assert!(stage.blocks.iter().all(|block| block.expand == expand));
                if choices.depths.len() == 4 {
                    seen.insert((stage.blocks.len(), expand));
                }
            }
        }
        // Four depths beside three ratios: the two middle depths share the nearest ratio.
        assert_eq!(seen, HashSet::from([(1, 1), (2, 3), (3, 3), (4, 6)]));
    }
}
