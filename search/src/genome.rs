//! Architectures as short rows of small numbers, the form that search works on; [`ArchSpec`] stays at its edges.
//!
//! Layout: resolution, one depth per stage, one choice (kernel × expand ratio) per block of the deepest form; all are
//! indices into what is offered. Genes of absent blocks are 0, so equal networks are equal rows.

use std::ops::Range;

use crate::arch::{ArchSpec, BlockSpec, StageSpec};
use crate::space::SearchSpace;

/// One architecture; made and read by [`Codec`].
pub(crate) type Genes = Box<[u8]>;

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
}

impl Codec {
    /// `resolutions` are some of the space's, ascending.
    pub(crate) fn new(space: &SearchSpace, resolutions: &[u32]) -> Codec {
        let mut first_block = 1 + space.stages().len();
        let stages = space.stages().iter().enumerate().map(|(index, stage)| {
            let code = StageCode {
                depth_gene: 1 + index,
                first_block,
                depths: stage.depths.iter().map(|&depth| depth as usize).collect(),
                choices: stage.choices(),
            };
            first_block += stage.max_depth();
            code
        });
        let stages = stages.collect();
        Codec { space: space.clone(), resolutions: resolutions.to_vec(), stages, len: first_block }
    }

    /// Number of values that gene `gene` can take.
    pub(crate) fn options(&self, gene: usize) -> usize {
        if gene == 0 {
            return self.resolutions.len();
        }
        match self.stages.get(gene - 1) {
            Some(stage) => stage.depths.len(),
            None => self.stages[self.stage_of_block(gene)].choices,
        }
    }

    /// The stage that block gene `gene` belongs to.
    pub(crate) fn stage_of_block(&self, gene: usize) -> usize {
        self.stages.iter().rposition(|stage| stage.first_block <= gene).unwrap_or(0)
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
