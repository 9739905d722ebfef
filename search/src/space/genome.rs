//! Architectures as short rows of small numbers, the form that search works on; [`ArchSpec`] stays at its edges.
//!
//! Layout: resolution, one depth per stage, one choice (kernel × expand ratio) per block of the deepest form; all are
//! indices into what is offered. Genes of absent blocks are 0, so equal networks are equal rows.

use std::ops::Range;

use rand::Rng;

use crate::space::SearchSpace;
use crate::space::arch::{ArchSpec, BlockSpec, StageSpec};

/// One architecture; made and read by [`Codec`].
pub(crate) type Genes = Box<[u8]>;

/// What one gene decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gene {
    /// The input resolution.
    Resolution,
    /// The number of blocks of this stage.
    Depth(usize),
    /// Kernel size and expand ratio of one block.
    Block {
        /// Stage from 0.
        stage: usize,
        /// Block inside the stage from 0.
        place: usize,
    },
}

/// Where one stage's genes are.
#[derive(Clone, Debug)]
pub(crate) struct StageCode {
    /// Index of its depth gene.
    pub(crate) depth_gene: usize,
    /// Index of its first block's gene.
    pub(crate) first_block: usize,
    /// Depths offered.
    pub(crate) depths: Vec<usize>,
    /// Pairs of kernel size and expand ratio of each block.
    pub(crate) choices: usize,
}

/// Translates between [`ArchSpec`] and [`Genes`] of one space and one list of resolutions.
#[derive(Clone, Debug)]
pub(crate) struct Codec {
    pub(crate) space: SearchSpace,
    pub(crate) resolutions: Vec<u32>,
    pub(crate) stages: Vec<StageCode>,
    /// Number of genes.
    pub(crate) len: usize,
    /// What each gene decides.
    genes: Vec<Gene>,
}

impl Codec {
    /// `resolutions` are some of the space's, ascending.
    pub(crate) fn new(space: &SearchSpace, resolutions: &[u32]) -> Codec {
        let mut genes = vec![Gene::Resolution];
        genes.extend((0..space.stages().len()).map(Gene::Depth));
        let mut stages = Vec::with_capacity(space.stages().len());
        for (index, stage) in space.stages().iter().enumerate() {
            stages.push(StageCode {
                depth_gene: 1 + index,
                first_block: genes.len(),
                depths: stage.depths.iter().map(|&depth| depth as usize).collect(),
                choices: stage.choices(),
            });
            genes.extend((0..stage.max_depth()).map(|place| Gene::Block { stage: index, place }));
        }
        Codec { space: space.clone(), resolutions: resolutions.to_vec(), stages, len: genes.len(), genes }
    }

    /// What gene `gene` decides.
    pub(crate) fn gene(&self, gene: usize) -> Gene {
        self.genes[gene]
    }

    /// The genes of blocks, stage by stage.
    pub(crate) fn block_genes(&self) -> Range<usize> {
        1 + self.stages.len()..self.len
    }

    /// Number of values that gene `gene` can take.
    pub(crate) fn options(&self, gene: usize) -> usize {
        match self.genes[gene] {
            Gene::Resolution => self.resolutions.len(),
            Gene::Depth(stage) => self.stages[stage].depths.len(),
            Gene::Block { stage, .. } => self.stages[stage].choices,
        }
    }

    /// Whether gene `gene` is that of a block that `genes` leave out.
    pub(crate) fn is_absent(&self, genes: &[u8], gene: usize) -> bool {
        matches!(self.genes[gene], Gene::Block { stage, place } if place >= self.depth(genes, stage))
    }

    /// A random subnet at the resolution of index `resolution`, every one equally likely.
    pub(crate) fn sample_at(&self, resolution: u8, rng: &mut impl Rng) -> Genes {
        self.encode(&self.space.sample_at(self.resolutions[usize::from(resolution)], rng))
    }

    /// Blocks present in stage `stage`.
    pub(crate) fn depth(&self, genes: &[u8], stage: usize) -> usize {
        let stage = &self.stages[stage];
        stage.depths[usize::from(genes[stage.depth_gene])]
    }

    /// Genes of the blocks present, stage by stage.
    pub(crate) fn blocks(&self, genes: &[u8]) -> impl Iterator<Item = Range<usize>> {
        let stages = self.stages.iter().enumerate();
        stages.map(|(stage, code)| code.first_block..code.first_block + self.depth(genes, stage))
    }

    /// Sets the genes of absent blocks to 0.
    pub(crate) fn canonicalise(&self, genes: &mut [u8]) {
        for (index, stage) in self.stages.iter().enumerate() {
            let end = stage.first_block + stage.depths[stage.depths.len() - 1];
            let depth = self.depth(genes, index);
            genes[stage.first_block + depth..end].fill(0);
        }
    }

    /// The architecture as a value of its own.
    pub(crate) fn decode(&self, genes: &[u8]) -> ArchSpec {
        let stages = self.space.stages.iter().zip(&self.stages).enumerate().map(|(index, (stage, code))| {
            let expands = stage.expands.len();
            let depth = self.depth(genes, index);
            let blocks = genes[code.first_block..code.first_block + depth].iter().map(|&choice| {
                let choice = usize::from(choice);
                BlockSpec { kernel: stage.kernels[choice / expands], expand: stage.expands[choice % expands] }
            });
            StageSpec { blocks: blocks.collect() }
        });
        ArchSpec {
            space: self.space.id.clone(),
            resolution: self.resolutions[usize::from(genes[0])],
            stages: stages.collect(),
        }
    }

    /// The genes of a member of the space.
    ///
    /// # Panics
    /// If its resolution is not in this codec's list, or it belongs to another space.
    pub(crate) fn encode(&self, arch: &ArchSpec) -> Genes {
        assert_eq!(arch.space, self.space.id, "an architecture of another space reached encode");
        let index = |of: &[u32], value: u32| {
            of.iter().position(|&offered| offered == value).expect("an ArchSpec holds offered values") as u8
        };
        let mut genes = vec![0; self.len].into_boxed_slice();
        genes[0] = index(&self.resolutions, arch.resolution);
        for ((stage, code), spec) in self.space.stages.iter().zip(&self.stages).zip(&arch.stages) {
            genes[code.depth_gene] = index(&stage.depths, spec.blocks.len() as u32);
            for (at, block) in spec.blocks.iter().enumerate() {
                let (kernel, expand) = (index(&stage.kernels, block.kernel), index(&stage.expands, block.expand));
                genes[code.first_block + at] = kernel * stage.expands.len() as u8 + expand;
            }
        }
        genes
    }
}
