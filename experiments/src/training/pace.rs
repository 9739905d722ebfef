//! How fast a training is, and what it still takes as far as that tells.

use supernet::train::Step;

use crate::torch::Left;

/// Steps that the speed of a phase is taken from: the last ones.
const WINDOW: f64 = 100.0;

/// A phase, as far as its duration is concerned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stretch {
    /// The most that it takes.
    pub(crate) epochs: u64,
    /// What one of its steps computes, in a unit that all phases share.
    pub(crate) work: f64,
}

/// The speed of a run since it was started.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    stretches: Vec<Stretch>,
    steps_per_epoch: u64,
    measure_every: u64,
    phase: usize,
    /// Steps of the phase that are done, those of earlier starts among them.
    done: u64,
    /// Seconds of a step of this phase, and how many of them tell so.
    step: Mean,
    /// Seconds of the last measurement on held-out images; 0 before the first.
    measurement: f64,
    /// Images and seconds of the epoch's steps so far.
    epoch: (usize, f64),
    learning_rate: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    value: f64,
    count: f64,
}

impl Pace {
    /// A run of these phases that measures every so many epochs, and at the end of each phase.
    pub(crate) fn new(stretches: Vec<Stretch>, steps_per_epoch: u64, measure_every: u64) -> Pace {
        let (phase, done, epoch) = (0, 0, (0, 0.0));
        let (step, measurement, learning_rate) = (Mean::default(), 0.0, 0.0);
        Pace { stretches, steps_per_epoch, measure_every, phase, done, step, measurement, epoch, learning_rate }
    }

    /// A step was done.
    pub(crate) fn step(&mut self, step: &Step) {
        if step.position.phase != self.phase {
            (self.phase, self.step) = (step.position.phase, Mean::default());
        }
        self.done = step.position.step + 1;
        self.step.count = (self.step.count + 1.0).min(WINDOW);
        self.step.value += (step.seconds - self.step.value) / self.step.count;
        self.epoch.0 += step.images;
        self.epoch.1 += step.seconds;
        self.learning_rate = step.rate;
    }

    /// A measurement took so many seconds.
    pub(crate) fn measured(&mut self, seconds: f64) {
        self.measurement = seconds;
    }

    /// An epoch is over: images per second of its steps since the run was started, and the learning rate of the last.
    pub(crate) fn end_epoch(&mut self) -> (f64, f64) {
        let (images, seconds) = std::mem::take(&mut self.epoch);
        (images as f64 / seconds.max(1e-9), self.learning_rate)
    }

    /// Numbers left the finite ones: what the epoch did does not count.
    pub(crate) fn rolled_back(&mut self) {
        self.epoch = (0, 0.0);
    }

    /// What is left: of this phase by the speed of its steps, of those after it by what a step of them computes beside one
    /// of this phase. Phases that end on a signal may end before.
    pub(crate) fn left(&self) -> Left {
        let Some(now) = self.stretches.get(self.phase) else { return Left { phase: 0.0, run: 0.0 } };
        let steps = (now.epochs * self.steps_per_epoch).saturating_sub(self.done);
        let phase = steps as f64 * self.step.value + self.measuring(now, self.done / self.steps_per_epoch.max(1));
        let later = self.stretches.iter().skip(self.phase + 1).map(|stretch| {
            let steps = (stretch.epochs * self.steps_per_epoch) as f64;
            let slower = if now.work > 0.0 { stretch.work / now.work } else { 1.0 };
            steps * self.step.value * slower + self.measuring(stretch, 0)
        });
        Left { phase, run: phase + later.sum::<f64>() }
    }

    /// Seconds of the measurements of a phase of which so many epochs are done.
    fn measuring(&self, stretch: &Stretch, done: u64) -> f64 {
        let ahead = measurements(stretch.epochs, self.measure_every).saturating_sub(done / self.measure_every);
        if done < stretch.epochs { ahead as f64 * self.measurement } else { 0.0 }
    }
}

/// Measurements in a phase of so many epochs: one every so many, and one at its end.
pub(crate) fn measurements(epochs: u64, every: u64) -> u64 {
    epochs.div_ceil(every)
}

#[cfg(test)]
mod tests {
    use supernet::train::Position;

    use super::*;

    fn step(phase: usize, step: u64, seconds: f64) -> Step {
        let position = Position { phase, step, global_step: step };
        Step { position, phase_steps: 0, loss: 1.0, rate: 0.1, resolution: 32, images: 20, seconds }
    }

    /// Two phases of 4 and 3 epochs of 10 steps, the second's steps thrice as much work; measured every second epoch.
    fn pace() -> Pace {
        let stretch = |epochs, work| Stretch { epochs, work };
        Pace::new(vec![stretch(4, 5.0), stretch(3, 15.0)], 10, 2)
    }

    #[test]
    fn what_is_left_follows_the_steps_that_were_done() {
        let mut pace = pace();
        (0..10).for_each(|at| pace.step(&step(0, at, 2.0)));
        // 30 steps of 2 s, then 30 of 6 s.
        assert_eq!(pace.left(), Left { phase: 60.0, run: 240.0 });
        assert_eq!(pace.end_epoch(), (10.0, 0.1));
        (10..20).for_each(|at| pace.step(&step(0, at, 2.0)));
        pace.measured(7.0);
        // One more measurement in this phase, two in the next.
        assert_eq!(pace.left(), Left { phase: 47.0, run: 47.0 + 180.0 + 14.0 });
        (20..40).for_each(|at| pace.step(&step(0, at, 2.0)));
        assert_eq!(pace.left().phase, 0.0);
        // The new phase is measured anew, whatever was expected of it.
        (0..15).for_each(|at| pace.step(&step(1, at, 4.0)));
        assert_eq!(pace.left(), Left { phase: 60.0 + 14.0, run: 60.0 + 14.0 });
    }

    #[test]
    fn a_run_that_goes_on_counts_only_its_own_seconds() {
        let mut pace = pace();
        // Resumed at the 36th step of the first phase.
        (35..40).for_each(|at| pace.step(&step(0, at, 1.0)));
        assert_eq!(pace.end_epoch(), (20.0, 0.1));
        assert_eq!(pace.left(), Left { phase: 0.0, run: 90.0 });
        pace.step(&step(1, 0, 1.0));
        pace.rolled_back();
        pace.step(&step(1, 0, 2.0));
        assert_eq!(pace.end_epoch().0, 10.0);
    }

    #[test]
    fn measurements_are_every_so_often_and_at_the_end() {
        let counts =
            [(0, 1), (1, 1), (4, 2), (5, 2), (5, 9), (6, 4)].map(|(epochs, every)| measurements(epochs, every));
        assert_eq!(counts, [0, 1, 2, 3, 1, 2]);
    }
}
