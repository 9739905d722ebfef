//! Settings of a subnet as numbers, for guesses that learn a weight for each.
//!
//! A setting is a resolution, or a choice of kernel size and expand ratio at a block's place. Depths have no number of
//! their own: absent blocks are not there to weigh anything.

use crate::space::genome::Codec;

/// The numbering of one codec's settings: resolutions first, then every block's choices.
#[derive(Clone, Debug)]
pub(crate) struct Features {
    /// First number of each gene.
    first: Vec<u32>,
    count: usize,
}

impl Features {
    pub(crate) fn new(codec: &Codec) -> Features {
        let mut first = vec![0; codec.len];
        let mut count = codec.resolutions.len();
        for gene in codec.block_genes() {
            first[gene] = count as u32;
            count += codec.options(gene);
        }
        Features { first, count }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The number of gene `gene`, a block's or the resolution's, with value `option`.
    pub(crate) fn number(&self, gene: usize, option: u8) -> u32 {
        self.first[gene] + u32::from(option)
    }

    /// The numbers of `genes`, ascending: the resolution's, then those of the blocks present.
    pub(crate) fn of<'a>(&'a self, codec: &'a Codec, genes: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
        let blocks = codec.blocks(genes).flatten().map(|gene| self.number(gene, genes[gene]));
        std::iter::once(self.number(0, genes[0])).chain(blocks)
    }
}
