//! The true accuracy of subnets: calibrated on some images, measured on others.

use std::collections::BTreeMap;

use search::arch::ArchSpec;
use supernet::calibrate::calibrate;
use supernet::data::{self, ImageSet, Preprocessing};
use supernet::error::SupernetError;
use supernet::evaluate::{Accuracy, evaluate};
use supernet::statistics::BnStatistics;
use supernet::subnet::Subnet;
use supernet::supernet::Supernet;
use tch::{Device, Tensor};

/// Images per batch of an evaluation.
const BATCH: usize = 250;

/// Labelled images in memory at each resolution that is asked for.
pub struct Exam {
    batches: BTreeMap<u32, Vec<(Tensor, Tensor)>>,
}

impl Exam {
    /// `set` at each of `resolutions`, normalised, on `device`.
    ///
    /// # Errors
    /// Images of another native size than `preprocessing` says.
    pub fn new(
        set: &ImageSet,
        preprocessing: &Preprocessing,
        resolutions: &[u32],
        device: Device,
    ) -> Result<Self, SupernetError> {
        let at = |resolution: u32| -> Result<_, SupernetError> {
            let batches = data::eval_batches(set, preprocessing, BATCH, i64::from(resolution), device)?;
            Ok((resolution, batches.map(|batch| (batch.images, batch.labels)).collect()))
        };
        Ok(Self { batches: resolutions.iter().map(|resolution| at(*resolution)).collect::<Result<_, _>>()? })
    }

    /// Runs a calibrated subnet over all images.
    pub fn sit(&self, subnet: &Subnet, statistics: &BnStatistics) -> Accuracy {
        let batches = self.batches[&subnet.config().resolution].iter();
        evaluate(subnet, statistics, batches.map(|(images, labels)| (images, labels)))
    }
}

/// Images for batch-norm calibration at each resolution.
pub struct CalibrationImages {
    batches: BTreeMap<u32, Vec<Tensor>>,
}

impl CalibrationImages {
    /// Batches that exist already, by resolution.
    pub fn new(batches: BTreeMap<u32, Vec<Tensor>>) -> Self {
        Self { batches }
    }

    /// `(batches, images in each)` drawn from `set` by `seed`, the same images at every resolution.
    ///
    /// # Errors
    /// Images of another native size than `preprocessing` says.
    pub fn from_set(
        set: &ImageSet,
        preprocessing: &Preprocessing,
        (count, size): (usize, usize),
        resolutions: &[u32],
        seed: u64,
        device: Device,
    ) -> Result<Self, SupernetError> {
        let at = |resolution: u32| -> Result<_, SupernetError> {
            let pixels = i64::from(resolution);
            let batches = data::calibration_batches(set, preprocessing, count, size, pixels, seed, device)?;
            Ok((resolution, batches.map(|batch| batch.images).collect()))
        };
        Ok(Self { batches: resolutions.iter().map(|resolution| at(*resolution)).collect::<Result<_, _>>()? })
    }

    /// Statistics of `subnet` at its own resolution.
    pub fn calibrate(&self, subnet: &Subnet) -> BnStatistics {
        calibrate(subnet, &self.batches[&subnet.config().resolution])
    }
}

/// Calibrates and measures one subnet of `supernet`.
pub fn measure(supernet: &Supernet, arch: &ArchSpec, calibration: &CalibrationImages, exam: &Exam) -> Accuracy {
    let subnet = supernet.subnet(&supernet.space().resolve(arch));
    exam.sit(&subnet, &calibration.calibrate(&subnet))
}
