//! Images in memory at each resolution that is asked for: to calibrate a subnet with, and to measure its accuracy on.

use std::collections::BTreeMap;

use supernet::calibrate::calibrate;
use supernet::data::{self, ImageSet, Preprocessing};
use supernet::error::SupernetError;
use supernet::evaluate::{Accuracy, evaluate, evaluate_with};
use supernet::network::Network;
use supernet::statistics::BnStatistics;
use supernet::subnet::Subnet;
use tch::{Device, Tensor};

use crate::folders::image_settings::ImageSettings;

/// Images per batch of an evaluation.
const BATCH: usize = 250;

/// Labelled images in memory at each resolution that is asked for.
pub(crate) struct EvalImages {
    batches: BTreeMap<u32, Vec<(Tensor, Tensor)>>,
}

impl EvalImages {
    /// `set` at each of `resolutions`, normalised, on `device`.
    ///
    /// # Errors
    /// Images of another native size than `preprocessing` says.
    pub(crate) fn new(
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

    /// Handles to the images for another thread; nothing is copied.
    pub(crate) fn share(&self) -> Self {
        let handle = |(images, labels): &(Tensor, Tensor)| (images.shallow_clone(), labels.shallow_clone());
        let share = |(resolution, batches): (&u32, &Vec<_>)| (*resolution, batches.iter().map(handle).collect());
        Self { batches: self.batches.iter().map(share).collect() }
    }

    /// Runs a network of any shape over all images.
    ///
    /// # Errors
    /// Outputs that are not finite.
    pub(crate) fn evaluate_network(&self, network: &Network) -> Result<Accuracy, SupernetError> {
        let batches = self.batches[&network.input().size].iter();
        evaluate_with(|images| network.forward(images), batches.map(|(images, labels)| (images, labels)))
    }

    /// Runs a calibrated subnet over all images.
    ///
    /// # Errors
    /// Outputs that are not finite.
    pub(crate) fn evaluate(&self, subnet: &Subnet, statistics: &BnStatistics) -> Result<Accuracy, SupernetError> {
        let batches = self.batches[&subnet.config().resolution].iter();
        evaluate(subnet, statistics, batches.map(|(images, labels)| (images, labels)))
    }
}

/// Images for batch-norm calibration at each resolution.
pub(crate) struct CalibrationImages {
    batches: BTreeMap<u32, Vec<Tensor>>,
}

impl CalibrationImages {
    /// Batches that exist already, by resolution.
    pub(crate) fn new(batches: BTreeMap<u32, Vec<Tensor>>) -> Self {
        Self { batches }
    }

    /// `(batches, images in each)` drawn from `set` by `seed`, the same images at every resolution.
    ///
    /// # Errors
    /// Images of another native size than `preprocessing` says.
    pub(crate) fn from_set(
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

    /// Images of the training set `train`, as many as the bundle of `settings` calibrates with.
    ///
    /// # Errors
    /// Images of another native size than `settings` say.
    pub(crate) fn of_training(
        train: &ImageSet,
        settings: &ImageSettings,
        resolutions: &[u32],
        device: Device,
    ) -> Result<Self, SupernetError> {
        let ImageSettings { preprocessing, calibration, seed, .. } = settings;
        Self::from_set(train, preprocessing, *calibration, resolutions, *seed, device)
    }

    /// Handles to the images for another thread; nothing is copied.
    pub(crate) fn share(&self) -> Self {
        let share = |(resolution, batches): (&u32, &Vec<Tensor>)| {
            (*resolution, batches.iter().map(Tensor::shallow_clone).collect())
        };
        Self { batches: self.batches.iter().map(share).collect() }
    }

    /// Statistics of `subnet` at its own resolution.
    pub(crate) fn calibrate(&self, subnet: &Subnet) -> BnStatistics {
        calibrate(subnet, &self.batches[&subnet.config().resolution])
    }
}
