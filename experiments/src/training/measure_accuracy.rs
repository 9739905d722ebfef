//! The true accuracy of subnets: calibrated on some images, measured on others.

use std::time::Instant;

use search::subnet::SubnetConfig;
use supernet::error::SupernetError;
use supernet::evaluate::Accuracy;
use supernet::supernet::Supernet;

use crate::training::images::{CalibrationImages, EvalImages};
use crate::training::side_by_side::side_by_side;

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
/// On a CPU several at a time ([`side_by_side`]).
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
    let tools = || (supernet.duplicate(), calibration.share(), exam.share());
    let work = |(supernet, calibration, exam): &(Supernet, CalibrationImages, EvalImages), index: usize| {
        let started = Instant::now();
        let accuracy = measure(supernet, &subnets[index], calibration, exam)?;
        Ok(Measured { accuracy, seconds: started.elapsed().as_secs_f64() })
    };
    side_by_side(supernet.device(), subnets.len(), tools, work, each)
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
    exam.evaluate(&subnet, &calibration.calibrate(&subnet)?)
}

#[cfg(test)]
mod tests {
    use search::space::SearchSpace;
    use supernet::data::{DataSource, Divided, Division, LoadOptions, Preprocessing};
    use tch::Device;

    use super::*;
    use crate::training::sample::tilted_subnets;

    #[test]
    fn many_are_measured_in_order_and_as_one_by_one() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let supernet = Supernet::new(&space, 3, Device::Cpu);
        let data: DataSource = "synthetic:400".parse().unwrap();
        let division = Division { held_out: Some(100), seed: 1, splits_test: false };
        let Divided { train, held_out, .. } = data.divided(&LoadOptions::default(), &division).unwrap().0;
        let preprocessing = Preprocessing::measured(&train).unwrap();
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
