//! Random members of a space.
//!
//! [`SearchSpace::sample`] is uniform over distinct subnets: a stage's depth d is drawn in proportion to the c^d forms
//! it allows. The published rule, uniform over genomes (`once-for-all` §1.4), draws depths equally often and so meets
//! each shallow network more often.

use rand::{Rng, RngExt};

use crate::space::arch::{ArchSpec, BlockSpec, StageSpec};
use crate::space::{SearchSpace, Stage};

impl SearchSpace {
    /// A member of the space, every distinct subnet equally likely.
    pub fn sample(&self, rng: &mut impl Rng) -> ArchSpec {
        let resolution = self.random_resolution(rng);
        self.sample_at(resolution, rng)
    }

    /// As [`SearchSpace::sample`], at one resolution of the space.
    ///
    /// # Panics
    /// If the space does not offer `resolution`.
    pub fn sample_at(&self, resolution: u32, rng: &mut impl Rng) -> ArchSpec {
        assert!(self.resolutions.contains(&resolution), "sampling at resolution {resolution}, which is not offered");
        self.fill_stages(resolution, rng, |stage, rng| depth_by_count(&stage.depths, stage.choices(), rng))
    }

    fn random_resolution(&self, rng: &mut impl Rng) -> u32 {
        self.resolutions[rng.random_range(0..self.resolutions.len())]
    }

    fn fill_stages<R: Rng>(&self, resolution: u32, rng: &mut R, depth: impl Fn(&Stage, &mut R) -> usize) -> ArchSpec {
        let stages = self.stages.iter().map(|stage| {
            let depth = stage.depths[depth(stage, rng)];
            StageSpec { blocks: (0..depth).map(|_| random_block(stage, rng)).collect() }
        });
        let stages = stages.collect();
        ArchSpec { space: self.id.clone(), resolution, stages }
    }
}

fn random_block(stage: &Stage, rng: &mut impl Rng) -> BlockSpec {
    BlockSpec {
        kernel: stage.kernels[rng.random_range(0..stage.kernels.len())],
        expand: stage.expands[rng.random_range(0..stage.expands.len())],
    }
}

/// Index into `depths`, drawn in proportion to `choices`^depth.
pub(crate) fn depth_by_count(depths: &[u32], choices: usize, rng: &mut impl Rng) -> usize {
    let deepest = depths[depths.len() - 1];
    // Relative to the deepest, so that nothing overflows.
    let weight = |depth: u32| (choices as f64).powi(depth as i32 - deepest as i32);
    let mut left = rng.random::<f64>() * depths.iter().map(|&depth| weight(depth)).sum::<f64>();
    for (index, &depth) in depths.iter().enumerate().rev() {
        left -= weight(depth);
        if left < 0.0 {
            return index;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn every_distinct_subnet_is_equally_likely() {
        let text = SearchSpace::builtin("mcu-cifar").unwrap().to_yaml();
        let mut space = SearchSpace::from_yaml(&text).unwrap();
        space.stages.truncate(1);
        space.resolutions.truncate(1);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut seen: HashMap<ArchSpec, u32> = HashMap::new();
        for _ in 0..42_000 {
            *seen.entry(space.sample(&mut rng)).or_default() += 1;
        }
        // 6 + 36 forms, 1000 expected each, standard deviation 31.
        assert_eq!(seen.len(), 42);
        assert!(seen.values().all(|&count| (850..1150).contains(&count)), "{seen:?}");
    }
}
