//! What several tests share.

use std::path::PathBuf;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use search::arch::ArchSpec;
use search::space::SearchSpace;

use crate::encode::ArchEncoder;
use crate::mlp::{Linear, Mlp};
use crate::noise::normal;
use crate::pairs::{AccuracyPair, Halves};

pub(crate) fn space(name: &str) -> SearchSpace {
    SearchSpace::builtin(name).unwrap()
}

pub(crate) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub(crate) fn sample(space: &SearchSpace, count: usize, seed: u64) -> Vec<ArchSpec> {
    let mut rng = rng(seed);
    (0..count).map(|_| space.sample(&mut rng)).collect()
}

/// Architectures at resolutions that `encoder` knows.
pub(crate) fn sample_known(space: &SearchSpace, encoder: &ArchEncoder, count: usize, seed: u64) -> Vec<ArchSpec> {
    let mut rng = rng(seed);
    let archs = std::iter::repeat_with(|| space.sample(&mut rng));
    archs.filter(|arch| encoder.resolutions().contains(&arch.resolution())).take(count).collect()
}

/// An MLP with weights of PyTorch's usual scale.
pub(crate) fn random_mlp(inputs: usize, widths: &[usize], seed: u64) -> Mlp {
    let mut rng = rng(seed);
    let mut width = inputs;
    let layers = widths.iter().map(|&outputs| {
        let bound = 1.0 / (width as f32).sqrt();
        let mut draw = |count: usize| (0..count).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0)).collect();
        let layer = Linear { weight: draw(outputs * width), bias: draw(outputs) };
        width = outputs;
        layer
    });
    Mlp::new(inputs, layers.collect())
}

/// The folder with goldens, or `None` (said aloud) where it is not at hand.
pub(crate) fn shared() -> Option<PathBuf> {
    shared_data::file("golden").and_then(|folder| Some(folder.parent()?.to_path_buf()))
}

/// An accuracy that no one fitted to: main effects of very different size, neighbours that stand in for each other, a
/// resolution that helps large networks more, and saturation. Some eight points between a space's ends.
pub(crate) struct Truth {
    shares: Vec<f64>,
    together: Vec<f64>,
    encoder: ArchEncoder,
}

impl Truth {
    pub(crate) fn new(space: &SearchSpace, seed: u64) -> Truth {
        let encoder = ArchEncoder::new(crate::encode::Layout::Blocks, space, space.resolutions()).unwrap();
        let mut rng = rng(seed);
        let shares = encoder.features().iter().map(|feature| match feature {
            crate::encode::Feature::Kernel { choice, .. } => 0.5 + (0.2 + 0.3 * rng.random::<f64>()) * *choice as f64,
            crate::encode::Feature::Expand { choice, .. } => (0.2 + 0.4 * rng.random::<f64>()) * *choice as f64,
            crate::encode::Feature::Resolution(resolution) => 0.25 * (f64::from(*resolution) - 24.0),
        });
        let shares: Vec<f64> = shares.collect();
        let together = (0..encoder.width()).map(|_| -0.3 * rng.random::<f64>()).collect();
        Truth { shares, together, encoder }
    }

    pub(crate) fn top1(&self, arch: &ArchSpec) -> f64 {
        let active = self.encoder.active(arch).unwrap();
        let (resolution, blocks) = active.split_last().unwrap();
        let size: f64 = blocks.iter().map(|&feature| self.shares[feature as usize]).sum();
        let beside: f64 = blocks
            .windows(3)
            .map(|near| self.together[near[0] as usize] * self.shares[near[0] as usize] * self.shares[near[2] as usize])
            .sum();
        let scale = self.shares[*resolution as usize];
        let capacity = size + beside + scale * (1.0 + 0.03 * size);
        0.88 - 0.28 * (-capacity / 8.0).exp()
    }

    /// Measured pairs with noise as of `images` images: independent on the two halves.
    pub(crate) fn measure(&self, space: &SearchSpace, archs: &[ArchSpec], noise: f64, seed: u64) -> Vec<AccuracyPair> {
        let mut rng = rng(seed);
        let measure = |arch: &ArchSpec| {
            let truth = self.top1(arch);
            let mut half = || (truth + noise * std::f64::consts::SQRT_2 * normal(&mut rng)).clamp(0.0, 1.0);
            let halves = Halves { a: half(), b: half() };
            AccuracyPair {
                subnet: AccuracyPair::subnet_json(space, arch),
                resolution: arch.resolution(),
                top1: 0.5 * (halves.a + halves.b),
                top5: 0.99,
                loss: 0.6,
                images: 5000,
                seed,
                seconds: 0.5,
                halves: Some(halves),
            }
        };
        archs.iter().map(measure).collect()
    }
}
