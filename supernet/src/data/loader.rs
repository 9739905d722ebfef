//! Batches: shuffled and augmented for training, in order for evaluation, drawn at random for calibration.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use rand::seq::SliceRandom;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::augment::{Augmentation, normalise};
use super::balance::{self, ImageSampling};
use super::error::DataError;
use super::image_set::ImageSet;
use super::mix::Partners;
use super::preprocess::{Preprocessing, resize};
use crate::random::{Purpose, generator};

/// Images and their classes.
#[derive(Debug)]
pub struct Batch {
    /// float32 `[N, 3, S, S]`, normalised, channels innermost in memory.
    pub images: Tensor,
    /// int64 `[N]`.
    pub labels: Tensor,
    /// What the images were mixed with, if they were.
    pub partners: Option<Partners>,
}

impl Batch {
    /// This batch on another device.
    pub fn to_device(&self, device: Device) -> Batch {
        let partners = self.partners.as_ref().map(|partners| partners.to_device(device));
        Batch { images: self.images.to_device(device), labels: self.labels.to_device(device), partners }
    }

    /// Its first `count` images, with their partners.
    fn first(&self, count: usize) -> Batch {
        let some = |tensor: &Tensor| tensor.narrow(0, 0, count as i64);
        let of = |partners: &Partners| Partners { labels: some(&partners.labels), weights: some(&partners.weights) };
        Batch { images: some(&self.images), labels: some(&self.labels), partners: self.partners.as_ref().map(of) }
    }

    /// This batch at another resolution.
    pub fn resize(&self, resolution: i64) -> Batch {
        let partners = self.partners.as_ref().map(Partners::shallow_clone);
        Batch { images: resize(&self.images, resolution), labels: self.labels.shallow_clone(), partners }
    }

    /// A batch of these images of `set`, whose values (N×S×S×3, and the number of values per image) `fill` writes.
    ///
    /// Values go straight into the tensor's memory: making a tensor of a slice clears it with all of LibTorch's
    /// threads first, of which a loading thread would get a set of its own to fight over the cores with.
    fn fill(
        set: &ImageSet,
        indices: &[u32],
        fill: impl FnOnce(&mut [f32], usize) -> Result<(), DataError>,
    ) -> Result<Batch, DataError> {
        let (count, size) = (indices.len(), set.size());
        let images = Tensor::empty([count as i64, size as i64, size as i64, 3], (Kind::Float, Device::Cpu));
        let values = count * size * size * 3;
        assert!(images.is_contiguous() && images.numel() == values);
        // SAFETY: the tensor is a contiguous float32 block of that many values on the CPU, no one else knows of it
        // yet, and every bit pattern is a float.
        let slice = unsafe { std::slice::from_raw_parts_mut(images.data_ptr().cast::<f32>(), values) };
        slice.fill(0.0);
        fill(slice, size * size * 3)?;
        let labels: Vec<i64> = indices.iter().map(|&index| set.labels()[index as usize]).collect();
        Ok(Batch { images: images.permute([0, 3, 1, 2]), labels: Tensor::from_slice(&labels), partners: None })
    }
}

/// Where training is: the batch that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Passes over the training set, from 0.
    pub epoch: u64,
    /// Batches within the epoch, from 0.
    pub step: usize,
}

/// Shuffled, augmented training batches of the native size; the last partial batch of an epoch is left out.
///
/// Sampled in a balanced way, an epoch is of as many images, though not of each once. The order of an epoch is a function of (seed, epoch) and a batch one of (seed, epoch, step), so training can start
/// anywhere and sees what it would have seen.
#[derive(Clone, Debug)]
pub struct TrainLoader {
    set: Arc<ImageSet>,
    table: Arc<[[f32; 256]; 3]>,
    augmentation: Augmentation,
    batch_size: usize,
    seed: u64,
    sampling: ImageSampling,
    /// Which of how many equal shares of each batch is made.
    share: (usize, usize),
}

impl TrainLoader {
    /// Checks that the set fills a batch, and that size and augmentation fit.
    ///
    /// # Errors
    /// [`DataError::Setting`] naming what does not fit.
    pub fn new(
        set: Arc<ImageSet>,
        preprocessing: &Preprocessing,
        augmentation: Augmentation,
        batch_size: usize,
        seed: u64,
    ) -> Result<TrainLoader, DataError> {
        if batch_size == 0 || batch_size > set.len() {
            let reason = format!("but must be 1 to {}, the number of training images", set.len());
            return Err(DataError::Setting { setting: "batch_size", value: batch_size.to_string(), reason });
        }
        augmentation.check(set.size())?;
        let table = table_for(&set, preprocessing)?;
        Ok(TrainLoader { set, table, augmentation, batch_size, seed, sampling: ImageSampling::Uniform, share: (0, 1) })
    }

    /// The same loader with epochs of these images.
    pub fn sampled(self, sampling: ImageSampling) -> TrainLoader {
        TrainLoader { sampling, ..self }
    }

    /// The same loader, of whose batches only the share `rank` of `ranks` is made: what the whole one has at those places.
    ///
    /// # Errors
    /// [`DataError::Setting`] where a batch has no equal shares.
    pub fn shared(self, rank: usize, ranks: usize) -> Result<TrainLoader, DataError> {
        check_shares(self.batch_size, ranks)?;
        Ok(TrainLoader { share: (rank, ranks), ..self })
    }

    /// Whole batches in an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.set.len() / self.batch_size
    }

    /// Images in a batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// The images batches are made of.
    pub fn set(&self) -> &Arc<ImageSet> {
        &self.set
    }

    /// The order in which an epoch goes through the set: a permutation, unless sampling is balanced.
    pub fn order(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = match self.sampling {
            ImageSampling::Uniform => (0..self.set.len() as u32).collect(),
            ImageSampling::Balanced => balance::balanced(self.set.labels(), self.seed, epoch),
        };
        order.shuffle(&mut generator(self.seed, Purpose::Shuffle, epoch, 0));
        order
    }

    /// One batch, made here and now. Panics if `step` is beyond the epoch.
    ///
    /// # Errors
    /// An image whose file is not what it was when the set was read.
    pub fn batch(&self, epoch: u64, step: usize) -> Result<Batch, DataError> {
        self.make(&self.order(epoch), epoch, step)
    }

    /// All batches from a position on, epoch after epoch without end, prepared one ahead in a thread of its own.
    pub(crate) fn batches_from(&self, start: Position) -> TrainBatches {
        let (sender, receiver) = sync_channel(0);
        let loader = self.clone();
        let work = move || {
            // A start at the end of an epoch is the start of the next.
            let steps = loader.steps_per_epoch();
            let mut at = Position { epoch: start.epoch + (start.step / steps) as u64, step: start.step % steps };
            loop {
                let order = loader.order(at.epoch);
                while at.step < steps {
                    let batch = loader.make(&order, at.epoch, at.step).map(|batch| (at, batch));
                    let is_last = batch.is_err();
                    if sender.send(batch).is_err() || is_last {
                        return;
                    }
                    at.step += 1;
                }
                at = Position { epoch: at.epoch + 1, step: 0 };
            }
        };
        let worker = std::thread::Builder::new().name("train-loader".into()).spawn(work).expect("a thread");
        TrainBatches { receiver: Some(receiver), worker: Some(worker) }
    }

    fn make(&self, order: &[u32], epoch: u64, step: usize) -> Result<Batch, DataError> {
        assert!(step < self.steps_per_epoch(), "step {step} of an epoch of {}", self.steps_per_epoch());
        let (size, whole) = (self.set.size(), &order[step * self.batch_size..(step + 1) * self.batch_size]);
        let (rank, ranks) = self.share;
        let count = self.batch_size / ranks;
        let first = rank * count;
        let mixing = self.augmentation.mixing();
        // The last image of a share is mixed with the first of the next.
        let guest = (ranks > 1 && mixing.is_on()).then(|| whole[(first + count) % self.batch_size]);
        let indices: Vec<u32> = whole[first..first + count].iter().copied().chain(guest).collect();
        let place_of = |place: usize| (first + place) % self.batch_size;
        let rng = |purpose: Purpose, place: usize| {
            let mut rng = generator(self.seed, purpose, epoch, step as u64);
            rng.set_stream(place_of(place) as u64);
            rng
        };
        let mut weights = None;
        let mut batch = Batch::fill(&self.set, &indices, |images, bytes| {
            let one = |(place, (out, &index)): (usize, (&mut [f32], &u32))| {
                let mut rng = rng(Purpose::Augment, place);
                self.augmentation.view(&self.set.image(index as usize)?, size, &self.table, &mut rng, out);
                Ok::<(), DataError>(())
            };
            if self.augmentation.is_heavy() || self.set.is_streamed() {
                images.par_chunks_exact_mut(bytes).zip(&indices).enumerate().try_for_each(one)?;
            } else {
                images.chunks_exact_mut(bytes).zip(&indices).enumerate().try_for_each(one)?;
            }
            weights = mixing.is_on().then(|| mixing.apply(images, size, |place| rng(Purpose::Mix, place)));
            Ok(())
        })?;
        batch.partners = weights.map(|weights| Partners::next(&batch.labels, &weights));
        Ok(if guest.is_some() { batch.first(count) } else { batch })
    }
}

/// Whether so many processes can share a batch equally.
///
/// # Errors
/// [`DataError::Setting`] where they cannot.
pub fn check_shares(batch_size: usize, ranks: usize) -> Result<(), DataError> {
    if batch_size.is_multiple_of(ranks) {
        return Ok(());
    }
    let reason = format!("which {ranks} processes cannot share equally");
    Err(DataError::Setting { setting: "batch_size", value: batch_size.to_string(), reason })
}

/// Endless training batches with their positions; see [`TrainLoader::batches_from`].
#[derive(Debug)]
pub struct TrainBatches {
    receiver: Option<Receiver<Result<(Position, Batch), DataError>>>,
    worker: Option<JoinHandle<()>>,
}

impl Iterator for TrainBatches {
    type Item = Result<(Position, Batch), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.receiver.as_ref()?.recv() {
            Ok(batch) => Some(batch),
            // The thread ends by itself only after an error, or if it panics.
            Err(_) => std::panic::resume_unwind(self.worker.take()?.join().err()?),
        }
    }
}

impl Drop for TrainBatches {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// The whole set in order, without augmentation, at `resolution`, on `device`; the last batch may be smaller.
///
/// # Errors
/// [`DataError::Setting`] if the set has another native size than `preprocessing`, or a size is 0.
pub fn eval_batches<'a>(
    set: &'a ImageSet,
    preprocessing: &Preprocessing,
    batch_size: usize,
    resolution: i64,
    device: Device,
) -> Result<EvalBatches<'a>, DataError> {
    let indices = (0..set.len() as u32).collect();
    EvalBatches::new(set, indices, preprocessing, batch_size, resolution, device)
}

/// `count` batches of images drawn without replacement (anew once all were drawn), without augmentation, at
/// `resolution`, on `device`: the same for the same seed, whatever the resolution.
///
/// # Errors
/// As for [`eval_batches`].
pub fn calibration_batches<'a>(
    set: &'a ImageSet,
    preprocessing: &Preprocessing,
    count: usize,
    batch_size: usize,
    resolution: i64,
    seed: u64,
    device: Device,
) -> Result<EvalBatches<'a>, DataError> {
    let indices = drawn(set, count * batch_size, seed);
    EvalBatches::new(set, indices, preprocessing, batch_size, resolution, device)
}

/// The images of [`calibration_batches`], as a set of their own, held in memory, that [`eval_batches`] makes the same
/// batches of.
///
/// # Errors
/// An image whose file is not what it was when the set was read.
///
/// # Panics
/// If `count` is 0.
pub fn calibration_set(set: &ImageSet, count: usize, seed: u64) -> Result<ImageSet, DataError> {
    set.select(&drawn(set, count, seed).into_iter().map(|index| index as usize).collect::<Vec<_>>()).held()
}

/// Places of `count` images drawn without replacement, anew once all were drawn.
fn drawn(set: &ImageSet, count: usize, seed: u64) -> Vec<u32> {
    let mut indices: Vec<u32> = Vec::with_capacity(count);
    for round in 0.. {
        if indices.len() >= count {
            break;
        }
        let mut order: Vec<u32> = (0..set.len() as u32).collect();
        order.shuffle(&mut generator(seed, Purpose::Calibration, round, 0));
        indices.extend(order);
    }
    indices.truncate(count);
    indices
}

/// Unaugmented batches of a list of images.
#[derive(Debug)]
pub struct EvalBatches<'a> {
    set: &'a ImageSet,
    table: Arc<[[f32; 256]; 3]>,
    indices: Vec<u32>,
    next: usize,
    batch_size: usize,
    resolution: i64,
    device: Device,
}

impl<'a> EvalBatches<'a> {
    fn new(
        set: &'a ImageSet,
        indices: Vec<u32>,
        preprocessing: &Preprocessing,
        batch_size: usize,
        resolution: i64,
        device: Device,
    ) -> Result<EvalBatches<'a>, DataError> {
        for (setting, value) in [("batch_size", batch_size as i64), ("resolution", resolution)] {
            if value < 1 {
                let reason = "but must be at least 1".to_string();
                return Err(DataError::Setting { setting, value: value.to_string(), reason });
            }
        }
        let table = table_for(set, preprocessing)?;
        Ok(EvalBatches { set, table, indices, next: 0, batch_size, resolution, device })
    }

    /// Only the batches of rank `rank` of `count`, which take turns.
    pub(crate) fn of_rank(mut self, rank: usize, count: usize) -> EvalBatches<'a> {
        let turns = self.indices.chunks(self.batch_size).skip(rank).step_by(count);
        self.indices = turns.flatten().copied().collect();
        self
    }
}

impl Iterator for EvalBatches<'_> {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = (self.next + self.batch_size).min(self.indices.len());
        let indices = &self.indices[self.next..end];
        if indices.is_empty() {
            return None;
        }
        self.next = end;
        let batch = Batch::fill(self.set, indices, |images, bytes| {
            let one = |(out, &index): (&mut [f32], &u32)| {
                normalise(&self.set.image(index as usize)?, &self.table, out);
                Ok(())
            };
            match self.set.is_streamed() {
                true => images.par_chunks_exact_mut(bytes).zip(indices).try_for_each(one),
                false => images.chunks_exact_mut(bytes).zip(indices).try_for_each(one),
            }
        });
        Some(batch.map(|batch| batch.to_device(self.device).resize(self.resolution)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.indices.len() - self.next).div_ceil(self.batch_size);
        (left, Some(left))
    }
}

impl ExactSizeIterator for EvalBatches<'_> {}

fn table_for(set: &ImageSet, preprocessing: &Preprocessing) -> Result<Arc<[[f32; 256]; 3]>, DataError> {
    if set.size() == preprocessing.native_size {
        return Ok(Arc::new(preprocessing.table()));
    }
    let reason = format!("but the network was made for images of {} pixels", preprocessing.native_size);
    Err(DataError::Setting { setting: "the size of the images", value: set.size().to_string(), reason })
}
