//! How a training run is shown: a bar with images/s and the time left in the phase and in all on a terminal, a row per
//! epoch everywhere.

use experiments::torch::{Progress, StepReport};
use indicatif::ProgressBar;

use crate::output::{Output, duration};

/// Weight of a new step in the smoothed images per second.
const SMOOTHING: f64 = 0.05;

/// Progress of `ofa train`.
pub(crate) struct TrainProgress<'o> {
    output: &'o Output,
    bar: Option<ProgressBar>,
    phases: Vec<(String, u64)>,
    images_per_second: Option<f64>,
}

impl<'o> TrainProgress<'o> {
    pub(crate) fn new(output: &'o Output) -> Self {
        Self { output, bar: None, phases: Vec::new(), images_per_second: None }
    }
}

impl Progress for TrainProgress<'_> {
    fn begin(&mut self, phases: &[(String, u64)], global_step: u64) {
        let all = phases.iter().map(|(_, steps)| steps).sum();
        if global_step > 0 {
            self.output.say(format!("going on at step {} of {all}", global_step));
        }
        let template = "{prefix} {bar:30} {pos}/{len} steps, {msg}";
        let bar = self.output.progress(all, template).with_position(global_step);
        self.phases = phases.to_vec();
        self.bar = Some(bar);
    }

    fn step(&mut self, step: &StepReport) {
        let Some(bar) = &self.bar else { return };
        let now = step.images as f64 / step.seconds.max(1e-9);
        let smooth = self.images_per_second.map_or(now, |before| before + SMOOTHING * (now - before));
        self.images_per_second = Some(smooth);
        let phase = self.phases.get(step.phase).map_or("", |(name, _)| name);
        bar.set_prefix(format!("{phase} {}/{}", step.step + 1, step.phase_steps));
        let left = step.left.map_or(String::new(), |left| {
            format!(", {} left in the phase, {} in all", duration(left.phase), duration(left.run))
        });
        bar.set_message(format!("loss {:.3}, {smooth:.0} images/s{left}", step.loss));
        bar.set_position(step.global_step + 1);
    }

    fn epoch(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.say(line)),
            None => self.output.say(line),
        }
    }

    fn note(&mut self, note: &str) {
        self.output.say(format!("note: {note}"));
    }
}

impl Drop for TrainProgress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
