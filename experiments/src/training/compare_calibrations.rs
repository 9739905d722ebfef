//! `ofa calibration compare`: what calibrating with a bundle's own images instead of real ones costs in accuracy.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::error::Result;
use crate::torch::{ComparedSubnet, Comparison};
use crate::training::make_calibration::DistillPlan;
use crate::training::measure_accuracy::measure;
use crate::training::open_bundle::OpenBundle;
use crate::training::sample::{distinct, resolutions_of};

/// Measures `count` random subnets, none of them in the pool that the bundle's images were made for, on the held-out
/// images of its source: calibrated on its training images and on the bundle's.
///
/// # Errors
/// A damaged bundle or images that cannot be read.
pub(crate) fn compare_calibrations(bundle: &OpenBundle, count: usize, seed: u64) -> Result<Comparison> {
    bundle.bundle().calibration()?;
    let (supernet, space) = (bundle.supernet()?, bundle.space());
    let file = bundle.calibration_file()?;
    let plan = DistillPlan { pool: file.pool, seed: file.seed, ..DistillPlan::for_bundle(bundle)? };
    let pool = plan.pool_of(space).into_iter().collect();
    // Another generator than the pool's, or equal seeds would draw its subnets again.
    let mut rng = ChaCha8Rng::seed_from_u64(!seed);
    let random = (0..100 * count).map(|_| space.sample(&mut rng));
    let archs = distinct(random, count, &pool);
    let resolutions = resolutions_of(&archs);
    let (real, own) = (bundle.real_calibration(&resolutions)?, bundle.own_calibration(&resolutions)?);
    let images = bundle.held_out_images(&resolutions)?;
    let rows = archs.into_iter().map(|arch| {
        let shapes = space.resolve(&arch);
        let real = measure(supernet, &shapes, &real, &images)?;
        let made = measure(supernet, &shapes, &own, &images)?;
        Ok(ComparedSubnet { real, made, subnet: space.to_subnet_json(&arch), arch })
    });
    Ok(Comparison { rows: rows.collect::<Result<_>>()? })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use search::space::SearchSpace;
    use storage::failure::Failure;
    use supernet::data::{DataSource, Preprocessing};
    use supernet::supernet::Supernet;
    use supernet::tensors::{load_safetensors, save_safetensors};
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::folders::bundle::Bundle;
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
        Preprocessing::cifar10().describe(None, &names, None).write(&folder.path().join(names::PREPROCESSING)).unwrap();
        fs::write(folder.path().join(names::RECIPE), RECIPE).unwrap();
        folder
    }

    #[test]
    fn a_bundles_images_are_made_loaded_and_compared() {
        tch::set_num_threads(1); // Many small operations, perhaps on a busy machine.
        let (folder, data): (_, DataSource) = (bundle(), "synthetic:80".parse().unwrap());
        let open = OpenBundle::new(Bundle::at(folder.path()), space(), Some(data), Device::Cpu);
        let plan = DistillPlan { images: 10, batch: 8, steps: 6, pool: 2, ..DistillPlan::for_native_size(32, 3) };
        let mut steps = 0;
        let never = AtomicBool::new(false);
        // Begun, but not finished and of another plan.
        let at_once = AtomicBool::new(false);
        let begun = DistillPlan { steps: 7, ..plan };
        let _ = make_for_bundle(&open, &begun, &at_once, &mut |_| at_once.store(true, Ordering::Relaxed)).unwrap_err();
        assert_eq!(fs::read_dir(folder.path().join(names::CALIBRATION)).unwrap().count(), 1);
        assert!(open.bundle().calibration().is_err(), "images that are not finished count as images");
        let made = make_for_bundle(&open, &plan, &never, &mut |_| steps += 1).unwrap();
        assert_eq!(steps, 6);
        // What cannot be read is begun anew.
        let state = folder.path().join(names::CALIBRATION).join(names::CALIBRATION_STATE);
        fs::write(&state, b"cut").unwrap();
        assert_eq!(make_for_bundle(&open, &plan, &never, &mut |_| {}).unwrap().images, made.images);
        assert!(!state.exists());
        // Stopped after two updates it goes on to the same images, and nothing of it is left.
        let stop = AtomicBool::new(false);
        let stopped = make_for_bundle(&open, &plan, &stop, &mut |done| stop.store(done.step == 1, Ordering::Relaxed));
        assert!(stopped.unwrap_err().is_interruption());
        // Nor does it lose them when it is stopped again at once.
        let at_once = AtomicBool::new(true);
        make_for_bundle(&open, &plan, &at_once, &mut |_| {}).unwrap_err();
        let mut left = Vec::new();
        let again = make_for_bundle(&open, &plan, &never, &mut |done| left.push(done.step)).unwrap();
        assert_eq!((left, &again.images), (vec![2, 3, 4, 5], &made.images));
        let files = fs::read_dir(folder.path().join(names::CALIBRATION)).unwrap().count();
        assert_eq!(files, 1, "what was begun is still there");
        // Stopped before the first update, the statistics of real images are not taken again: other ones are believed.
        let stopped = make_for_bundle(&open, &plan, &at_once, &mut |_| {}).unwrap_err();
        assert!(stopped.to_string().contains("statistics of 1 of 2 subnets"), "{stopped}");
        let (tensors, about) = load_safetensors(&state).unwrap();
        let made_after = |first_layer: Tensor| {
            let changed = |name: &str, tensor: &Tensor| match name {
                "statistics.0.0" => first_layer.shallow_clone(),
                _ => tensor.shallow_clone(),
            };
            let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.clone(), changed(name, tensor))).collect();
            let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
            save_safetensors(&state, &tensors, &about).unwrap();
            make_for_bundle(&open, &plan, &never, &mut |_| {}).unwrap().images
        };
        let taken = &tensors["statistics.0.0"];
        assert_eq!(made_after(taken.shallow_clone()), made.images);
        assert_ne!(made_after(taken.full_like(0.5)), made.images);
        // Those that the subnet cannot have are.
        assert_eq!(made_after(taken.full_like(f64::NAN)), made.images);
        assert_eq!(made_after(taken.narrow(1, 0, 1)), made.images);
        assert_eq!(made_after(taken.get(0)), made.images);
        assert_eq!(made_after(taken.to_kind(Kind::Int64)), made.images);
        let made = make_for_bundle(&open, &plan, &never, &mut |_| {}).unwrap();
        assert!(made.mismatch < made.mismatch_of_noise, "{} became {}", made.mismatch_of_noise, made.mismatch);
        assert_eq!(made.images.size(), [10, 32, 32, 3]);

        let (stored, metadata) = load_safetensors(&file_in(folder.path())).unwrap();
        assert_eq!(stored[TENSOR], made.images);
        assert_eq!(metadata["seed"], "3");
        let loaded = open.own_calibration(&[24, 32]).unwrap();
        let subnet = space().resolve(&space().smallest(24).unwrap());
        let supernet = open.supernet().unwrap();
        assert_eq!(
            loaded.calibrate(&supernet.subnet(&subnet)).unwrap().layers().len(),
            supernet.subnet(&subnet).config().blocks.len() * 3 + 1
        );

        let comparison = compare_calibrations(&open, 2, 3).unwrap();
        assert_eq!(comparison.rows.len(), 2);
        let pool = plan.pool_of(&space());
        assert!(comparison.rows.iter().all(|row| row.real.images == 20 && !pool.contains(&row.arch)));
        assert!(comparison.worst() >= comparison.mean().abs());
    }
}
