//! Images as batches at each resolution that is asked for: to calibrate a subnet with, and to measure its accuracy on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use supernet::calibrate::calibrate;
use supernet::data::{self, DataError, ImageSet, Preprocessing};
use supernet::error::SupernetError;
use supernet::evaluate::{Accuracy, evaluate, evaluate_with};
use supernet::network::Network;
use supernet::statistics::BnStatistics;
use supernet::subnet::Subnet;
use tch::{Device, Tensor};

use crate::folders::image_settings::ImageSettings;

/// Images per batch of an evaluation: so few that feature maps of a thread come from its own heap, whose parts glibc
/// makes 64 MiB at most, and not from the kernel each time anew (a quarter of the time with 250).
const BATCH: usize = 50;

/// Most bytes of batches that are kept for the next subnet; beyond it they are made anew, batch by batch. Spaces for large
/// images offer many resolutions, which together would fill any memory.
const MOST_KEPT: usize = 1 << 31;

/// Bytes that so many images take at `resolutions`, as far as they are kept.
pub(crate) fn bytes_kept(count: usize, resolutions: &[u32]) -> usize {
    let bytes = |resolution: &u32| count * 3 * 4 * (*resolution as usize).pow(2);
    resolutions.iter().map(bytes).sum::<usize>().min(MOST_KEPT)
}

/// Images and labels.
type Batch = (Tensor, Tensor);

/// A set of images as batches, normalised, on one device.
struct Batches {
    set: ImageSet,
    preprocessing: Preprocessing,
    size: usize,
    device: Device,
    most_kept: usize,
    kept: Mutex<Kept>,
}

/// Batches by resolution, and how many bytes they are.
#[derive(Default)]
struct Kept {
    bytes: usize,
    batches: BTreeMap<u32, Vec<Batch>>,
}

impl Batches {
    /// `set` in batches of `size`; those of `resolutions` can be asked for.
    fn new(
        set: ImageSet,
        preprocessing: &Preprocessing,
        size: usize,
        resolutions: &[u32],
        device: Device,
    ) -> Result<Batches, SupernetError> {
        for resolution in resolutions {
            // Lazy, but for its checks.
            data::eval_batches(&set, preprocessing, size, i64::from(*resolution), device)?;
        }
        let (preprocessing, kept) = (preprocessing.clone(), Mutex::default());
        // What is too much as bytes is too much as numbers.
        let most_kept = if set.is_streamed() { 0 } else { MOST_KEPT };
        Ok(Batches { set, preprocessing, size, device, most_kept, kept })
    }

    /// What `use_them` makes of all batches at `resolution`, in order.
    ///
    /// # Errors
    /// An image whose file is not what it was when the set was read.
    fn at<T>(
        &self,
        resolution: u32,
        use_them: impl FnOnce(&mut dyn Iterator<Item = Batch>) -> T,
    ) -> Result<T, SupernetError> {
        let bytes = self.set.len() * 3 * 4 * (resolution as usize).pow(2);
        let fits = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(batches) = kept.batches.get(&resolution) {
                let handles = handles(batches);
                drop(kept);
                return Ok(use_them(&mut handles.into_iter()));
            }
            let fits = kept.bytes + bytes <= self.most_kept;
            kept.bytes += if fits { bytes } else { 0 };
            fits
        };
        let made = data::eval_batches(&self.set, &self.preprocessing, self.size, i64::from(resolution), self.device)
            .expect("checked when the set was taken")
            .map(|batch| batch.map(|batch| (batch.images, batch.labels)));
        if !fits {
            let mut broken = None;
            let used = use_them(&mut made.map_while(|batch| batch.map_err(|error| broken = Some(error)).ok()));
            return broken.map_or(Ok(used), |error| Err(error.into()));
        }
        let made: Vec<Batch> = made.collect::<Result<_, DataError>>()?;
        let handles = handles(&made);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.batches.insert(resolution, made).is_some() {
            // Another thread made the same meanwhile, and both counted them.
            kept.bytes -= bytes;
        }
        drop(kept);
        Ok(use_them(&mut handles.into_iter()))
    }
}

/// Handles to these batches; nothing is copied.
fn handles(batches: &[Batch]) -> Vec<Batch> {
    batches.iter().map(|(images, labels)| (images.shallow_clone(), labels.shallow_clone())).collect()
}

/// Labelled images at each resolution that is asked for.
pub(crate) struct EvalImages {
    batches: Arc<Batches>,
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
        let batches = Batches::new(set.clone(), preprocessing, BATCH, resolutions, device)?;
        Ok(Self { batches: Arc::new(batches) })
    }

    /// Handles to the images for another thread; nothing is copied.
    pub(crate) fn share(&self) -> Self {
        Self { batches: Arc::clone(&self.batches) }
    }

    /// Runs a network of any shape over all images.
    ///
    /// # Errors
    /// Outputs that are not finite.
    pub(crate) fn evaluate_network(&self, network: &Network) -> Result<Accuracy, SupernetError> {
        self.batches.at(network.input().size, |batches| evaluate_with(|images| network.forward(images), batches))?
    }

    /// Runs a calibrated subnet over all images.
    ///
    /// # Errors
    /// Outputs that are not finite.
    pub(crate) fn evaluate(&self, subnet: &Subnet, statistics: &BnStatistics) -> Result<Accuracy, SupernetError> {
        self.batches.at(subnet.config().resolution, |batches| evaluate(subnet, statistics, batches))?
    }
}

/// Images for batch-norm calibration at each resolution.
#[derive(Clone)]
pub(crate) struct CalibrationImages(Origin);

/// Where they come from.
#[derive(Clone)]
enum Origin {
    /// Of a set.
    Drawn(Arc<Batches>),
    /// Batches that exist already, by resolution.
    Made(Arc<Mutex<BTreeMap<u32, Vec<Tensor>>>>),
}

impl CalibrationImages {
    /// Batches that exist already, by resolution.
    pub(crate) fn new(batches: BTreeMap<u32, Vec<Tensor>>) -> Self {
        Self(Origin::Made(Arc::new(Mutex::new(batches))))
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
        let drawn = data::calibration_set(set, count * size, seed)?;
        Ok(Self(Origin::Drawn(Arc::new(Batches::new(drawn, preprocessing, size, resolutions, device)?))))
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
        self.clone()
    }

    /// Statistics of `subnet` at its own resolution.
    ///
    /// # Errors
    /// None where images are held.
    pub(crate) fn calibrate(&self, subnet: &Subnet) -> Result<BnStatistics, SupernetError> {
        let resolution = subnet.config().resolution;
        tracing::debug!(resolution, "calibrating batch norm");
        match &self.0 {
            Origin::Drawn(batches) => {
                batches.at(resolution, |batches| calibrate(subnet, batches.map(|(images, _)| images)))
            }
            Origin::Made(batches) => {
                let batches = batches.lock().unwrap_or_else(PoisonError::into_inner);
                let handles: Vec<Tensor> = batches[&resolution].iter().map(Tensor::shallow_clone).collect();
                drop(batches);
                Ok(calibrate(subnet, handles))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_the_same_whether_kept_or_made_anew() {
        let pixels: Vec<u8> = (0..7 * 3 * 64).map(|at| (at * 37 % 251) as u8).collect();
        let set = ImageSet::new(pixels, vec![0, 1, 0, 1, 0, 1, 0], 8, vec!["a".into(), "b".into()]).unwrap();
        let preprocessing = Preprocessing::measured(&set).unwrap();
        let made = |most_kept| {
            let batches = Batches::new(set.clone(), &preprocessing, 3, &[8, 12], Device::Cpu).unwrap();
            Batches { most_kept, ..batches }
        };
        let (all, some, none) = (made(1 << 20), made(7 * 12 * 64), made(0));
        let read = |batches: &Batches, resolution| -> Vec<Batch> {
            batches.at(resolution, |batches| batches.collect()).unwrap()
        };
        for resolution in [8, 12, 8, 12] {
            for (one, others) in
                read(&all, resolution).iter().zip(read(&some, resolution).iter().zip(read(&none, resolution)))
            {
                assert!(one.0 == others.0.0 && one.0 == others.1.0 && one.1 == others.1.1);
            }
        }
        let kept = |batches: &Batches| batches.kept.lock().unwrap().batches.keys().copied().collect::<Vec<_>>();
        assert_eq!((kept(&all), kept(&some), kept(&none)), (vec![8, 12], vec![8], vec![]));
    }
}
