//! The true accuracy of subnets: calibrated on some images, measured on others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use search::subnet::SubnetConfig;
use supernet::error::SupernetError;
use supernet::evaluate::Accuracy;
use supernet::supernet::Supernet;
use tch::Device;

use crate::training::images::{CalibrationImages, EvalImages};

/// What measuring one subnet gave.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// How good it is.
    pub accuracy: Accuracy,
    /// Seconds it took.
    pub seconds: f64,
}

/// Calibrates and measures every one of `subnets` and hands the results to `each`, in their order, until it says `false` or
/// one cannot be measured.
///
/// On a CPU several subnets are measured at a time, each by one thread: small networks leave several threads waiting for
/// one another, and so the numbers do not depend on how many threads there are.
///
/// # Errors
/// Outputs that are not finite.
pub(crate) fn measure_each(
    supernet: &Supernet,
    subnets: &[SubnetConfig],
    calibration: &CalibrationImages,
    exam: &EvalImages,
    each: &mut dyn FnMut(usize, Measured) -> bool,
) -> Result<(), SupernetError> {
    let threads = if supernet.device() == Device::Cpu { tch::get_num_threads().max(1) as usize } else { 1 };
    let workers = threads.min(subnets.len());
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let failure = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..workers {
            let (supernet, calibration, exam) = (supernet.duplicate(), calibration.share(), exam.share());
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                if supernet.device() == Device::Cpu {
                    tch::set_num_threads(1);
                }
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(subnet) = subnets.get(index) else { break };
                    let started = Instant::now();
                    let accuracy = measure(&supernet, subnet, &calibration, &exam);
                    let seconds = started.elapsed().as_secs_f64();
                    let measured = accuracy.map(|accuracy| Measured { accuracy, seconds });
                    if sender.send((index, measured)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let (mut expected, mut failure) = (0, None);
        for (index, measured) in receiver {
            early.insert(index, measured);
            while let Some(measured) = early.remove(&expected) {
                let goes_on = stop.load(Ordering::Relaxed)
                    || match measured {
                        Ok(measured) => each(expected, measured),
                        Err(error) => {
                            failure = Some(error);
                            false
                        }
                    };
                if !goes_on {
                    stop.store(true, Ordering::Relaxed);
                }
                expected += 1;
            }
        }
        failure
    });
    if supernet.device() == Device::Cpu {
        // The number is the whole process's, not the workers'.
        tch::set_num_threads(threads as i32);
    }
    failure.map_or(Ok(()), Err)
}

/// Calibrates and measures one subnet of `supernet`.
///
/// # Errors
/// Outputs that are not finite.
pub(crate) fn measure(
    supernet: &Supernet,
    subnet: &SubnetConfig,
    calibration: &CalibrationImages,
    exam: &EvalImages,
) -> Result<Accuracy, SupernetError> {
    let subnet = supernet.subnet(subnet);
    exam.evaluate(&subnet, &calibration.calibrate(&subnet))
}

#[cfg(test)]
mod tests {
    use search::space::SearchSpace;
    use supernet::data::{DataSource, Divided, Division, LoadOptions, Preprocessing};

    use super::*;
    use crate::training::sample::tilted_subnets;

    #[test]
    fn many_are_measured_in_order_and_as_one_by_one() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let supernet = Supernet::new(&space, 3, Device::Cpu);
        let data: DataSource = "synthetic:400".parse().unwrap();
        let division = Division { held_out: Some(100), seed: 1, splits_test: false };
        let Divided { train, held_out, .. } = data.divided(&LoadOptions::default(), &division).unwrap().0;
        let preprocessing = Preprocessing::measured(&train);
        let resolutions = space.resolutions();
        let exam = EvalImages::new(&held_out, &preprocessing, resolutions, Device::Cpu).unwrap();
        let calibration =
            CalibrationImages::from_set(&train, &preprocessing, (2, 50), resolutions, 1, Device::Cpu).unwrap();
        let archs: Vec<_> = tilted_subnets(&space, 9, 1).iter().map(|arch| space.resolve(arch)).collect();
        let mut found = Vec::new();
        measure_each(&supernet, &archs, &calibration, &exam, &mut |index, measured| {
            assert_eq!(index, found.len());
            found.push(measured.accuracy);
            true
        })
        .unwrap();
        assert_eq!(found.len(), archs.len());
        for (arch, found) in archs.iter().zip(&found) {
            let alone = measure(&supernet, arch, &calibration, &exam).unwrap();
            assert!((alone.loss - found.loss).abs() < 1e-5 && (alone.top1 - found.top1).abs() < 0.03);
        }
        let mut calls = 0;
        measure_each(&supernet, &archs, &calibration, &exam, &mut |_, _| {
            calls += 1;
            calls < 3
        })
        .unwrap();
        assert_eq!(calls, 3);
    }
}
