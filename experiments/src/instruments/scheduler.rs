//! How long things take, in visits that can be interrupted and gone on with.
//!
//! A machine has slow minutes and fast ones, so nothing is timed in one go: every work is visited again and again, in an
//! order drawn anew for each round, and what counts is the median of its visits. A work is settled once the standard
//! error of that median is small; the others are visited on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};
use crate::instruments::executor::Executor;
use crate::instruments::journal::Journal;
use crate::instruments::result::{Timing, TimingSettings, Visit};

/// Times `works` things on `executor`. `journal` keeps the visits as they come; one that a killed run with the same
/// `header` left is gone on with. `progress` is told the visits so far and the works settled.
///
/// # Errors
/// [`Error::Interrupted`] when `stop` is set; a journal that cannot be read or written, or is of other measurements.
pub(crate) fn time_works(
    works: usize,
    executor: &impl Executor,
    settings: &TimingSettings,
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
                return Err(Error::Interrupted);
            }
            let visit = executor.visit(work);
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;
    use crate::instruments::local::Local;

    fn quick() -> TimingSettings {
        TimingSettings { precision: 0.5, visits: (2, 4), seed: 1 }
    }

    fn local<F: Fn(), P: Fn(usize) -> F>(prepare: P) -> Local<'static, P> {
        Local { prepare, counter: None }
    }

    #[test]
    fn what_takes_longer_is_said_to_and_all_is_kept_in_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal.jsonl");
        let work = |work: usize| move || std::thread::sleep(Duration::from_micros(300 + 2_700 * work as u64));
        let never = AtomicBool::new(false);
        let run = |header: &str| time_works(2, &local(work), &quick(), (&journal, header), &never, &mut |_, _| ());
        let timings = run("a").unwrap();
        assert!(timings[0].seconds >= 0.0003 && timings[1].seconds >= 0.003, "{timings:?}");
        assert!(timings[1].seconds > 2.0 * timings[0].seconds && timings[0].runs > timings[1].runs, "{timings:?}");
        // All visits are known: nothing is run any more.
        let none = |_: usize| || panic!("known already");
        assert_eq!(time_works(2, &local(none), &quick(), (&journal, "a"), &never, &mut |_, _| ()).unwrap(), timings);
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
        assert!(time_works(4, &local(work), &quick(), (&journal, "a"), &stop, &mut after_three).is_err());
        // As a kill in the middle of writing leaves it.
        let text = std::fs::read_to_string(&journal).unwrap();
        std::fs::write(&journal, format!("{text}{{\"work\": 1, \"sec")).unwrap();
        let timings =
            time_works(4, &local(work), &quick(), (&journal, "a"), &AtomicBool::new(false), &mut |_, _| ()).unwrap();
        assert!(timings.iter().all(|timing| timing.visits >= 2));
        let mut first_round: Vec<usize> = seen.borrow()[..4].to_vec();
        first_round.sort_unstable();
        assert_eq!(first_round, [0, 1, 2, 3]);
    }
}
