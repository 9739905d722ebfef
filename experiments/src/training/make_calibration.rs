//! Images that come with a bundle for batch-norm calibration, made: distilled (see [`supernet::distill`]) so that a pool of
//! subnets gets from them the statistics that it gets from real training images.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use search::arch::ArchSpec;
use search::space::SearchSpace;
use search::subnet::SubnetConfig;
use storage::digest::Digester;
use supernet::data::ImageSet;
use supernet::distill::{DistillSettings, DistillStep, Distillation, mismatch, natural_noise, to_bytes};
use supernet::statistics::BnStatistics;
use supernet::supernet::Supernet;
use supernet::tensors::Metadata;
use tch::Tensor;

use crate::error::{Error, Result};
use crate::folders::calibration_file;
use crate::folders::image_settings::ImageSettings;
use crate::folders::supernet_file::digest_of;
use crate::training::identity;
use crate::training::images::CalibrationImages;
use crate::training::open_bundle::OpenBundle;
use crate::training::sample::{distinct, resolutions_of};
use crate::training::unfinished_images::Unfinished;

/// Bytes of pixels in a file.
const MOST_BYTES: usize = 900_000;
/// Seconds of work that a kill may cost.
const SAVED_EVERY: Duration = Duration::from_secs(20);

/// How to make the images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DistillPlan {
    /// Number of images.
    pub images: usize,
    /// Height and width; they are resized to each subnet's resolution.
    pub size: usize,
    /// Images that pass through a network together.
    pub batch: usize,
    /// Updates.
    pub steps: usize,
    /// Adam's step size at the start.
    pub learning_rate: f64,
    /// Subnets whose statistics are matched: largest and smallest ones first, then random ones.
    pub pool: usize,
    /// For subnets, noise and order.
    pub seed: u64,
}

impl DistillPlan {
    /// As many images of at most 64 pixels as the file may hold, at most 256, 64 of which pass together (the feature maps of
    /// all of them in a phone's network would take gigabytes); 600 updates for 32 subnets.
    pub(crate) fn for_native_size(native_size: usize, seed: u64) -> Self {
        let size = native_size.min(64);
        let images = (MOST_BYTES / (3 * size * size)).min(256);
        Self { images, size, batch: images.min(64), steps: 600, learning_rate: 0.1, pool: 32, seed }
    }

    /// [`DistillPlan::for_native_size`] of `bundle`, with its seed.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub(crate) fn for_bundle(bundle: &OpenBundle) -> Result<Self> {
        let settings = bundle.settings()?;
        Ok(Self::for_native_size(settings.preprocessing.native_size, settings.seed))
    }

    /// The subnets whose statistics are matched, all different: the largest and the smallest at the lowest, the middle
    /// and the highest resolution, then random ones, every other one at the highest: there the images are used as they are,
    /// while resizing to a lower one smooths most of what is wrong with them.
    pub(super) fn pool_of(&self, space: &SearchSpace) -> Vec<ArchSpec> {
        let resolutions = space.resolutions();
        let ends = [resolutions.len() - 1, 0, resolutions.len() / 2].map(|index| resolutions[index]);
        let extreme = ends.into_iter().flat_map(|resolution| {
            [space.largest(resolution), space.smallest(resolution)].map(|arch| arch.expect("its own resolution"))
        });
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let highest = resolutions[resolutions.len() - 1];
        let random = (0..100 * self.pool).map(|turn| match turn % 2 {
            0 => space.sample_at(highest, &mut rng),
            _ => space.sample(&mut rng),
        });
        distinct(extreme.chain(random), self.pool, &HashSet::new())
    }
}

/// Distilled images with the story of how they came about.
#[derive(Debug)]
pub(crate) struct DistilledImages {
    /// u8 `[N, S, S, 3]`.
    pub images: Tensor,
    /// What was asked for.
    pub plan: DistillPlan,
    /// The space whose subnets they calibrate.
    pub space: String,
    /// Mean over pool and batches of [`mismatch`] of the noise they were made from.
    pub mismatch_of_noise: f64,
    /// Mean over pool and batches of [`mismatch`] of the images.
    pub mismatch: f64,
}

/// Makes images for `supernet`, whose subnets get their true statistics from the training images `train`. `progress` hears
/// of each update; with `unfinished` a making that is stopped, by `stop` or by a kill, goes on where it was.
///
/// # Errors
/// Images of another size than `settings` say; a file that cannot be written; [`Error::Interrupted`] (all is saved).
pub(crate) fn make(
    supernet: &Supernet,
    settings: &ImageSettings,
    train: &ImageSet,
    plan: &DistillPlan,
    unfinished: Option<&Unfinished>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(DistillStep),
) -> Result<DistilledImages> {
    let check = || if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) };
    let space = supernet.space();
    let archs = plan.pool_of(space);
    let real = CalibrationImages::of_training(train, settings, &resolutions_of(&archs), supernet.device())?;
    let mut saved = Instant::now();
    let mut pool: Vec<(SubnetConfig, BnStatistics)> = Vec::new();
    for (index, arch) in archs.iter().enumerate() {
        let subnet = supernet.subnet(&space.resolve(arch));
        let known = unfinished.and_then(|unfinished| unfinished.statistics(index, &subnet));
        // What an earlier process left holds it, and perhaps updates of the images.
        let is_new = known.is_none();
        let statistics = known.map_or_else(|| real.calibrate(&subnet), Ok)?;
        pool.push((subnet.config().clone(), statistics));
        let is_stopped = check().is_err();
        let is_due = is_new && (is_stopped || saved.elapsed() >= SAVED_EVERY);
        if let Some(unfinished) = unfinished.filter(|_| is_due) {
            unfinished.save(&pool, None)?;
            saved = Instant::now();
        }
        if is_stopped {
            let taken = format!("statistics of {} of {} subnets taken", pool.len(), archs.len());
            return Err(Error::Interrupted.within(taken));
        }
    }
    tracing::info!(subnets = pool.len(), images = plan.images, "statistics of real images taken; distilling");
    let preprocessing = &settings.preprocessing;
    let noise = natural_noise(plan.images, plan.size, preprocessing, plan.seed).to_device(supernet.device());
    let how =
        DistillSettings { batch: plan.batch, steps: plan.steps, learning_rate: plan.learning_rate, seed: plan.seed };
    let mut distillation = Distillation::new(supernet, &pool, preprocessing, how, &noise);
    if let Some(unfinished) = unfinished {
        unfinished.resume(&mut distillation);
    }
    while !distillation.is_done() {
        progress(distillation.update());
        let is_stopped = check().is_err();
        if let Some(unfinished) = unfinished.filter(|_| is_stopped || saved.elapsed() >= SAVED_EVERY) {
            unfinished.save(&pool, Some(&distillation))?;
            saved = Instant::now();
        }
        if is_stopped {
            return Err(Error::Interrupted.within(format!("{} updates saved", distillation.steps_done())));
        }
    }
    let images = distillation.images();
    let mean_mismatch = |images: &Tensor| {
        let batches = images.split(plan.batch as i64, 0);
        let of_one = |(config, target): &(SubnetConfig, BnStatistics)| -> f64 {
            let subnet = supernet.subnet(config);
            batches.iter().map(|batch| mismatch(&subnet, batch, target)).sum()
        };
        pool.iter().map(of_one).sum::<f64>() / (pool.len() * batches.len()) as f64
    };
    Ok(DistilledImages {
        mismatch_of_noise: mean_mismatch(&noise),
        mismatch: mean_mismatch(&images),
        images: to_bytes(&images, preprocessing),
        plan: *plan,
        space: space.id().to_string(),
    })
}

impl DistilledImages {
    /// Writes `calibration/images.safetensors` of the bundle in `folder` and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf> {
        let DistillPlan { images, size, batch, steps, learning_rate, pool, seed } = self.plan;
        let about = format!(
            "{images} images, {size} x {size}, for batch-norm calibration of any subnet of {}. They are not photographs: \
             noise, changed in {steps} steps until the batch-norm statistics of {pool} subnets came close to those \
             caused by real training images (after ZeroQ, arXiv:2001.00281). Pass them through a network in batches of \
             {batch}, in this order.",
            self.space
        );
        let metadata = [
            ("about", about),
            ("space", self.space.clone()),
            ("layout", "u8, image x row x column x RGB".to_owned()),
            ("batch", batch.to_string()),
            ("pool", pool.to_string()),
            ("seed", seed.to_string()),
            ("steps", steps.to_string()),
            ("learning_rate", learning_rate.to_string()),
            ("mismatch_of_noise", format!("{:.6}", self.mismatch_of_noise)),
            ("mismatch", format!("{:.6}", self.mismatch)),
        ];
        let metadata: Metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        calibration_file::write(folder, &self.images, metadata)
    }
}

/// Makes images for `bundle` with the training images of its source, and puts them there. A making that is stopped goes on
/// where it was, to the same images.
///
/// # Errors
/// A damaged bundle, images that cannot be read, a file that cannot be written; [`Error::Interrupted`] (all is saved).
pub(crate) fn make_for_bundle(
    bundle: &OpenBundle,
    plan: &DistillPlan,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(DistillStep),
) -> Result<DistilledImages> {
    let (supernet, settings, train) = (bundle.supernet()?, bundle.settings()?, &bundle.training()?.train);
    let of = Digester::new("distillation")
        .text(&supernet.space().to_yaml())
        .digest(&digest_of(&supernet.tensors()))
        .digest(&identity::of_images(train, &settings.preprocessing)?)
        .text(&format!("{:?} of seed {}, {plan:?}", settings.calibration, settings.seed))
        .finish();
    let folder = bundle.bundle().folder();
    let unfinished = Unfinished::open(folder, of);
    let made = make(supernet, settings, train, plan, Some(&unfinished), stop, progress)?;
    made.write(folder)?;
    unfinished.end()?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> SearchSpace {
        SearchSpace::builtin("mcu-cifar").unwrap()
    }

    #[test]
    fn the_pool_has_the_extremes_and_no_subnet_twice() {
        let (space, plan) = (space(), DistillPlan::for_native_size(32, 1));
        let pool = plan.pool_of(&space);
        assert_eq!(pool.len(), 32);
        assert_eq!(pool.iter().collect::<HashSet<_>>().len(), 32);
        for resolution in [24, 28, 32] {
            assert!(pool.contains(&space.largest(resolution).unwrap()));
            assert!(pool.contains(&space.smallest(resolution).unwrap()));
        }
    }

    #[test]
    fn every_plan_fits_into_the_file() {
        for native_size in [8, 28, 32, 64, 224] {
            let DistillPlan { images, size, .. } = DistillPlan::for_native_size(native_size, 0);
            assert!(images >= 64 && images * size * size * 3 <= MOST_BYTES, "{images} of {size}");
        }
    }
}
