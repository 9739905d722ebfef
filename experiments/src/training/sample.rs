//! Distinct random subnets, and the resolutions that subnets are of.

use std::collections::HashSet;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use search::arch::{ArchSpec, BlockSpec, StageSpec};
use search::space::SearchSpace;

/// `count` distinct subnets, or all of a smaller space: the largest and the smallest at every resolution, then random
/// ones, each tilted by its own strength drawn evenly from −4 to 4.
pub(crate) fn tilted_subnets(space: &SearchSpace, count: usize, seed: u64) -> Vec<ArchSpec> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let resolutions = space.resolutions();
    let ends = resolutions.iter().flat_map(|&resolution| [space.largest(resolution), space.smallest(resolution)]);
    let mut chosen: Vec<ArchSpec> = Vec::new();
    let mut seen = HashSet::new();
    let mut misses = 0;
    let mut ends = ends.map(|arch| arch.expect("its own resolution"));
    // A space smaller than `count` ends by misses in a row.
    while chosen.len() < count && misses < 100_000 {
        let arch = ends.next().unwrap_or_else(|| tilted_subnet(space, &mut rng));
        if seen.insert(arch.clone()) {
            chosen.push(arch);
            misses = 0;
        } else {
            misses += 1;
        }
    }
    chosen
}

fn tilted_subnet(space: &SearchSpace, rng: &mut impl Rng) -> ArchSpec {
    let tilt: f64 = rng.random_range(-4.0..4.0);
    let resolution = space.resolutions()[rng.random_range(0..space.resolutions().len())];
    let mut pick = |choices: &[u32]| {
        let last = (choices.len() - 1).max(1) as f64;
        let weights: Vec<f64> = (0..choices.len()).map(|index| (tilt * (index as f64 / last - 0.5)).exp()).collect();
        let mut left = rng.random_range(0.0..weights.iter().sum());
        let index = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        choices[index.unwrap_or(choices.len() - 1)]
    };
    let stages = space.stages().iter().map(|stage| {
        let depth = pick(&stage.depths);
        let block = |_| BlockSpec { kernel: pick(&stage.kernels), expand: pick(&stage.expands) };
        StageSpec { blocks: (0..depth).map(block).collect() }
    });
    let stages = stages.collect();
    space.arch(resolution, stages).expect("choices of the space")
}

/// The first `count` that are neither equal nor in `without`; fewer if there are no more.
pub(crate) fn distinct(
    archs: impl Iterator<Item = ArchSpec>,
    count: usize,
    without: &HashSet<ArchSpec>,
) -> Vec<ArchSpec> {
    let mut seen = without.clone();
    archs.filter(|arch| seen.insert(arch.clone())).take(count).collect()
}

/// The resolutions of `archs`, each once, in ascending order.
pub(crate) fn resolutions_of(archs: &[ArchSpec]) -> Vec<u32> {
    let mut resolutions: Vec<u32> = archs.iter().map(ArchSpec::resolution).collect();
    resolutions.sort_unstable();
    resolutions.dedup();
    resolutions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_distinct_reaches_both_ends_and_depends_on_the_seed_alone() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let chosen = tilted_subnets(&space, 300, 5);
        assert_eq!(chosen, tilted_subnets(&space, 300, 5));
        assert_eq!(chosen[..100], tilted_subnets(&space, 100, 5)[..], "a longer collection goes on with a shorter one");
        assert_eq!(chosen.iter().collect::<HashSet<_>>().len(), 300);
        let macs: Vec<u64> = chosen.iter().map(|arch| space.lower(arch).macs().0).collect();
        let (low, high) = (macs.iter().min().unwrap(), macs.iter().max().unwrap());
        let third = (high - low) / 3;
        for part in 0..3 {
            let range = low + part * third..=low + (part + 1) * third;
            assert!(macs.iter().filter(|macs| range.contains(macs)).count() >= 30, "part {part}");
        }
    }

    #[test]
    fn a_small_space_gives_all_its_subnets() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap().largest_choices(1, 1, 1);
        assert_eq!(tilted_subnets(&space, 50, 1).len(), space.resolutions().len());
    }
}
