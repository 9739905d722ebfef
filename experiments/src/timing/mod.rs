//! How long things take on the machine at hand, in visits that can be interrupted and gone on with.
//!
//! A machine has slow minutes and fast ones, so nothing is timed in one go: every work is visited again and again, in an
//! order drawn anew for each round, and what counts is the median of its visits. A work is settled once the standard
//! error of that median is small; the others are visited on.

pub mod energy;
mod journal;
pub mod nvml;
pub mod rapl;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::error::AppError;
use energy::EnergyCounter;
use journal::Journal;

/// How to time.
#[derive(Clone, Debug, PartialEq)]
pub struct TimingSettings {
    /// Standard error of the median, relative to it, at which a work is settled.
    pub precision: f64,
    /// Fewest and most visits to each work.
    pub visits: (usize, usize),
    /// Seed of the order of visits.
    pub seed: u64,
}

impl Default for TimingSettings {
    fn default() -> Self {
        TimingSettings { precision: 0.01, visits: (5, 40), seed: 0 }
    }
}

/// Least time of a visit's warm-up, of one sample, and of all samples; and fewest samples.
const WARM_UP: Duration = Duration::from_millis(3);
const SAMPLE: Duration = Duration::from_micros(200);
const VISIT: Duration = Duration::from_millis(12);
const SAMPLES: usize = 9;

/// One visit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Visit {
    /// Median of the samples, in seconds for one run.
    pub(crate) seconds: f64,
    /// Runs that were timed.
    pub(crate) runs: u64,
    /// Joules for one run, where there are counters.
    pub(crate) joules: Option<f64>,
}

/// What the visits to one work say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Median of the visits, in seconds for one run.
    pub seconds: f64,
    /// Spread of the visits: 1.4826 times the median distance from their median, which is the standard deviation of
    /// normally distributed ones.
    pub std: f64,
    /// Median of the visits' energy for one run, in joules.
    pub joules: Option<f64>,
    /// Runs that were timed, over all visits.
    pub runs: u64,
    /// Visits.
    pub visits: usize,
    /// Whether the standard error of the median is as small as was asked for.
    pub is_settled: bool,
}

impl Timing {
    /// `None` without visits.
    fn new(visits: &[Visit], settings: &TimingSettings) -> Option<Timing> {
        let seconds = median(visits.iter().map(|visit| visit.seconds))?;
        let distance = median(visits.iter().map(|visit| (visit.seconds - seconds).abs()))?;
        let std = 1.4826 * distance;
        let joules: Option<Vec<f64>> = visits.iter().map(|visit| visit.joules).collect();
        Some(Timing {
            seconds,
            std,
            joules: joules.and_then(|joules| median(joules.into_iter())),
            runs: visits.iter().map(|visit| visit.runs).sum(),
            visits: visits.len(),
            // The median of n normally distributed numbers has the standard error 1.2533 σ/√n.
            is_settled: visits.len() >= settings.visits.0
                && 1.2533 * std / (visits.len() as f64).sqrt() <= settings.precision * seconds,
        })
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

/// Times `works` things, of which `prepare` makes one ready to run, and counts their energy where there is a `counter`.
/// `journal` keeps the visits as they come; one that a
/// killed run with the same `header` left is gone on with. `progress` is told the visits so far and the works settled.
///
/// # Errors
/// [`AppError::Interrupted`] when `stop` is set; a journal that cannot be read or written, or is of other measurements.
pub fn time<F: Fn()>(
    works: usize,
    prepare: impl Fn(usize) -> F,
    settings: &TimingSettings,
    counter: Option<&dyn EnergyCounter>,
    (journal, header): (&Path, &str),
    stop: &AtomicBool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Timing>> {
    let (mut journal, known) = Journal::open(journal, header, works)?;
    let mut visits: Vec<Vec<Visit>> = vec![Vec::new(); works];
    known.into_iter().for_each(|(work, visit)| visits[work].push(visit));
    let settled = |visits: &[Visit]| {
        visits.len() >= settings.visits.1 || Timing::new(visits, settings).is_some_and(|timing| timing.is_settled)
    };
    let mut is_settled: Vec<bool> = visits.iter().map(|visits| settled(visits)).collect();
    let mut all: usize = visits.iter().map(Vec::len).sum();
    for round in 0..settings.visits.1 {
        let mut order: Vec<usize> =
            (0..works).filter(|&work| visits[work].len() <= round && !is_settled[work]).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(settings.seed.wrapping_add(round as u64)));
        for work in order {
            if stop.load(Ordering::Relaxed) {
                return Err(AppError::Interrupted.into());
            }
            let visit = visit(&prepare(work), counter);
            journal.add(work, visit)?;
            visits[work].push(visit);
            is_settled[work] = settled(&visits[work]);
            all += 1;
            progress(all, is_settled.iter().filter(|&&is_settled| is_settled).count());
        }
        journal.sync()?;
    }
    let timings = visits.iter().map(|visits| Timing::new(visits, settings)).collect::<Option<Vec<_>>>();
    Ok(timings.unwrap_or_default())
}

fn visit(run: &impl Fn(), counter: Option<&dyn EnergyCounter>) -> Visit {
    let repeat = |least: Duration| {
        let (began, mut runs) = (Instant::now(), 0_u64);
        loop {
            run();
            runs += 1;
            let passed = began.elapsed();
            if passed >= least {
                return passed.as_secs_f64() / runs as f64;
            }
        }
    };
    // The first run builds what the library keeps for later ones.
    run();
    let one = repeat(WARM_UP);
    let runs = ((SAMPLE.as_secs_f64() / one).ceil() as u64).max(1);
    let (began, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < SAMPLES || began.elapsed() < VISIT {
        let sample = Instant::now();
        (0..runs).for_each(|_| run());
        samples.push(sample.elapsed().as_secs_f64() / runs as f64);
    }
    let timed = runs * samples.len() as u64;
    let joules = counter.and_then(|counter| {
        let (before, began) = (counter.read()?, Instant::now());
        let one = repeat(counter.window());
        let all = counter.joules(&before, &counter.read()?);
        // A counter that stands still counts nothing here, as on some virtual machines.
        (all > 0.0).then(|| all * one / began.elapsed().as_secs_f64())
    });
    Visit { seconds: median(samples.into_iter()).expect("samples were taken"), runs: timed, joules }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn quick() -> TimingSettings {
        TimingSettings { precision: 0.5, visits: (2, 4), seed: 1 }
    }

    #[test]
    fn what_takes_longer_is_said_to_and_all_is_kept_in_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal.jsonl");
        let work = |work: usize| move || std::thread::sleep(Duration::from_micros(300 + 2_700 * work as u64));
        let never = AtomicBool::new(false);
        let run = |header: &str| time(2, work, &quick(), None, (&journal, header), &never, &mut |_, _| ());
        let timings = run("a").unwrap();
        assert!(timings[0].seconds >= 0.0003 && timings[1].seconds >= 0.003, "{timings:?}");
        assert!(timings[1].seconds > 2.0 * timings[0].seconds && timings[0].runs > timings[1].runs, "{timings:?}");
        // All visits are known: nothing is run any more.
        let none = |_: usize| || panic!("known already");
        assert_eq!(time(2, none, &quick(), None, (&journal, "a"), &never, &mut |_, _| ()).unwrap(), timings);
        assert!(run("b").is_err());
    }

    #[test]
    fn an_interrupted_round_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal.jsonl");
        let seen = RefCell::new(Vec::new());
        let work = |work: usize| {
            seen.borrow_mut().push(work);
            || std::thread::sleep(Duration::from_micros(100))
        };
        let stop = AtomicBool::new(false);
        let mut after_three = |visits: usize, _: usize| stop.store(visits == 3, Ordering::Relaxed);
        assert!(time(4, work, &quick(), None, (&journal, "a"), &stop, &mut after_three).is_err());
        // As a kill in the middle of writing leaves it.
        let text = std::fs::read_to_string(&journal).unwrap();
        std::fs::write(&journal, format!("{text}{{\"work\": 1, \"sec")).unwrap();
        let timings = time(4, work, &quick(), None, (&journal, "a"), &AtomicBool::new(false), &mut |_, _| ()).unwrap();
        assert!(timings.iter().all(|timing| timing.visits >= 2));
        let mut first_round: Vec<usize> = seen.borrow()[..4].to_vec();
        first_round.sort_unstable();
        assert_eq!(first_round, [0, 1, 2, 3]);
    }

    #[test]
    fn a_journal_gives_back_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        // A number that serde_json reads one bit off.
        let visit = |seconds| Visit { seconds, runs: 3, joules: Some(seconds / 3.0) };
        let visits: Vec<Visit> = (0..500).map(|at| visit(0.000_379_884_000_000_000_04 + f64::from(at) / 7e6)).collect();
        let (mut journal, _) = Journal::open(&path, "a", 1).unwrap();
        visits.iter().for_each(|&visit| journal.add(0, visit).unwrap());
        let known = Journal::open(&path, "a", 1).unwrap().1;
        assert!(known.iter().map(|(_, visit)| *visit).eq(visits));
    }

    /// Says that so many joules passed between any two readings; `None` = it cannot be read.
    struct Meter(Option<f64>);

    impl EnergyCounter for Meter {
        fn read(&self) -> Option<Vec<u64>> {
            self.0.map(|_| vec![0])
        }

        fn joules(&self, _before: &[u64], _after: &[u64]) -> f64 {
            self.0.unwrap()
        }

        fn window(&self) -> Duration {
            Duration::from_millis(4)
        }

        fn scope(&self) -> hw_targets::cost::Scope {
            hw_targets::cost::Scope::Chip
        }
    }

    #[test]
    fn energy_is_of_one_run_and_what_is_not_counted_is_not_zero() {
        let work = || std::thread::sleep(Duration::from_millis(1));
        let joules = |counted| visit(&work, Some(&Meter(counted))).joules;
        // Hardly more than four runs fit into the window, and sleeping may take longer.
        let one = joules(Some(8.0)).unwrap();
        assert!((1.6..=8.0).contains(&one), "{one}");
        assert_eq!(joules(Some(0.0)), None);
        assert_eq!(joules(None), None);
    }

    #[test]
    fn one_slow_visit_does_not_count() {
        let visit = |seconds| Visit { seconds, runs: 1, joules: Some(2.0 * seconds) };
        let visits = [1.0, 1.01, 9.0, 0.99, 1.0].map(visit);
        let timing = Timing::new(&visits, &TimingSettings::default()).unwrap();
        assert!((timing.seconds - 1.0).abs() < 1e-9 && timing.std < 0.02 && timing.joules == Some(2.0));
        assert!(timing.is_settled);
    }
}
