//! Runs things on the machine at hand, and times them.

use std::time::{Duration, Instant};

use crate::instruments::energy_counter::EnergyCounter;
use crate::instruments::executor::Executor;
use crate::instruments::result::{Visit, median};

/// Least time of a visit's warm-up, of one sample, and of all samples; and fewest samples.
const WARM_UP: Duration = Duration::from_millis(3);
const SAMPLE: Duration = Duration::from_micros(200);
const VISIT: Duration = Duration::from_millis(12);
const SAMPLES: usize = 9;

/// The machine at hand.
pub(crate) struct Local<'a, P> {
    /// Makes a work ready to run.
    pub(crate) prepare: P,
    /// Counts energy, where there is a counter.
    pub(crate) counter: Option<&'a dyn EnergyCounter>,
}

impl<F: Fn(), P: Fn(usize) -> F> Executor for Local<'_, P> {
    fn visit(&self, work: usize) -> Visit {
        visit(&(self.prepare)(work), self.counter)
    }
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
    use super::*;

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
}
