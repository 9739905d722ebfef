//! Images that come with a bundle for batch-norm calibration: made by the project itself, since real training images
//! may often not be passed on.
//!
//! They are distilled (see [`supernet::distill`]) so that a pool of subnets gets from them the statistics that it gets
//! from real training images. `calibration/images.safetensors` holds one tensor `images`, u8 `[N, S, S, 3]`; its
//! metadata say how it was made and into which batches it has to be divided. The file stays below a megabyte.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use search::arch::ArchSpec;
use search::space::SearchSpace;
use search::subnet::SubnetConfig;
use supernet::data::{DataSource, ImageSet, Preprocessing, resize};
use supernet::distill::{DistillSettings, DistillStep, distill, from_bytes, mismatch, natural_noise, to_bytes};
use supernet::evaluate::Accuracy;
use supernet::statistics::BnStatistics;
use supernet::supernet::Supernet;
use supernet::tensors::{Metadata, load_safetensors, save_safetensors};
use tch::{Device, Kind, Tensor};

use crate::bundle::Bundle;
use crate::error::AppError;
use crate::eval::ImageSettings;
use crate::measure::{CalibrationImages, Exam, measure};
use crate::weights::load_supernet;

const FILE: &str = "images.safetensors";
const SCHEMA: &str = "ofa.calibration-images/1";
const TENSOR: &str = "images";
/// Bytes of pixels in a file.
const MOST_BYTES: usize = 900_000;

/// How to make the images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// How many.
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

impl Plan {
    /// As many images of at most 64 pixels as the file may hold, at most 256, in one batch; 600 updates for 32 subnets.
    pub fn for_native_size(native_size: usize, seed: u64) -> Self {
        let size = native_size.min(64);
        let images = (MOST_BYTES / (3 * size * size)).min(256);
        Self { images, size, batch: images, steps: 600, learning_rate: 0.1, pool: 32, seed }
    }

    /// The subnets whose statistics are matched, all different: the largest and the smallest at the lowest, the middle
    /// and the highest resolution, then random ones, every other one at the highest: there the images are used as they are,
    /// while resizing to a lower one smooths most of what is wrong with them.
    fn pool_of(&self, space: &SearchSpace) -> Vec<ArchSpec> {
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

/// The first `count` that are neither equal nor in `without`; fewer if there are no more.
fn distinct(archs: impl Iterator<Item = ArchSpec>, count: usize, without: &HashSet<ArchSpec>) -> Vec<ArchSpec> {
    let mut seen = without.clone();
    archs.filter(|arch| seen.insert(arch.clone())).take(count).collect()
}

/// Distilled images with the story of how they came about.
#[derive(Debug)]
pub struct Made {
    /// u8 `[N, S, S, 3]`.
    pub images: Tensor,
    /// What was asked for.
    pub plan: Plan,
    /// The space whose subnets they calibrate.
    pub space: String,
    /// Mean over pool and batches of [`mismatch`] of the noise they were made from.
    pub mismatch_of_noise: f64,
    /// The same of the images.
    pub mismatch: f64,
}

/// Makes images for `supernet`, whose subnets get their true statistics from the training images `train`.
///
/// # Errors
/// Images of another size than `settings` say.
pub fn make(
    supernet: &Supernet,
    settings: &ImageSettings,
    train: &ImageSet,
    plan: &Plan,
    progress: &mut dyn FnMut(DistillStep),
) -> Result<Made> {
    let space = supernet.space();
    let archs = plan.pool_of(space);
    let real = settings.calibration_from(train, &resolutions_of(&archs), supernet.device())?;
    let pool: Vec<(SubnetConfig, BnStatistics)> = archs
        .iter()
        .map(|arch| {
            let subnet = supernet.subnet(&space.resolve(arch));
            let statistics = real.calibrate(&subnet);
            (subnet.config().clone(), statistics)
        })
        .collect();
    let preprocessing = &settings.preprocessing;
    let noise = natural_noise(plan.images, plan.size, preprocessing, plan.seed).to_device(supernet.device());
    let how =
        DistillSettings { batch: plan.batch, steps: plan.steps, learning_rate: plan.learning_rate, seed: plan.seed };
    let images = distill(supernet, &pool, preprocessing, &how, &noise, progress);
    let mean_mismatch = |images: &Tensor| {
        let batches = images.split(plan.batch as i64, 0);
        let of_one = |(config, target): &(SubnetConfig, BnStatistics)| -> f64 {
            let subnet = supernet.subnet(config);
            batches.iter().map(|batch| mismatch(&subnet, batch, target)).sum()
        };
        pool.iter().map(of_one).sum::<f64>() / (pool.len() * batches.len()) as f64
    };
    Ok(Made {
        mismatch_of_noise: mean_mismatch(&noise),
        mismatch: mean_mismatch(&images),
        images: to_bytes(&images, preprocessing),
        plan: *plan,
        space: space.id().to_string(),
    })
}

impl Made {
    /// Writes `calibration/images.safetensors` of the bundle in `folder` and returns its path.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let Plan { images, size, batch, steps, learning_rate, pool, seed } = self.plan;
        let about = format!(
            "{images} images, {size} x {size}, for batch-norm calibration of any subnet of {}. They are not photographs: \
             noise, changed in {steps} steps until the batch-norm statistics of {pool} subnets came close to those \
             caused by real training images (after ZeroQ, arXiv:2001.00281). Pass them through a network in batches of \
             {batch}, in this order.",
            self.space
        );
        let metadata = [
            ("schema", SCHEMA.to_owned()),
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
        let path = file_in(folder);
        save_safetensors(&path, &[(TENSOR.to_owned(), &self.images)], &metadata)?;
        Ok(path)
    }
}

/// [`make`] for the bundle in `folder` with the training images of `data`; writes them there. Without a plan, that of
/// [`Plan::for_native_size`] with the bundle's seed.
///
/// # Errors
/// A damaged bundle, images that cannot be read, a file that cannot be written.
pub fn make_for_bundle(
    folder: &Path,
    space: &SearchSpace,
    data: &DataSource,
    plan: Option<Plan>,
    device: Device,
    progress: &mut dyn FnMut(DistillStep),
) -> Result<Made> {
    let supernet = load_supernet(folder, space, device)?;
    let settings = ImageSettings::of_bundle(folder)?;
    let (train, _) = settings.training(data, space)?;
    let plan = plan.unwrap_or_else(|| Plan::for_native_size(settings.preprocessing.native_size, settings.seed));
    let made = make(&supernet, &settings, &train, &plan, progress)?;
    made.write(folder)?;
    Ok(made)
}

/// The images of the bundle in `folder` at each of `resolutions`, normalised, in the batches they were made in.
///
/// # Errors
/// A missing or damaged file.
pub fn load(
    folder: &Path,
    preprocessing: &Preprocessing,
    resolutions: &[u32],
    device: Device,
) -> Result<CalibrationImages> {
    let Stored { images, batch, .. } = Stored::read(folder)?;
    let images = from_bytes(&images, preprocessing).to_device(device);
    let at = |&resolution: &u32| (resolution, resize(&images, i64::from(resolution)).split(batch, 0));
    let batches: BTreeMap<u32, Vec<Tensor>> = resolutions.iter().map(at).collect();
    Ok(CalibrationImages::new(batches))
}

/// What the file says, checked.
struct Stored {
    images: Tensor,
    batch: i64,
    pool: usize,
    seed: u64,
}

impl Stored {
    fn read(folder: &Path) -> Result<Self> {
        let path = file_in(folder);
        if !path.exists() {
            anyhow::bail!(AppError::BundleLacks { bundle: folder.to_path_buf(), file: Bundle::CALIBRATION });
        }
        let wrong = |reason: String| AppError::FileInFolder { path: path.clone(), reason };
        let (mut tensors, metadata) = load_safetensors(&path)?;
        if metadata.get("schema").is_none_or(|schema| schema != SCHEMA) {
            anyhow::bail!(wrong(format!("its schema is not `{SCHEMA}`")));
        }
        let images = tensors.remove(TENSOR).ok_or_else(|| wrong(format!("holds no tensor `{TENSOR}`")))?;
        let shape = images.size();
        let is_square = matches!(shape[..], [count, height, width, 3] if count > 0 && height > 0 && height == width);
        if !is_square || images.kind() != Kind::Uint8 {
            anyhow::bail!(wrong(format!("`{TENSOR}` is {:?} {shape:?} instead of u8 [N, S, S, 3]", images.kind())));
        }
        let number = |key: &'static str| -> Result<u64, AppError> {
            let value = metadata.get(key).and_then(|text| text.parse().ok());
            value.ok_or_else(|| wrong(format!("its metadata lack the number `{key}`")))
        };
        let batch = number("batch")?;
        if batch == 0 {
            anyhow::bail!(wrong("its batches are empty".into()));
        }
        let batch = batch.min(shape[0] as u64) as i64;
        Ok(Self { batch, pool: number("pool")? as usize, seed: number("seed")?, images })
    }
}

fn file_in(folder: &Path) -> PathBuf {
    folder.join(Bundle::CALIBRATION).join(FILE)
}

fn resolutions_of(archs: &[ArchSpec]) -> Vec<u32> {
    let mut resolutions: Vec<u32> = archs.iter().map(ArchSpec::resolution).collect();
    resolutions.sort_unstable();
    resolutions.dedup();
    resolutions
}

/// Subnets under both calibrations, on the same held-out images.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// One per subnet.
    pub rows: Vec<Row>,
}

/// One subnet of a [`Comparison`].
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which.
    pub arch: ArchSpec,
    /// Calibrated on real training images.
    pub real: Accuracy,
    /// Calibrated on the bundle's own images.
    pub made: Accuracy,
}

impl Row {
    /// Top-1 lost (negative) or won by the bundle's images, in points.
    pub fn difference(&self) -> f64 {
        100.0 * (self.made.top1 - self.real.top1)
    }
}

impl Comparison {
    /// The largest change of top-1, up or down, in points.
    pub fn worst(&self) -> f64 {
        self.rows.iter().map(|row| row.difference().abs()).fold(0.0, f64::max)
    }

    /// The mean change of top-1 in points.
    pub fn mean(&self) -> f64 {
        self.rows.iter().map(Row::difference).sum::<f64>() / self.rows.len().max(1) as f64
    }
}

/// A table for people.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "resolution  real top-1  own top-1  points")?;
        for row in &self.rows {
            let [real, made] = [&row.real, &row.made].map(|accuracy| 100.0 * accuracy.top1);
            writeln!(f, "{:>10}  {real:>10.2}  {made:>9.2}  {:>+6.2}", row.arch.resolution(), row.difference())?;
        }
        let images = self.rows.first().map_or(0, |row| row.real.images);
        write!(f, "mean {:+.2}, at most {:.2} points apart on {images} images", self.mean(), self.worst())
    }
}

/// Measures `count` random subnets, none of them in the pool that the bundle's images were made for, on the held-out
/// images of `data`: calibrated on its training images and on the bundle's.
///
/// # Errors
/// A damaged bundle or images that cannot be read.
pub fn compare(
    folder: &Path,
    space: &SearchSpace,
    data: &DataSource,
    count: usize,
    seed: u64,
    device: Device,
) -> Result<Comparison> {
    let supernet = load_supernet(folder, space, device)?;
    let settings = ImageSettings::of_bundle(folder)?;
    let stored = Stored::read(folder)?;
    let plan = Plan {
        pool: stored.pool,
        seed: stored.seed,
        ..Plan::for_native_size(settings.preprocessing.native_size, stored.seed)
    };
    let pool = plan.pool_of(space).into_iter().collect();
    // Another generator than the pool's, or equal seeds would draw its subnets again.
    let mut rng = ChaCha8Rng::seed_from_u64(!seed);
    let random = (0..100 * count).map(|_| space.sample(&mut rng));
    let archs = distinct(random, count, &pool);
    let resolutions = resolutions_of(&archs);
    let (train, held_out) = settings.training(data, space)?;
    let real = settings.calibration_from(&train, &resolutions, device)?;
    let made = load(folder, &settings.preprocessing, &resolutions, device)
        .with_context(|| format!("calibration images of {}", folder.display()))?;
    let exam = Exam::new(&held_out, &settings.preprocessing, &resolutions, device)?;
    let rows = archs.into_iter().map(|arch| Row {
        real: measure(&supernet, &arch, &real, &exam),
        made: measure(&supernet, &arch, &made, &exam),
        arch,
    });
    Ok(Comparison { rows: rows.collect() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use storage::failure::FailureKind;

    use super::*;
    use crate::weights::{Stored, save_supernet};

    const RECIPE: &str = "
schema: ofa.recipe/1
name: tiny
space: mcu-cifar
held_out: 20
seed: 1
batch_size: 10
calibration: { batches: 2, batch_size: 16 }
phases:
  - { name: full, epochs: 1, learning_rate: 0.1, with_largest: true }
";

    fn space() -> SearchSpace {
        SearchSpace::builtin("mcu-cifar").unwrap()
    }

    /// A bundle with fresh weights.
    fn bundle() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        save_supernet(folder.path(), &Supernet::new(&space(), 1, Device::Cpu), Stored::Fp32).unwrap();
        let names: Vec<String> = (0..10).map(|class| class.to_string()).collect();
        Preprocessing::cifar10().describe(None, &names).write(&folder.path().join(Bundle::PREPROCESSING)).unwrap();
        fs::write(folder.path().join(Bundle::RECIPE), RECIPE).unwrap();
        folder
    }

    #[test]
    fn a_bundles_images_are_made_loaded_and_compared() {
        tch::set_num_threads(1); // Many small operations, perhaps on a busy machine.
        let (folder, data): (_, DataSource) = (bundle(), "synthetic:80".parse().unwrap());
        let plan = Plan { images: 10, batch: 8, steps: 6, pool: 2, ..Plan::for_native_size(32, 3) };
        let mut steps = 0;
        let made =
            make_for_bundle(folder.path(), &space(), &data, Some(plan), Device::Cpu, &mut |_| steps += 1).unwrap();
        assert_eq!(steps, 6);
        assert!(made.mismatch < made.mismatch_of_noise, "{} became {}", made.mismatch_of_noise, made.mismatch);
        assert_eq!(made.images.size(), [10, 32, 32, 3]);

        let (stored, metadata) = load_safetensors(&file_in(folder.path())).unwrap();
        assert_eq!(stored[TENSOR], made.images);
        assert_eq!(metadata["seed"], "3");
        let loaded = load(folder.path(), &Preprocessing::cifar10(), &[24, 32], Device::Cpu).unwrap();
        let subnet = space().resolve(&space().smallest(24).unwrap());
        let supernet = load_supernet(folder.path(), &space(), Device::Cpu).unwrap();
        assert_eq!(
            loaded.calibrate(&supernet.subnet(&subnet)).layers().len(),
            supernet.subnet(&subnet).config().blocks.len() * 3 + 1
        );

        let comparison = compare(folder.path(), &space(), &data, 2, 3, Device::Cpu).unwrap();
        assert_eq!(comparison.rows.len(), 2);
        let pool = plan.pool_of(&space());
        assert!(comparison.rows.iter().all(|row| row.real.images == 20 && !pool.contains(&row.arch)));
        assert!(comparison.to_string().ends_with("on 20 images"));
    }

    #[test]
    fn the_pool_has_the_extremes_and_no_subnet_twice() {
        let (space, plan) = (space(), Plan::for_native_size(32, 1));
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
            let Plan { images, size, .. } = Plan::for_native_size(native_size, 0);
            assert!(images >= 64 && images * size * size * 3 <= MOST_BYTES, "{images} of {size}");
        }
    }

    #[test]
    fn a_bundle_without_images_or_with_a_foreign_file_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let problem = || {
            let error = load(folder.path(), &Preprocessing::cifar10(), &[32], Device::Cpu).err().unwrap();
            error.downcast::<AppError>().unwrap()
        };
        assert!(problem().to_string().contains(Bundle::CALIBRATION));
        let images = Tensor::zeros([2, 4, 4, 3], (Kind::Uint8, Device::Cpu));
        let write = |tensor: &Tensor, metadata: &[(&str, &str)]| {
            let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            save_safetensors(&file_in(folder.path()), &[(TENSOR.to_owned(), tensor)], &metadata).unwrap();
        };
        write(&images, &[]);
        assert!(problem().to_string().contains(SCHEMA));
        write(&images, &[("schema", SCHEMA), ("pool", "2"), ("seed", "1")]);
        assert!(problem().to_string().contains("`batch`"));
        write(&images.to_kind(Kind::Float), &[("schema", SCHEMA), ("batch", "2"), ("pool", "2"), ("seed", "1")]);
        assert!(problem().to_string().contains("u8 [N, S, S, 3]"));
        assert_eq!(problem().kind(), FailureKind::Content);
    }
}
