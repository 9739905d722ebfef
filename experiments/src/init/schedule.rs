//! How much of everything a build does: as in the bundle that it takes after, or as much as fits some minutes.

use crate::stages::bundle::measure_every;
use crate::training::pace::measurements;
use crate::training::train::REPRESENTATIVES;

/// What things take on this machine, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Speed {
    /// A step of the phase that trains the largest subnet.
    pub(crate) full_step: f64,
    /// A step of the phase in which everything is elastic.
    pub(crate) elastic_step: f64,
    /// An image through a subnet, to calibrate or to measure it.
    pub(crate) image: f64,
    /// An update of the images that are made for calibration.
    pub(crate) update: f64,
}

/// How much there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Images to train on.
    pub(crate) images: usize,
    /// Images in a batch.
    pub(crate) batch: usize,
    /// Images that a subnet's statistics are taken from.
    pub(crate) calibration: usize,
    /// Held-out images, which decisions are made by.
    pub(crate) held_out: usize,
    /// Test images.
    pub(crate) tests: usize,
    /// Images that are made for calibration, and subnets whose statistics they are held against.
    pub(crate) made: (usize, usize),
    /// Budgets.
    pub(crate) budgets: usize,
}

/// A build's settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    /// Epochs of the largest subnet, and of all of them.
    pub(crate) epochs: [u64; 2],
    /// Subnets that are measured.
    pub(crate) pairs: usize,
    /// Updates of the images for calibration.
    pub(crate) updates: usize,
    /// Seconds of each stage.
    pub(crate) seconds: Vec<(&'static str, f64)>,
}

/// Epochs over 50,000 images that the shipped bundles are trained for.
const EPOCHS: f64 = 80.0;
const IMAGES: f64 = 50_000.0;
/// Epochs beyond which few images tell nothing new.
const MOST_EPOCHS: f64 = 400.0;
/// Subnets that predictors of the shipped bundles are fitted to are more; some hundred rank as well within noise.
const PAIRS: [usize; 2] = [40, 400];
const UPDATES: [usize; 2] = [20, 600];
/// What the stages before the search may take of all minutes, beside the training.
const PAIRS_SHARE: f64 = 0.12;
const UPDATES_SHARE: f64 = 0.05;
/// Of the minutes, what is left for surprises.
const MARGIN: f64 = 0.08;
/// Seconds of fitting, searching a budget, and of writing and checking a network in two formats.
const FIT: f64 = 15.0;
const SEARCH: f64 = 0.3;
const EXPORT: f64 = 1.5;
/// Subnets that a training measures on test images at its end.
const REPORTED: f64 = 12.0;

impl Schedule {
    /// What fits `minutes`, or what a bundle would be trained for. Weights that are all trained already, `from_trained`, need no
    /// epochs of the largest subnet alone.
    pub(crate) fn new(speed: &Speed, work: &Work, minutes: Option<f64>, from_trained: bool) -> Schedule {
        let steps = (work.images / work.batch).max(1) as f64;
        let measuring = |images: usize| speed.image * (work.calibration + images) as f64;
        let (pair, budgets) = (measuring(work.held_out), work.budgets as f64);
        let all = minutes.map(|minutes| 60.0 * minutes * (1.0 - MARGIN));
        let within = |share: f64, each: f64, [least, most]: [usize; 2]| match all {
            Some(all) => ((share * all / each) as usize).clamp(least, most),
            None => most,
        };
        let pairs = within(PAIRS_SHARE, pair, PAIRS);
        let updates = within(UPDATES_SHARE, speed.update, UPDATES);
        // Real images once; the made ones before the first update and after the last.
        let pool = work.made.1 as f64 * measuring(2 * work.made.0);
        let rest = [
            ("collect", pairs as f64 * pair),
            ("fit", FIT * pairs as f64 / PAIRS[1] as f64),
            ("calibrate", updates as f64 * speed.update + pool),
            ("search", budgets * SEARCH),
            ("verify", budgets * pair),
            ("export", budgets * (EXPORT + measuring(0))),
            ("test", budgets * measuring(work.tests)),
        ];
        let train = |epochs: [u64; 2]| {
            let every = measure_every(epochs[0] + epochs[1]);
            let times = epochs.map(|epochs| measurements(epochs, every)).iter().sum::<u64>();
            let measured = times as f64 * REPRESENTATIVES.len() as f64 * pair + REPORTED * measuring(work.tests);
            steps * (epochs[0] as f64 * speed.full_step + epochs[1] as f64 * speed.elastic_step) + measured
        };
        // Half of the epochs train the largest subnet alone, where any do.
        let halves = |epochs: u64| if from_trained { [0, epochs] } else { [epochs / 2, epochs - epochs / 2] };
        let epochs = match all {
            Some(all) => {
                let left = all - rest.iter().map(|(_, seconds)| seconds).sum::<f64>();
                let most = 2.0 * left / (steps * (speed.full_step + speed.elastic_step));
                let least = if from_trained { 1 } else { 2 };
                (least..=most as u64).rev().find(|epochs| train(halves(*epochs)) <= left).unwrap_or(least)
            }
            None => (EPOCHS * (IMAGES / work.images as f64).sqrt()).round().clamp(2.0, MOST_EPOCHS) as u64,
        };
        let epochs = halves(epochs);
        let train = train(epochs);
        let seconds = std::iter::once(("train", train)).chain(rest).collect();
        Schedule { epochs, pairs, updates, seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEED: Speed = Speed { full_step: 0.02, elastic_step: 0.05, image: 0.0002, update: 0.05 };
    const WORK: Work =
        Work { images: 1800, batch: 64, calibration: 1000, held_out: 200, tests: 500, made: (256, 32), budgets: 12 };

    #[test]
    fn minutes_are_kept_and_used() {
        for minutes in [5.0, 20.0, 60.0] {
            let schedule = Schedule::new(&SPEED, &WORK, Some(minutes), false);
            let total = schedule.seconds.iter().map(|(_, seconds)| seconds).sum::<f64>() / 60.0;
            assert!(total <= minutes && total > 0.85 * minutes, "{total} of {minutes}: {schedule:?}");
            assert!(schedule.pairs >= 40);
        }
    }

    #[test]
    fn a_stage_takes_as_long_as_the_images_that_pass_through_networks() {
        // 55,000 images of 28 px on one core, where ten minutes hold a build (`ofa init` on Fashion-MNIST).
        let speed = Speed { full_step: 0.11, elastic_step: 0.28, image: 0.0002, update: 0.3 };
        let work = Work { images: 55_000, batch: 128, held_out: 5000, tests: 10_000, ..WORK };
        let schedule = Schedule::new(&speed, &work, Some(10.0), false);
        let of = |stage: &str| schedule.seconds.iter().find(|(name, _)| *name == stage).unwrap().1;
        // 32 subnets, each with 1,000 real images and the made ones twice; 100 updates would be a twentieth of the minutes.
        assert!((of("calibrate") - (32.0 * 0.0002 * 1512.0 + schedule.updates as f64 * 0.3)).abs() < 1e-9);
        assert!((of("test") - 12.0 * 0.0002 * 11_000.0).abs() < 1e-9);
        // Two epochs of each, measured after every one: three subnets a time, then twelve on the test images.
        assert_eq!(schedule.epochs, [2, 2]);
        let measured = 12.0 * 0.0002 * 6000.0 + 12.0 * 0.0002 * 11_000.0;
        assert!((of("train") - (2.0 * 429.0 * 0.39 + measured)).abs() < 1e-9, "{schedule:?}");
    }

    #[test]
    fn without_minutes_few_images_are_seen_more_often_than_many() {
        let few = Schedule::new(&SPEED, &WORK, None, false);
        let many = Schedule::new(&SPEED, &Work { images: 45_000, ..WORK }, None, false);
        assert_eq!((few.epochs, many.epochs), ([200, 200], [42, 42]));
        assert_eq!((many.pairs, many.updates), (400, 600));
    }

    #[test]
    fn weights_that_are_trained_already_are_trained_together() {
        let [fresh, trained] = [false, true].map(|trained| Schedule::new(&SPEED, &WORK, Some(20.0), trained));
        assert_eq!(trained.epochs[0], 0);
        // As long as both kinds of steps take otherwise.
        let seconds = |[full, elastic]: [u64; 2]| full as f64 * 0.02 + elastic as f64 * 0.05;
        assert!((seconds(trained.epochs) / seconds(fresh.epochs) - 1.0).abs() < 0.03, "{trained:?} {fresh:?}");
        assert_eq!(Schedule::new(&SPEED, &WORK, Some(0.05), true).epochs, [0, 1]);
    }

    #[test]
    fn too_few_minutes_leave_the_least_that_is_a_build() {
        assert_eq!(Schedule::new(&SPEED, &WORK, Some(0.05), false).epochs, [1, 1]);
    }
}
