//! How much a step of each phase computes: what tells how long a phase will take that has not begun.

use search::arch::ArchSpec;
use search::space::SearchSpace;

use super::phase::Teacher;
use super::plan::TrainPlan;
use super::sampling::StepSubnets;

/// Steps that are looked at; subnets differ from step to step.
const STEPS: u64 = 64;
/// A pass forwards and the one backwards, which computes twice as much, in passes forwards.
const LEARNING: f64 = 3.0;

impl TrainPlan {
    /// Multiply-accumulates of a step of phase `phase` for one image, on average over its first steps: of all subnets that
    /// learn, of candidates that are looked at, and of the first phase's network where it teaches.
    ///
    /// # Panics
    /// A plan that cannot be run in `space`.
    pub fn macs_per_image(&self, space: &SearchSpace, phase: usize) -> f64 {
        let of = |arch: &ArchSpec| space.lower(arch).macs().0 as f64;
        let is_taught = self.phases()[phase].teacher() == Some(Teacher::FirstPhase);
        let step = |step| {
            let StepSubnets { largest, smallest, random, resolution } = self.subnets(space, phase, step);
            let learners = largest.iter().chain(&smallest).chain(random.iter().map(|candidates| &candidates[0]));
            let looked_at = random.iter().filter(|candidates| candidates.len() > 1).flatten();
            let teacher = is_taught.then(|| space.largest(resolution).expect("a resolution of the space"));
            LEARNING * learners.map(of).sum::<f64>() + looked_at.map(of).sum::<f64>() + teacher.as_ref().map_or(0.0, of)
        };
        (0..STEPS).map(step).sum::<f64>() / STEPS as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::phase::{Choices, LearningRate, ShrinkingPhase, Subnets};
    use super::super::plan::tests::{full, plan, shrink};
    use super::*;

    #[test]
    fn a_step_computes_what_its_subnets_do() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let at = |phase: ShrinkingPhase| {
            let choices = Choices { resolutions: vec![32], ..phase.choices.clone() };
            let rate = LearningRate::Own { peak: 0.1, warm_up_epochs: 0.0 };
            ShrinkingPhase { choices, learning_rate: rate, ..phase }
        };
        let ends = Subnets { random: None, ..shrink(5).subnets };
        let plan = plan(vec![at(full(5)), at(shrink(5)), at(ShrinkingPhase { subnets: ends, ..shrink(5) })]);
        let macs = |arch: ArchSpec| space.lower(&arch).macs().0 as f64;
        let (largest, smallest) = (macs(space.largest(32).unwrap()), macs(space.smallest(32).unwrap()));
        assert_eq!(plan.macs_per_image(&space, 0), 3.0 * largest);
        assert_eq!(plan.macs_per_image(&space, 2), 3.0 * (largest + smallest));
        // Two random subnets are between the ends.
        let random = plan.macs_per_image(&space, 1) - plan.macs_per_image(&space, 2);
        assert!(random > 6.0 * smallest && random < 6.0 * largest, "{random}");
    }
}
