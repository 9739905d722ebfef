//! One point of a space: what search mutates and predictors encode.

use crate::space::SpaceId;

/// Settings of one block that is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockSpec {
    /// Kernel size of the depthwise convolution.
    pub kernel: u32,
    /// Expand ratio.
    pub expand: u32,
}

/// The blocks of one stage that are present; depth is their number, so a skipped block has no settings to disagree about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageSpec {
    /// Blocks in order; a prefix of the stage's deepest form.
    pub blocks: Vec<BlockSpec>,
}

/// One member of a [`crate::space::SearchSpace`]. Equal networks are equal values.
///
/// Made only by the checked doors of `SearchSpace` (`parse`, `sample`, `largest`, …), so its settings are always offered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArchSpec {
    pub(crate) space: SpaceId,
    pub(crate) resolution: u32,
    pub(crate) stages: Vec<StageSpec>,
}

impl ArchSpec {
    /// The space it belongs to.
    pub fn space(&self) -> &SpaceId {
        &self.space
    }
    /// Height and width of the input image.
    pub fn resolution(&self) -> u32 {
        self.resolution
    }
    /// Stages in order.
    pub fn stages(&self) -> &[StageSpec] {
        &self.stages
    }
}
