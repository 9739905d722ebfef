//! How much of everything a build does: as in the bundle that it takes after, or as much as fits some minutes.

/// What things take on this machine, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Speed {
    /// A step of the phase that trains the largest subnet.
    pub(crate) full_step: f64,
    /// A step of the phase in which everything is elastic.
    pub(crate) elastic_step: f64,
    /// Calibrating a subnet and measuring it on the held-out images.
    pub(crate) pair: f64,
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
    /// Test images, in held-out ones: what measuring on them takes more.
    pub(crate) tests: usize,
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
/// Measurements on held-out images in the course of a training, and of subnets on test images at its end.
pub(crate) const MEASURED: u64 = 20;
const REPORTED: f64 = 12.0;
/// Measurements that take as long as holding made images against the statistics of 32 subnets, before and after.
const POOL: f64 = 150.0;

impl Schedule {
    /// What fits `minutes`, or what a bundle would be trained for.
    pub(crate) fn new(speed: &Speed, work: &Work, minutes: Option<f64>) -> Schedule {
        let steps = (work.images / work.batch).max(1) as f64;
        let tests = work.tests as f64;
        let budgets = work.budgets as f64;
        let all = minutes.map(|minutes| 60.0 * minutes * (1.0 - MARGIN));
        let within = |share: f64, each: f64, [least, most]: [usize; 2]| match all {
            Some(all) => ((share * all / each) as usize).clamp(least, most),
            None => most,
        };
        let pairs = within(PAIRS_SHARE, speed.pair, PAIRS);
        let updates = within(UPDATES_SHARE, speed.update, UPDATES);
        let rest = [
            ("collect", pairs as f64 * speed.pair),
            ("fit", FIT * pairs as f64 / PAIRS[1] as f64),
            ("calibrate", updates as f64 * speed.update + POOL * speed.pair),
            ("search", budgets * SEARCH),
            ("verify", budgets * speed.pair),
            ("export", budgets * (EXPORT + speed.pair)),
            ("test", budgets * speed.pair * tests),
        ];
        let measured = 2.0 * MEASURED as f64 * speed.pair + REPORTED * speed.pair * tests;
        // An epoch of each kind: half of the epochs train the largest subnet alone.
        let both = steps * (speed.full_step + speed.elastic_step);
        let epochs = match all {
            Some(all) => {
                let left = all - measured - rest.iter().map(|(_, seconds)| seconds).sum::<f64>();
                (2.0 * left / both).floor()
            }
            None => (EPOCHS * (IMAGES / work.images as f64).sqrt()).round().min(MOST_EPOCHS),
        };
        let epochs = epochs.max(2.0) as u64;
        let epochs = [epochs / 2, epochs - epochs / 2];
        let train = steps * (epochs[0] as f64 * speed.full_step + epochs[1] as f64 * speed.elastic_step) + measured;
        let seconds = std::iter::once(("train", train)).chain(rest).collect();
        Schedule { epochs, pairs, updates, seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEED: Speed = Speed { full_step: 0.02, elastic_step: 0.05, pair: 0.2, update: 0.05 };
    const WORK: Work = Work { images: 1800, batch: 64, tests: 3, budgets: 12 };

    #[test]
    fn minutes_are_kept_and_used() {
        for minutes in [5.0, 20.0, 60.0] {
            let schedule = Schedule::new(&SPEED, &WORK, Some(minutes));
            let total = schedule.seconds.iter().map(|(_, seconds)| seconds).sum::<f64>() / 60.0;
            assert!(total <= minutes && total > 0.85 * minutes, "{total} of {minutes}: {schedule:?}");
            assert!(schedule.pairs >= 40);
        }
    }

    #[test]
    fn without_minutes_few_images_are_seen_more_often_than_many() {
        let few = Schedule::new(&SPEED, &WORK, None);
        let many = Schedule::new(&SPEED, &Work { images: 45_000, ..WORK }, None);
        assert_eq!((few.epochs, many.epochs), ([200, 200], [42, 42]));
        assert_eq!((many.pairs, many.updates), (400, 600));
    }

    #[test]
    fn too_few_minutes_leave_the_least_that_is_a_build() {
        assert_eq!(Schedule::new(&SPEED, &WORK, Some(0.05)).epochs, [1, 1]);
    }
}
