//! The energy of one run while it runs: counted by a thread of its own, kept in the run folder.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use storage::atomic::write_atomically;
use supernet::train::{Epoch, Position};
use tch::Device;

use crate::folders::names;
use crate::training::energy::course::Course;
use crate::training::energy::meter::{Clock, Moment, Part};
use crate::training::energy::report::{EnergyReport, EnergySums};
use crate::training::energy::settings::EnergySettings;

use crate::error::Result;

/// How often counters are read, and the sum is written.
const READ_EVERY: Duration = Duration::from_secs(1);
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Counting, from the moment it is made.
pub(crate) struct Meter {
    clock: Clock,
    parts: Vec<Part>,
    settings: EnergySettings,
}

impl Meter {
    /// Begins to count what `device` and the processor use.
    pub(crate) fn start(device: Device, settings: &EnergySettings) -> Meter {
        Meter::of_processes(device, settings, 1)
    }

    /// The same for `processes` that do as much as this one.
    pub(crate) fn of_processes(device: Device, settings: &EnergySettings, processes: usize) -> Meter {
        let parts = Part::all_of(device, settings, processes);
        Meter { clock: Clock::start(), parts, settings: settings.clone() }
    }
}

impl Meter {
    /// What a run of `seconds` spends that goes on like what was counted so far.
    pub(crate) fn stretched(mut self, seconds: f64, course: &Course) -> EnergyReport {
        let now = self.clock.now();
        let mut sums = EnergySums::new(true);
        let at = sums.activity("estimate", None);
        for part in &mut self.parts {
            if let Some((source, joules)) = part.spent(now, true) {
                sums.add(at, source, joules * seconds / now.wall);
            }
        }
        (sums.seconds, sums.activities[at].seconds) = (seconds, seconds);
        EnergyReport::new(&sums, course, &self.settings)
    }
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// Reading images, loading a checkpoint.
    Preparation,
    /// Training in this phase.
    Phase(usize),
    /// Accuracy on held-out images, after an epoch.
    Evaluation,
    /// The result, and accuracy on the test set.
    Report,
}

/// The energy of one run, kept in its folder.
pub(crate) struct TrainingEnergy {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

struct Shared {
    ledger: Mutex<Ledger>,
    /// Set when the worker is to end.
    is_over: Mutex<bool>,
    wake: Condvar,
    /// Held while the file is written, so that the newer sum stays.
    file: Mutex<PathBuf>,
}

struct Ledger {
    meter: Meter,
    course: Course,
    sums: EnergySums,
    activity: Activity,
    /// When seconds were last added.
    since: Moment,
}

impl TrainingEnergy {
    /// Adds what `meter` counts to what earlier starts of the run in `folder` spent. `was_begun`: whether there were any.
    ///
    /// # Errors
    /// The file of an earlier start is damaged, or cannot be written.
    pub(crate) fn keep(meter: Meter, folder: &Path, was_begun: bool, course: Course) -> Result<Self> {
        let path = folder.join(names::ENERGY);
        let before = if was_begun { EnergySums::read(&path)? } else { None };
        // A run that was begun without a sum has spent what nobody knows.
        let mut sums = before.unwrap_or_else(|| EnergySums::new(!was_begun));
        sums.starts += 1;
        let mut ledger = Ledger { course, sums, activity: Activity::Preparation, since: Moment::default(), meter };
        ledger.count(false);
        let shared = Arc::new(Shared {
            ledger: Mutex::new(ledger),
            is_over: Mutex::new(false),
            wake: Condvar::new(),
            file: Mutex::new(path),
        });
        shared.write()?;
        let work = Arc::clone(&shared);
        let worker = std::thread::Builder::new().name("energy-meter".into()).spawn(move || work.watch())?;
        Ok(Self { shared, worker: Some(worker) })
    }

    /// The step at `position` was done.
    pub(crate) fn step(&self, position: Position) {
        let mut ledger = self.shared.ledger();
        ledger.course.reach(position);
        ledger.enter(Activity::Phase(position.phase));
        ledger.add_step();
    }

    /// From now on accuracy is measured between two epochs.
    pub(crate) fn begin_evaluation(&self) {
        self.shared.ledger().enter(Activity::Evaluation);
    }

    /// The accuracy after `epoch` was measured. Gives the joules so far, and how they are known.
    ///
    /// # Errors
    /// The sum cannot be written.
    pub(crate) fn end_evaluation(&self, epoch: &Epoch) -> io::Result<(f64, String)> {
        self.begin_phase(epoch.phase + usize::from(epoch.is_last))
    }

    /// What follows belongs to this phase, counted from 0. Gives the joules so far, and how they are known.
    ///
    /// # Errors
    /// The sum cannot be written.
    pub(crate) fn begin_phase(&self, phase: usize) -> io::Result<(f64, String)> {
        let so_far = {
            let mut ledger = self.shared.ledger();
            ledger.enter(Activity::Phase(phase));
            (ledger.sums.joules(), ledger.sums.method())
        };
        self.shared.write()?;
        Ok(so_far)
    }

    /// Training is over; what follows is the bundle and the test set.
    pub(crate) fn begin_report(&self) {
        self.shared.ledger().enter(Activity::Report);
    }

    /// Writes the sum as it is; the next step is that at `position`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, position: Position) -> io::Result<()> {
        {
            let mut ledger = self.shared.ledger();
            ledger.course.reach(position);
            ledger.count(false);
        }
        self.shared.write()
    }

    /// Ends the count, writes the file into the folder `result` too, and says what it came to.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn finish(mut self, result: &Path) -> io::Result<EnergyReport> {
        self.end();
        self.shared.write()?;
        let report = self.shared.ledger().report();
        write_report(&result.join(names::ENERGY), &report)?;
        Ok(report)
    }

    /// Stops the worker and counts a last time.
    fn end(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        *lock(&self.shared.is_over) = true;
        self.shared.wake.notify_all();
        let _ = worker.join();
        self.shared.ledger().count(true);
    }
}

impl Drop for TrainingEnergy {
    /// A run that is stopped keeps its sum.
    fn drop(&mut self) {
        if self.worker.is_some() {
            self.end();
            let _ = self.shared.write();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Sums are whole between any two statements: a panic elsewhere does not spoil them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// Reads counters and writes the sum until it is over.
    fn watch(&self) {
        let mut unwritten = Duration::ZERO;
        let mut is_over = lock(&self.is_over);
        while !*is_over {
            is_over = self.wake.wait_timeout(is_over, READ_EVERY).unwrap_or_else(PoisonError::into_inner).0;
            self.ledger().count(false);
            unwritten += READ_EVERY;
            if unwritten >= WRITE_EVERY {
                unwritten = Duration::ZERO;
                // The trainer's own writes report what is wrong with the disk.
                let _ = self.write();
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        let path = lock(&self.file);
        let report = self.ledger().report();
        write_report(&path, &report)
    }
}

fn write_report(path: &Path, report: &EnergyReport) -> io::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    write_atomically(path, |file| writeln!(file, "{text}"))
}

impl Ledger {
    /// Adds what was spent since the last time to the activity of that time.
    fn count(&mut self, last: bool) {
        let now = self.meter.clock.now();
        let seconds = now.wall - self.since.wall;
        self.since = now;
        let (name, phase) = match self.activity {
            Activity::Preparation => ("preparation", None),
            Activity::Evaluation => ("evaluation", None),
            Activity::Report => ("report", None),
            Activity::Phase(index) => match self.course.phases().get(index) {
                Some(phase) => (phase.name.as_str(), Some(index)),
                // After the last one.
                None => ("report", None),
            },
        };
        let at = self.sums.activity(name, phase);
        self.sums.seconds += seconds;
        self.sums.activities[at].seconds += seconds;
        for part in &mut self.meter.parts {
            if let Some((source, joules)) = part.spent(now, last) {
                self.sums.add(at, source, joules);
            }
        }
    }

    fn enter(&mut self, activity: Activity) {
        if activity != self.activity {
            self.count(false);
            self.activity = activity;
        }
    }

    fn add_step(&mut self) {
        if let Activity::Phase(index) = self.activity
            && let Some(phase) = self.course.phases().get(index)
        {
            let at = self.sums.activity(&phase.name, Some(index));
            self.sums.activities[at].steps += 1;
        }
    }

    fn report(&self) -> EnergyReport {
        EnergyReport::new(&self.sums, &self.course, &self.meter.settings)
    }
}
