//! Distilled images: made from noise so that the batch-norm statistics they cause match those of real images.
//!
//! Whoever has the weights but not the training images can calibrate any subnet with them. The idea is ZeroQ's (Cai et
//! al. 2020, arXiv:2001.00281, §3.1): descend, in the pixels, the distance between the statistics of a batch and the
//! known ones. Departures from the paper: the statistics of many subnets of one supernet are matched rather than those
//! of one network, each subnet at its resolution and normalised by the batch, as in calibration; standard deviations
//! are compared by their ratio; the images start as noise with the spectrum of natural images; and every step sees them
//! as they will be stored, in 8 bits.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use rand::seq::SliceRandom;
use rand_distr::{Distribution, StandardNormal};
use search::subnet::SubnetConfig;
use tch::{Device, Kind, Tensor};

use crate::data::{Preprocessing, resize};
use crate::forward::statistics::BnStatistics;
use crate::forward::subnet::{Mode, Subnet};
use crate::optim::Adam;
use crate::random::{Purpose, generator};
use crate::supernet::Supernet;

/// How to distil.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistillSettings {
    /// Images that pass through a network together: statistics are matched batch by batch, so calibration must use the
    /// same batches. A partial batch at the end is a batch too.
    pub batch: usize,
    /// Updates of the images; each shows every batch to one subnet.
    pub steps: usize,
    /// Adam's step size at the start, in normalised pixels; falls to zero along half a cosine.
    pub learning_rate: f64,
    /// For the order of subnets.
    pub seed: u64,
}

/// One update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistillStep {
    /// From 0.
    pub step: usize,
    /// Mean over the batches of [`mismatch`] before the update.
    pub mismatch: f64,
}

/// Images on their way from `start` to what causes in each subnet of a pool the statistics given with it.
///
/// What it is after a step depends on what it was before and on the step's number alone, so that
/// [`Distillation::state`] and [`Distillation::resume`] lead to the images that come about in one go.
#[derive(Debug)]
pub struct Distillation<'a> {
    supernet: &'a Supernet,
    pool: &'a [(SubnetConfig, BnStatistics)],
    settings: DistillSettings,
    pixels: PixelRange,
    images: Tensor,
    adam: Adam,
    step: usize,
}

impl<'a> Distillation<'a> {
    /// Before the first step: `start` is `[N, 3, S, S]`, normalised.
    ///
    /// # Panics
    /// If the pool is empty.
    pub fn new(
        supernet: &'a Supernet,
        pool: &'a [(SubnetConfig, BnStatistics)],
        preprocessing: &Preprocessing,
        settings: DistillSettings,
        start: &Tensor,
    ) -> Self {
        assert!(!pool.is_empty(), "there are statistics to match");
        let pixels = PixelRange::new(preprocessing, supernet.device());
        let images = pixels.clamp(&start.detach().to_device(supernet.device()));
        let adam = Adam::new(&images);
        Self { supernet, pool, settings, pixels, images, adam, step: 0 }
    }

    /// One update.
    ///
    /// # Panics
    /// If the pool holds a subnet of another space.
    pub fn update(&mut self) -> DistillStep {
        let batches = self.images.split(self.settings.batch as i64, 0);
        let mut total = 0.0;
        let mut gradients = Vec::with_capacity(batches.len());
        // One batch after the other, or the feature maps of all would be kept.
        for (index, batch) in batches.iter().enumerate() {
            let (config, target) = &self.pool[self.turn(self.step * batches.len() + index)];
            // The gradient at the rounded image is applied to the image behind it (a straight-through estimate).
            let seen = self.pixels.rounded(batch).set_requires_grad(true);
            let subnet = self.supernet.subnet(config).without_gradients();
            let mismatch = differentiable(&subnet, &seen, target);
            total += mismatch.double_value(&[]);
            gradients.push(Tensor::run_backward(&[&mismatch], &[&seen], false, false).remove(0));
        }
        let gradient = Tensor::cat(&gradients, 0) / batches.len() as f64;
        let DistillSettings { learning_rate, steps, .. } = self.settings;
        let learning_rate = learning_rate * 0.5 * (1.0 + (PI * self.step as f64 / steps as f64).cos());
        self.images = self.pixels.clamp(&(&self.images - self.adam.update(&gradient) * learning_rate));
        self.step += 1;
        DistillStep { step: self.step - 1, mismatch: total / batches.len() as f64 }
    }

    /// Which subnet of the pool the `shown`-th batch is shown to: each once, then all again in another order.
    fn turn(&self, shown: usize) -> usize {
        let mut order: Vec<usize> = (0..self.pool.len()).collect();
        let round = (shown / order.len()) as u64;
        order.shuffle(&mut generator(self.settings.seed, Purpose::Subnets, round, 0));
        order[order.len() - 1 - shown % order.len()]
    }

    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.step >= self.settings.steps
    }

    /// Updates that are done.
    pub fn steps_done(&self) -> usize {
        self.step
    }

    /// The images as they are now: of `start`'s shape, with only values that 8-bit pixels can have.
    pub fn images(&self) -> Tensor {
        self.pixels.rounded(&self.images)
    }

    /// All that the next steps depend on, beside the number of steps done.
    pub fn state(&self) -> [(&'static str, &Tensor); 3] {
        let [first, second] = self.adam.moments();
        [("images", &self.images), ("first_moment", first), ("second_moment", second)]
    }

    /// Goes on after `steps_done` updates from what [`Distillation::state`] was then. False, and nothing is changed, if a
    /// tensor is missing or has another shape.
    pub fn resume(&mut self, steps_done: usize, state: &BTreeMap<String, Tensor>) -> bool {
        let tensors = self.state().map(|(name, now)| {
            let then = state.get(name)?;
            let fits = then.size() == now.size() && then.kind() == now.kind();
            fits.then(|| then.to_device(now.device()))
        });
        let [Some(images), Some(first), Some(second)] = tensors else { return false };
        (self.images, self.adam) = (images, Adam::resumed([first, second], steps_done));
        self.step = steps_done;
        true
    }
}

/// How far the statistics that one batch `[N, 3, S, S]` (any S) causes in `subnet` are from `target`: the mean over
/// batch norms and channels of ((μ − μ*)/σ*)² + ln²(σ/σ*).
pub fn mismatch(subnet: &Subnet, batch: &Tensor, target: &BnStatistics) -> f64 {
    tch::no_grad(|| differentiable(subnet, batch, target).double_value(&[]))
}

fn differentiable(subnet: &Subnet, batch: &Tensor, target: &BnStatistics) -> Tensor {
    let mut layers = Vec::new();
    let batch = resize(batch, i64::from(subnet.config().resolution));
    let _ = subnet.forward(&batch, Mode::Match { target, mismatch: &mut layers });
    Tensor::stack(&layers, 0).mean(Kind::Float)
}

/// Images `[count, 3, size, size]` (normalised, in the range of pixels) of noise with the spectrum of natural images,
/// power 1/f^α (Field 1987, doi:10.1364/JOSAA.4.002379, finds α near 2; small photographs fall faster), in which the
/// three colours mostly go together.
pub fn natural_noise(count: usize, size: usize, preprocessing: &Preprocessing, seed: u64) -> Tensor {
    let mut images = Tensor::zeros([count as i64, 3, size as i64, size as i64], (Kind::Float, Device::Cpu));
    let mut total = 0.0;
    // One octave of spatial frequency after the other; with α = 2 all would have the same variance.
    for cells in std::iter::successors(Some(1), |cells| Some(2 * cells)).take_while(|cells| *cells <= size) {
        let mut rng = generator(seed, Purpose::Synthetic, cells as u64, 0);
        let mut noise = |channels: usize| {
            let values: Vec<f32> =
                StandardNormal.sample_iter(&mut rng).take(count * channels * cells * cells).collect();
            Tensor::from_slice(&values).view([count as i64, channels as i64, cells as i64, cells as i64])
        };
        let octave = noise(1) * LIGHTNESS.sqrt() + noise(3) * (1.0 - LIGHTNESS).sqrt();
        let variance = (cells as f64).powf(2.0 - ALPHA);
        images += resize(&octave, size as i64) * variance.sqrt();
        total += variance;
    }
    PixelRange::new(preprocessing, Device::Cpu).clamp(&(images * (CONTRAST / f64::sqrt(total))))
}

/// Exponent of the noise's power spectrum: neighbouring pixels then correlate as in 32-pixel photographs.
const ALPHA: f64 = 2.5;
/// Share of the noise's variance that the three colours have in common.
const LIGHTNESS: f64 = 0.9;
/// Makes up for the contrast lost between the cells of an octave.
const CONTRAST: f64 = 1.15;

/// The 8-bit pixels (u8 `[N, S, S, 3]`, on the CPU) nearest to normalised images `[N, 3, S, S]`.
pub fn to_bytes(images: &Tensor, preprocessing: &Preprocessing) -> Tensor {
    let pixels = PixelRange::new(preprocessing, images.device());
    let bytes = pixels.levels(images).permute([0, 2, 3, 1]).to_kind(Kind::Uint8);
    bytes.to_device(Device::Cpu).contiguous()
}

/// Normalised images `[N, 3, S, S]` of 8-bit pixels (u8 `[N, S, S, 3]`), the same values that data loaders give.
pub fn from_bytes(bytes: &Tensor, preprocessing: &Preprocessing) -> Tensor {
    PixelRange::new(preprocessing, bytes.device()).normalised(&bytes.permute([0, 3, 1, 2]).to_kind(Kind::Double))
}

/// Where normalised pixels can be. `[1, 3, 1, 1]` each, double.
#[derive(Debug)]
struct PixelRange {
    mean: Tensor,
    std: Tensor,
    low: Tensor,
    high: Tensor,
}

impl PixelRange {
    fn new(preprocessing: &Preprocessing, device: Device) -> Self {
        let channels = |values: [f64; 3]| Tensor::from_slice(&values).view([1, 3, 1, 1]).to_device(device);
        let (mean, std) = (channels(preprocessing.mean), channels(preprocessing.std));
        let [low, high] = [0.0_f64, 1.0].map(|value| ((-&mean + value) / &std).to_kind(Kind::Float));
        Self { mean, std, low, high }
    }

    fn clamp(&self, images: &Tensor) -> Tensor {
        images.clamp_tensor(Some(&self.low), Some(&self.high))
    }

    /// 0 to 255, double.
    fn levels(&self, images: &Tensor) -> Tensor {
        ((images * &self.std + &self.mean) * 255.0).round().clamp(0.0, 255.0)
    }

    fn normalised(&self, levels: &Tensor) -> Tensor {
        ((levels / 255.0 - &self.mean) / &self.std).to_kind(Kind::Float)
    }

    fn rounded(&self, images: &Tensor) -> Tensor {
        self.normalised(&self.levels(images))
    }
}

#[cfg(test)]
mod tests {
    use search::space::SearchSpace;

    use super::*;
    use crate::data::{DataSource, LoadOptions, calibration_batches, eval_batches};
    use crate::forward::calibrate::calibrate;

    /// A supernet with fresh weights, and two of its subnets with their statistics on synthetic images.
    fn supernet_and_pool(preprocessing: &Preprocessing) -> (Supernet, Vec<(SubnetConfig, BnStatistics)>) {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let supernet = Supernet::new(&space, 3, Device::Cpu);
        let set = "synthetic:64".parse::<DataSource>().unwrap().train(&LoadOptions::default()).unwrap().images;
        let archs = [space.smallest(24).unwrap(), space.smallest(28).unwrap()];
        let pool = archs.map(|arch| {
            let config = space.resolve(&arch);
            let size = i64::from(arch.resolution());
            let batches = calibration_batches(&set, preprocessing, 1, 64, size, 1, Device::Cpu).unwrap();
            let images: Vec<Tensor> = batches.map(|batch| batch.unwrap().images).collect();
            let statistics = calibrate(&supernet.subnet(&config), &images);
            (config, statistics)
        });
        (supernet, pool.into())
    }

    #[test]
    fn a_batch_matches_its_own_statistics() {
        let preprocessing = Preprocessing::cifar10();
        let (supernet, pool) = supernet_and_pool(&preprocessing);
        let subnet = supernet.subnet(&pool[1].0);
        let images = natural_noise(16, 32, &preprocessing, 1);
        let own = calibrate(&subnet, [&resize(&images, 28)]);
        let (to_own, to_other) = (mismatch(&subnet, &images, &own), mismatch(&subnet, &images, &pool[1].1));
        assert!(to_own < 1e-6 && to_other > 1e-3, "{to_own} from its own, {to_other} from others");
    }

    #[test]
    fn distilled_images_come_closer_and_are_pixels() {
        // Many small operations: threads would cost more than they bring, much more on a busy machine.
        tch::set_num_threads(1);
        let preprocessing = Preprocessing::cifar10();
        let (supernet, pool) = supernet_and_pool(&preprocessing);
        let settings = DistillSettings { batch: 8, steps: 20, learning_rate: 0.1, seed: 5 };
        let start = natural_noise(12, 32, &preprocessing, 1);
        let mut distillation = Distillation::new(&supernet, &pool, &preprocessing, settings, &start);
        let mut half = None;
        while !distillation.is_done() {
            assert_eq!(distillation.update().step, distillation.steps_done() - 1);
            if distillation.steps_done() == 9 {
                half = Some(distillation.state().map(|(name, tensor)| (name.to_owned(), tensor.copy())));
            }
        }
        let made = distillation.images();
        assert_eq!(made.size(), start.size());
        assert!(supernet.weights().iter().all(|weight| !weight.tensor.grad().defined()), "weights got gradients");

        let mut resumed = Distillation::new(&supernet, &pool, &preprocessing, settings, &start);
        let half = BTreeMap::from(half.unwrap());
        let without = half.iter().skip(1).map(|(name, tensor)| (name.clone(), tensor.copy())).collect();
        assert!(!resumed.resume(9, &without) && resumed.steps_done() == 0);
        assert!(resumed.resume(9, &half));
        while !resumed.is_done() {
            resumed.update();
        }
        assert_eq!(resumed.images(), made, "a making that was stopped came to other images");
        let total = |images: &Tensor| -> f64 {
            let batches = images.split(8, 0);
            let each = pool.iter().flat_map(|(config, target)| {
                let subnet = supernet.subnet(config);
                batches.iter().map(move |batch| mismatch(&subnet, batch, target)).collect::<Vec<_>>()
            });
            each.sum()
        };
        let (before, after) = (total(&start), total(&made));
        assert!(after < before / 2.0, "{before} became {after}");
        assert_eq!(from_bytes(&to_bytes(&made, &preprocessing), &preprocessing), made);
    }

    #[test]
    fn bytes_become_what_data_loaders_give() {
        let set = "synthetic:4".parse::<DataSource>().unwrap().train(&LoadOptions::default()).unwrap().images;
        let (preprocessing, size) = (Preprocessing::cifar10(), set.size() as i64);
        let loaded = eval_batches(&set, &preprocessing, 4, size, Device::Cpu).unwrap().next().unwrap().unwrap().images;
        let mut pixels = Vec::new();
        set.each_image(|image| pixels.extend_from_slice(image)).unwrap();
        let bytes = Tensor::from_slice(&pixels).view([-1, size, size, 3]).narrow(0, 0, 4);
        assert_eq!(from_bytes(&bytes, &preprocessing), loaded);
        assert_eq!(to_bytes(&loaded, &preprocessing), bytes);
    }

    #[test]
    fn noise_is_smooth_coloured_and_repeatable() {
        let preprocessing = Preprocessing::cifar10();
        let noise = natural_noise(64, 32, &preprocessing, 1);
        assert_eq!(noise, natural_noise(64, 32, &preprocessing, 1));
        assert_ne!(noise, natural_noise(64, 32, &preprocessing, 2));
        let correlation = |a: &Tensor, b: &Tensor| {
            let stack = Tensor::stack(&[a.flatten(0, -1), b.flatten(0, -1)], 0);
            stack.corrcoef().double_value(&[0, 1])
        };
        let neighbours = correlation(&noise.narrow(3, 0, 31), &noise.narrow(3, 1, 31));
        assert!((0.85..0.97).contains(&neighbours), "neighbouring pixels correlate by {neighbours}");
        let colours = correlation(&noise.select(1, 0), &noise.select(1, 2));
        assert!((0.8..0.97).contains(&colours), "red and blue correlate by {colours}");
    }
}
