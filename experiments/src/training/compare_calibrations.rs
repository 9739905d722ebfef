//! `ofa calibration compare`: what calibrating with a bundle's own images instead of real ones costs in accuracy.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use search::arch::ArchSpec;
use search::space::SearchSpace;
use supernet::data::DataSource;
use supernet::evaluate::Accuracy;
use tch::Device;

use crate::folders::calibration_file::CalibrationFile;
use crate::folders::image_settings::ImageSettings;
use crate::folders::supernet_file::load_supernet;
use crate::training::images::{CalibrationImages, EvalImages};
use crate::training::make_calibration::DistillPlan;
use crate::training::measure_accuracy::measure;
use crate::training::sample::{distinct, resolutions_of};

/// Subnets under both calibrations, on the same held-out images.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// One per subnet.
    pub rows: Vec<ComparedSubnet>,
}

/// One subnet of a [`Comparison`].
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedSubnet {
    /// The subnet.
    pub arch: ArchSpec,
    /// Calibrated on real training images.
    pub real: Accuracy,
    /// Calibrated on the bundle's own images.
    pub made: Accuracy,
}

impl ComparedSubnet {
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
        self.rows.iter().map(ComparedSubnet::difference).sum::<f64>() / self.rows.len().max(1) as f64
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
pub fn compare_calibrations(
    folder: &Path,
    space: &SearchSpace,
    data: &DataSource,
    count: usize,
    seed: u64,
    device: Device,
) -> Result<Comparison> {
    let supernet = load_supernet(folder, space, device)?;
    let settings = ImageSettings::of_bundle(folder)?;
    let stored = CalibrationFile::read(folder)?;
    let plan = DistillPlan {
        pool: stored.pool,
        seed: stored.seed,
        ..DistillPlan::for_native_size(settings.preprocessing.native_size, stored.seed)
    };
    let pool = plan.pool_of(space).into_iter().collect();
    // Another generator than the pool's, or equal seeds would draw its subnets again.
    let mut rng = ChaCha8Rng::seed_from_u64(!seed);
    let random = (0..100 * count).map(|_| space.sample(&mut rng));
    let archs = distinct(random, count, &pool);
    let resolutions = resolutions_of(&archs);
    let (train, held_out) = settings.training(data, space)?;
    let real = CalibrationImages::of_training(&train, &settings, &resolutions, device)?;
    let made = CalibrationImages::new(stored.batches(&settings.preprocessing, &resolutions, device));
    let exam = EvalImages::new(&held_out, &settings.preprocessing, &resolutions, device)?;
    let rows = archs.into_iter().map(|arch| ComparedSubnet {
        real: measure(&supernet, &arch, &real, &exam),
        made: measure(&supernet, &arch, &made, &exam),
        arch,
    });
    Ok(Comparison { rows: rows.collect() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use supernet::data::Preprocessing;
    use supernet::supernet::Supernet;
    use supernet::tensors::load_safetensors;

    use super::*;
    use crate::folders::calibration_file::{TENSOR, file_in};
    use crate::folders::names;
    use crate::folders::supernet_file::{StoredAs, save_supernet};
    use crate::training::make_calibration::make_for_bundle;

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
        save_supernet(folder.path(), &Supernet::new(&space(), 1, Device::Cpu), StoredAs::Fp32).unwrap();
        let names: Vec<String> = (0..10).map(|class| class.to_string()).collect();
        Preprocessing::cifar10().describe(None, &names).write(&folder.path().join(names::PREPROCESSING)).unwrap();
        fs::write(folder.path().join(names::RECIPE), RECIPE).unwrap();
        folder
    }

    #[test]
    fn a_bundles_images_are_made_loaded_and_compared() {
        tch::set_num_threads(1); // Many small operations, perhaps on a busy machine.
        let (folder, data): (_, DataSource) = (bundle(), "synthetic:80".parse().unwrap());
        let plan = DistillPlan { images: 10, batch: 8, steps: 6, pool: 2, ..DistillPlan::for_native_size(32, 3) };
        let mut steps = 0;
        let made =
            make_for_bundle(folder.path(), &space(), &data, Some(plan), Device::Cpu, &mut |_| steps += 1).unwrap();
        assert_eq!(steps, 6);
        assert!(made.mismatch < made.mismatch_of_noise, "{} became {}", made.mismatch_of_noise, made.mismatch);
        assert_eq!(made.images.size(), [10, 32, 32, 3]);

        let (stored, metadata) = load_safetensors(&file_in(folder.path())).unwrap();
        assert_eq!(stored[TENSOR], made.images);
        assert_eq!(metadata["seed"], "3");
        let file = CalibrationFile::read(folder.path()).unwrap();
        let loaded = CalibrationImages::new(file.batches(&Preprocessing::cifar10(), &[24, 32], Device::Cpu));
        let subnet = space().resolve(&space().smallest(24).unwrap());
        let supernet = load_supernet(folder.path(), &space(), Device::Cpu).unwrap();
        assert_eq!(
            loaded.calibrate(&supernet.subnet(&subnet)).layers().len(),
            supernet.subnet(&subnet).config().blocks.len() * 3 + 1
        );

        let comparison = compare_calibrations(folder.path(), &space(), &data, 2, 3, Device::Cpu).unwrap();
        assert_eq!(comparison.rows.len(), 2);
        let pool = plan.pool_of(&space());
        assert!(comparison.rows.iter().all(|row| row.real.images == 20 && !pool.contains(&row.arch)));
        assert!(comparison.to_string().ends_with("on 20 images"));
    }
}
