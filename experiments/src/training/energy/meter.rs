//! What draws power while a run trains, and how much of it: counted where there is a counter, else estimated.

use std::time::Instant;

use tch::Device;

use crate::instruments::counters::counter_of;
use crate::instruments::energy_counter::EnergyCounter;
use crate::instruments::nvml::Nvml;
use crate::training::energy::report::EnergySource;
use crate::training::energy::settings::EnergySettings;

/// For so many seconds a counter may stand still; then what passed is estimated. Some virtual machines show counters
/// that never move.
const PATIENCE: f64 = 5.0;
/// No part of one machine draws more. A jump beyond it is a counter that was set back, not one that went round.
const MOST_WATTS: f64 = 20_000.0;

/// A moment of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moment {
    /// Seconds since the meter was started.
    pub(super) wall: f64,
    /// Seconds that cores worked for this process, added up over its threads.
    pub(super) busy: f64,
}

/// Tells moments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    began: Instant,
    busy_before: f64,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { began: Instant::now(), busy_before: busy_seconds() }
    }

    pub(super) fn now(&self) -> Moment {
        Moment { wall: self.began.elapsed().as_secs_f64(), busy: busy_seconds() - self.busy_before }
    }
}

/// Processor time of this process, all threads.
#[cfg(unix)]
fn busy_seconds() -> f64 {
    // SAFETY: an all-zero `timespec` is a valid one, and the call writes nothing else.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time);
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    }
}

/// As if all threads that compute were always busy.
#[cfg(not(unix))]
fn busy_seconds() -> f64 {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_secs_f64() * supernet::device::threads() as f64
}

/// A power that is stated, not measured.
#[derive(Clone, Copy, Debug, PartialEq)]
enum StatedPower {
    /// Watts for each second that a core works for this process.
    BusyCore(f64),
    /// Watts for as long as the run runs.
    Board(f64),
}

/// Something that draws power.
pub(super) struct Part {
    counter: Option<Box<dyn EnergyCounter>>,
    counted: EnergySource,
    estimated: EnergySource,
    stated: StatedPower,
    /// The counter's last reading that was used.
    reading: Option<Vec<u64>>,
    since: Moment,
}

fn times(processes: usize) -> String {
    if processes > 1 { format!(" × {processes} processes") } else { String::new() }
}

impl Part {
    /// The processor, and the GPU if `device` is one; of `processes` that do the same, of which this one counts for all: a
    /// board's counter knows only its own.
    pub(super) fn all_of(device: Device, settings: &EnergySettings, processes: usize) -> Vec<Part> {
        let gpu = match device {
            Device::Cpu => None,
            Device::Cuda(index) => Some((Some(device), Nvml::power_limit(index))),
            _ => Some((None, None)),
        };
        let gpu = gpu.map(|(counted, limit)| {
            let counter = counted.filter(|_| processes == 1).and_then(counter_of);
            Part::gpu(counter, settings.gpu_watts.or(limit).unwrap_or(EnergySettings::GPU_WATTS), processes)
        });
        let processor = Part::processor(counter_of(Device::Cpu), settings.core_watts, processes);
        gpu.into_iter().chain([processor]).collect()
    }

    fn gpu(counter: Option<Box<dyn EnergyCounter>>, watts: f64, processes: usize) -> Part {
        let counted = ("NVML".to_owned(), "the GPU's board, whoever uses it");
        let estimated = (format!("GPU × {watts} W{}", times(processes)), "the GPU's board, at a stated power");
        Part::new(counter, counted, estimated, StatedPower::Board(watts * processes as f64))
    }

    fn processor(counter: Option<Box<dyn EnergyCounter>>, watts: f64, processes: usize) -> Part {
        let counted = ("RAPL package".to_owned(), "all processor packages, idle cores and other programs included");
        let estimated = (
            format!("busy cores × {watts} W{}", times(processes)),
            "processor cores while they work for the run, at a stated power",
        );
        Part::new(counter, counted, estimated, StatedPower::BusyCore(watts * processes as f64))
    }

    fn new(
        counter: Option<Box<dyn EnergyCounter>>,
        counted: (String, &str),
        estimated: (String, &str),
        stated: StatedPower,
    ) -> Part {
        let source = |(by, scope): (String, &str), is_measured| EnergySource { by, is_measured, scope: scope.into() };
        Part {
            reading: counter.as_ref().and_then(|counter| counter.read()),
            counter,
            counted: source(counted, true),
            estimated: source(estimated, false),
            stated,
            since: Moment::default(),
        }
    }

    /// Joules since the last answer, and whence. `None` while the counter has not moved yet, unless this is the `last`
    /// question.
    pub(super) fn spent(&mut self, now: Moment, last: bool) -> Option<(&EnergySource, f64)> {
        let seconds = now.wall - self.since.wall;
        let reading = self.counter.as_ref().and_then(|counter| counter.read());
        let counted = match (&self.counter, &self.reading, &reading) {
            (Some(counter), Some(before), Some(after)) => Some(counter.joules(before, after)),
            _ => None,
        };
        let counted = counted.filter(|joules| *joules > 0.0 && *joules <= MOST_WATTS * (seconds + 1.0));
        if counted.is_none() && self.counter.is_some() && seconds < PATIENCE && !last {
            return None;
        }
        let before = std::mem::replace(&mut self.since, now);
        self.reading = reading;
        Some(match counted {
            Some(joules) => (&self.counted, joules),
            None => (&self.estimated, self.stated.joules(before, now)),
        })
    }
}

impl StatedPower {
    fn joules(self, before: Moment, now: Moment) -> f64 {
        match self {
            StatedPower::BusyCore(watts) => watts * (now.busy - before.busy).max(0.0),
            StatedPower::Board(watts) => watts * (now.wall - before.wall).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use hw_targets::cost::Scope;

    use super::*;

    /// Stands where it is put; `None` = it cannot be read.
    struct Dial(Arc<Mutex<Option<u64>>>);

    impl EnergyCounter for Dial {
        fn read(&self) -> Option<Vec<u64>> {
            self.0.lock().unwrap().map(|joules| vec![joules])
        }

        fn joules(&self, before: &[u64], after: &[u64]) -> f64 {
            after[0].checked_sub(before[0]).unwrap_or(1_000_000_000) as f64
        }

        fn window(&self) -> Duration {
            Duration::from_millis(1)
        }

        fn scope(&self) -> Scope {
            Scope::Chip
        }
    }

    fn at(wall: f64) -> Moment {
        Moment { wall, busy: 2.0 * wall }
    }

    #[test]
    fn a_counter_is_believed_while_it_moves_and_nothing_is_lost_in_between() {
        let dial = Arc::new(Mutex::new(Some(100)));
        let mut part = Part::processor(Some(Box::new(Dial(dial.clone()))), 10.0, 1);
        let mut spent = |wall, stands, last| {
            *dial.lock().unwrap() = stands;
            part.spent(at(wall), last).map(|(source, joules)| (source.is_measured, joules))
        };
        assert_eq!(spent(1.0, Some(130), false), Some((true, 30.0)));
        // Not moved yet: asked again later, and then counted since then.
        assert_eq!(spent(1.1, Some(130), false), None);
        assert_eq!(spent(2.0, Some(150), false), Some((true, 20.0)));
        // Stands still for good: two cores × 10 W × 6 s.
        assert_eq!(spent(8.0, Some(150), false), Some((false, 120.0)));
        assert_eq!(spent(8.5, Some(150), true), Some((false, 10.0)));
        // Set back: no jump of a thousand megajoules. What is read next counts from there.
        assert_eq!(spent(9.5, Some(3), true), Some((false, 20.0)));
        assert_eq!(spent(10.5, Some(8), false), Some((true, 5.0)));
        // Not to be read any more.
        assert_eq!(spent(20.5, None, false), Some((false, 200.0)));
        assert_eq!(spent(30.5, Some(900), false), Some((false, 200.0)));
        assert_eq!(spent(31.5, Some(910), false), Some((true, 10.0)));
    }

    #[test]
    fn without_counters_stated_powers_count_and_say_so() {
        let mut processor = Part::processor(None, 10.0, 2);
        let (source, joules) = processor.spent(at(3.0), false).unwrap();
        assert_eq!((source.by.as_str(), source.is_measured, joules), ("busy cores × 10 W × 2 processes", false, 120.0));
        let mut gpu = Part::gpu(None, 250.0, 1);
        let (source, joules) = gpu.spent(at(3.0), false).unwrap();
        assert_eq!((source.by.as_str(), source.is_measured, joules), ("GPU × 250 W", false, 750.0));
        let settings = EnergySettings { gpu_watts: Some(123.0), ..EnergySettings::default() };
        let parts = Part::all_of(Device::Mps, &settings, 1);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].estimated.by, "GPU × 123 W");
    }

    #[cfg(unix)]
    #[test]
    fn working_takes_busy_seconds() {
        let clock = Clock::start();
        let mut sum = 0_u64;
        while clock.now().busy < 0.01 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(clock.now().wall > 0.0);
    }
}
