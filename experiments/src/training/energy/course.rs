//! How long a run is, as far as it has come: a phase may end before its last epoch.

use supernet::train::{Choices, Position, ShrinkingPhase, TrainPlan};

/// A phase as far as energy is concerned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Phase {
    pub(super) name: String,
    /// The most that it takes.
    pub(super) epochs: u64,
    /// Whether it trains the largest network alone, as if there were no others.
    pub(super) is_full_network: bool,
}

/// The phases of a run, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Course {
    phases: Vec<Phase>,
    steps_per_epoch: u64,
    position: Position,
}

impl Course {
    /// A run of `plan` whose next step is that at `position`.
    pub(crate) fn new(plan: &TrainPlan, steps_per_epoch: u64, position: Position) -> Course {
        let phases = plan.phases().iter().map(|phase| Phase {
            name: phase.name.clone(),
            epochs: phase.epochs,
            is_full_network: is_full_network(phase),
        });
        Course::of(phases.collect(), steps_per_epoch, position)
    }

    /// A run of phases of these names and epochs, none of them of a supernet.
    pub(crate) fn named(phases: &[(&str, u64)], steps_per_epoch: u64, position: Position) -> Course {
        let phase = |&(name, epochs): &(&str, u64)| Phase { name: name.to_owned(), epochs, is_full_network: false };
        Course::of(phases.iter().map(phase).collect(), steps_per_epoch, position)
    }

    pub(super) fn of(phases: Vec<Phase>, steps_per_epoch: u64, position: Position) -> Course {
        Course { phases, steps_per_epoch, position }
    }

    pub(super) fn phases(&self) -> &[Phase] {
        &self.phases
    }

    pub(super) fn reach(&mut self, position: Position) {
        self.position = position;
    }

    /// Steps of the whole run: of phases that are over those which were done, of all others the most they take.
    pub(super) fn steps(&self) -> u64 {
        let Position { phase, step, global_step } = self.position;
        let ahead: u64 = self.phases.iter().skip(phase).map(|phase| phase.epochs * self.steps_per_epoch).sum();
        global_step - step + ahead
    }

    /// Epochs of the whole run, counted likewise. Phases end with an epoch, so that it is a whole number.
    pub(super) fn epochs(&self) -> u64 {
        self.steps() / self.steps_per_epoch
    }
}

fn is_full_network(phase: &ShrinkingPhase) -> bool {
    let Choices { kernels, depths, expands, .. } = phase.choices;
    (kernels, depths, expands) == (1, 1, 1) && phase.subnets.count() == 1 && phase.distillation.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_that_ended_early_counts_by_what_it_did() {
        let phase = |epochs| Phase { name: String::new(), epochs, is_full_network: false };
        let course = |phase_now, step, global_step| {
            Course::of(vec![phase(9), phase(2)], 10, Position { phase: phase_now, step, global_step })
        };
        // Nobody knows yet that the first phase will end after two epochs.
        assert_eq!((course(0, 0, 0).steps(), course(0, 20, 20).epochs()), (110, 11));
        assert_eq!((course(1, 0, 20).steps(), course(1, 5, 25).epochs()), (40, 4));
        assert_eq!((course(2, 0, 40).steps(), course(2, 0, 40).epochs()), (40, 4));
    }
}
