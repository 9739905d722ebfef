//! Uniform crossover, closed over the space: each gene comes from either parent with equal chance (`once-for-all` §6.1).
//!
//! A block that only one parent has comes from that one.

use rand::{Rng, RngExt};

use crate::space::genome::{Codec, Genes};

pub(crate) fn crossover(codec: &Codec, mother: &[u8], father: &[u8], rng: &mut impl Rng) -> Genes {
    let mut genes: Genes = mother.into();
    let mut swap = |genes: &mut [u8], gene: usize| {
        if rng.random_bool(0.5) {
            genes[gene] = father[gene];
        }
    };
    swap(&mut genes, 0);
    for (index, stage) in codec.stages.iter().enumerate() {
        swap(&mut genes, stage.depth_gene);
        let (hers, his) = (codec.depth(mother, index), codec.depth(father, index));
        for block in 0..codec.depth(&genes, index) {
            let gene = stage.first_block + block;
            if block >= hers {
                genes[gene] = father[gene];
            } else if block < his {
                swap(&mut genes, gene);
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

    /// A child of two members of a space.
    fn child_of(space: &SearchSpace, mother: &ArchSpec, father: &ArchSpec, rng: &mut impl Rng) -> ArchSpec {
        let codec = Codec::new(space, space.resolutions());
        codec.decode(&crossover(&codec, &codec.encode(mother), &codec.encode(father), rng))
    }

    proptest! {
        #[test]
        fn children_stay_in_the_space_and_have_their_parents_genes(
            seed: u64,
            name in prop::sample::select(SearchSpace::builtin_names()),
        ) {
            let space = SearchSpace::builtin(name).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (mother, father) = (space.sample(&mut rng), space.sample(&mut rng));
            let child = child_of(&space, &mother, &father, &mut rng);
            prop_assert_eq!(&space.arch(child.resolution(), child.stages().to_vec()).unwrap(), &child);
            prop_assert!([mother.resolution(), father.resolution()].contains(&child.resolution()));
            for ((kid, hers), his) in child.stages().iter().zip(mother.stages()).zip(father.stages()) {
                prop_assert!([hers.blocks.len(), his.blocks.len()].contains(&kid.blocks.len()));
                for (index, block) in kid.blocks.iter().enumerate() {
                    prop_assert!([hers.blocks.get(index), his.blocks.get(index)].contains(&Some(block)));
                }
            }
            prop_assert_eq!(child_of(&space, &mother, &mother, &mut rng), mother);
        }
    }
}
