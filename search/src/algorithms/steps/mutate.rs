//! Mutation, closed over the space: each gene is drawn anew with some probability.
//!
//! As in the published EvolutionFinder (`once-for-all` §6.1): a block's kernel size and expand ratio are drawn together,
//! a stage's depth alone, and a draw may give the old value. A stage that grows gets random new blocks, because absent
//! blocks have no settings here.

use rand::{Rng, RngExt};

use crate::space::genome::{Codec, Genes};

/// How likely each gene is drawn anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MutationRates {
    /// Each block's settings and each stage's depth.
    pub gene: f64,
    /// The resolution.
    pub resolution: f64,
}

impl Default for MutationRates {
    fn default() -> Self {
        MutationRates { gene: 0.1, resolution: 0.1 }
    }
}

pub(crate) fn mutate(codec: &Codec, parent: &[u8], rates: MutationRates, rng: &mut impl Rng) -> Genes {
    let mut genes: Genes = parent.into();
    if rng.random_bool(rates.resolution) {
        genes[0] = rng.random_range(0..codec.resolutions.len()) as u8;
    }
    for (index, stage) in codec.stages.iter().enumerate() {
        let before = codec.depth(parent, index);
        if rng.random_bool(rates.gene) {
            genes[stage.depth_gene] = rng.random_range(0..stage.depths.len()) as u8;
        }
        for block in 0..codec.depth(&genes, index) {
            if block >= before || rng.random_bool(rates.gene) {
                genes[stage.first_block + block] = rng.random_range(0..stage.choices) as u8;
            }
        }
    }
    codec.canonicalise(&mut genes);
    genes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::space::SearchSpace;
    use crate::space::arch::ArchSpec;

    /// A mutant of a member of a space.
    fn mutant_of(space: &SearchSpace, parent: &ArchSpec, rates: MutationRates, rng: &mut impl Rng) -> ArchSpec {
        let codec = Codec::new(space, space.resolutions());
        codec.decode(&mutate(&codec, &codec.encode(parent), rates, rng))
    }

    proptest! {
        #[test]
        fn mutants_stay_in_the_space(seed: u64, name in prop::sample::select(SearchSpace::builtin_names()), rate in 0.0..1.0) {
            let space = SearchSpace::builtin(name).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let parent = space.sample(&mut rng);
            let rates = MutationRates { gene: rate, resolution: rate };
            let mutant = mutant_of(&space, &parent, rates, &mut rng);
            prop_assert_eq!(&space.arch(mutant.resolution(), mutant.stages().to_vec()).unwrap(), &mutant);
            let still = mutant_of(&space, &parent, MutationRates { gene: 0.0, resolution: 0.0 }, &mut rng);
            prop_assert_eq!(still, parent);
        }
    }
}
