//! Who watches a stage.

use crate::torch::{Progress, StepReport};

/// Who watches a stage.
pub trait Watcher {
    /// So far it is.
    fn step(&mut self, done: u64, all: u64);
    /// What it tells meanwhile.
    fn tell(&mut self, line: &str);
}

/// Steps of a training for whoever watches the stage.
pub(crate) struct Steps<'p> {
    pub(crate) watcher: &'p mut dyn Watcher,
    pub(crate) all: u64,
}

impl Progress for Steps<'_> {
    fn begin(&mut self, phases: &[(String, u64)], global_step: u64) {
        self.all = phases.iter().map(|(_, steps)| steps).sum();
        self.watcher.step(global_step, self.all);
    }

    fn step(&mut self, step: &StepReport) {
        self.watcher.step(step.global_step + 1, self.all);
    }

    fn epoch(&mut self, line: &str) {
        self.watcher.tell(line);
    }

    fn note(&mut self, note: &str) {
        self.watcher.tell(&format!("note: {note}"));
    }
}
