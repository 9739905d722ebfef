//! What is shown of work in stages: a line when a stage begins again and one when it ends, a bar meanwhile.

use std::time::{Duration, Instant};

use experiments::stages::record::{Record, State};
use experiments::stages::watcher::Watcher;
use indicatif::ProgressBar;

use crate::output::{Output, duration};

/// How often a stage that takes long says how far it is where there is no terminal.
const EVERY: Duration = Duration::from_secs(60);

/// Shows stages.
pub(crate) struct StageProgress<'o> {
    output: &'o Output,
    bar: Option<ProgressBar>,
    /// What runs, as it is told.
    running: Option<String>,
    said_at: Instant,
}

impl<'o> StageProgress<'o> {
    pub(crate) fn new(output: &'o Output) -> Self {
        StageProgress { output, bar: None, running: None, said_at: Instant::now() }
    }

    /// The stage `name` begins, or turns out to be there.
    pub(crate) fn start(&mut self, name: String, state: &State) {
        self.said_at = Instant::now();
        match state {
            State::Again(why) => self.output.say(format!("{name}  again: {}", why.join(", "))),
            State::Begun => self.output.say(format!("{name}  goes on")),
            State::New | State::Found(_) => {}
        }
        self.running = None;
        if !matches!(state, State::Found(_)) {
            let bar = self.output.progress(0, "{prefix}  {bar:30} {pos}/{len}, {eta} left");
            bar.set_prefix(name.clone());
            self.bar = Some(bar);
            self.running = Some(name);
        }
    }

    /// It ended.
    pub(crate) fn finish(&mut self, name: &str, record: &Record) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let took = duration(record.seconds);
        let how = if self.running.take().is_some() { took } else { format!("found, {took}") };
        self.output.say(format!("{name}  {how:13}  {}", record.said));
    }

    /// Says a line above the bar.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.say(line)),
            None => self.output.say(line),
        }
    }
}

impl Watcher for StageProgress<'_> {
    fn step(&mut self, done: u64, all: u64) {
        if let Some(bar) = &self.bar {
            if bar.length() != Some(all) {
                bar.set_length(all);
                // What was there before took no time now.
                bar.set_position(done);
                bar.reset_eta();
            }
            bar.set_position(done);
        }
        let is_due = !self.output.shows_progress() && self.said_at.elapsed() >= EVERY;
        if let Some(name) = self.running.as_ref().filter(|_| is_due) {
            self.said_at = Instant::now();
            self.output.say(format!("{name}  {done} of {all}"));
        }
    }

    fn tell(&mut self, line: &str) {
        // The course of a training is in its folder; what may be wrong is said here.
        let is_course = !line.starts_with("warning: ") && !line.starts_with("note: ");
        if !is_course || self.output.is_verbose() {
            self.say(line);
        }
    }
}
