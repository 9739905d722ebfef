//! Scores that are a sum over the resolution and the blocks.

use crate::cost::dense::CostTables;
use crate::error::SearchError;
use crate::space::arch::{ArchSpec, BlockSpec};

/// A score that is a sum: a number for the resolution, and one for every block by its place, kernel size and expand ratio.
#[derive(Clone, Debug)]
pub struct AdditiveScores {
    pub(crate) resolutions: Vec<f64>,
    /// By gene of the block (from the first block's), then choice.
    pub(crate) blocks: Vec<Vec<f64>>,
    pub(crate) first_gene: usize,
}

impl AdditiveScores {
    /// Asks for every number once; blocks are counted from 0 within their stage.
    ///
    /// # Errors
    /// [`SearchError::BadScore`] for a number that is not finite.
    pub fn new(
        tables: &CostTables,
        mut of_resolution: impl FnMut(u32) -> f64,
        mut of_block: impl FnMut(usize, usize, BlockSpec) -> f64,
    ) -> Result<AdditiveScores, SearchError> {
        let finite = |score: f64, what: String| {
            if score.is_finite() { Ok(score) } else { Err(SearchError::BadScore { score, subnet: what }) }
        };
        let resolutions = tables.resolutions().iter();
        let resolutions = resolutions.map(|&at| finite(of_resolution(at), format!("resolution {at}")));
        let resolutions = resolutions.collect::<Result<_, _>>()?;
        let mut blocks = Vec::new();
        for (stage, of) in tables.space().stages().iter().enumerate() {
            for index in 0..of.max_depth() {
                let choices = of
                    .kernels
                    .iter()
                    .flat_map(|&kernel| of.expands.iter().map(move |&expand| BlockSpec { kernel, expand }));
                let scores = choices.map(|block| {
                    finite(of_block(stage, index, block), format!("block {index} of stage {stage} as {block:?}"))
                });
                blocks.push(scores.collect::<Result<_, _>>()?);
            }
        }
        Ok(AdditiveScores { resolutions, blocks, first_gene: tables.codec.block_genes().start })
    }

    pub(crate) fn of(&self, gene: usize) -> &[f64] {
        &self.blocks[gene - self.first_gene]
    }

    /// The score of a subnet of `tables`' space.
    ///
    /// # Panics
    /// If `arch` is of another space or of a resolution that was not compiled.
    pub fn score(&self, tables: &CostTables, arch: &ArchSpec) -> f64 {
        self.of_genes(tables, &tables.codec.encode(arch))
    }

    pub(crate) fn of_genes(&self, tables: &CostTables, genes: &[u8]) -> f64 {
        let mut total = self.resolutions[usize::from(genes[0])];
        for gene in tables.codec.blocks(genes).flatten() {
            total += self.of(gene)[usize::from(genes[gene])];
        }
        total
    }
}
