//! The choices: a search space, stage by stage, as read from a YAML file.
//!
//! Channel arithmetic follows the published implementation (`once-for-all` §1.0): widths are base × width multiplier
//! rounded by [`network::published::make_divisible`], inner widths are input × expand ratio rounded likewise, "same" padding, and spatial
//! size after stride s is ⌊(f − 1)/s⌋ + 1.

use std::sync::Arc;

use network::op::Activation;

/// Name of a space, cheap to copy; part of every [`crate::space::arch::ArchSpec`], so that subnets of two spaces never mix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpaceId(pub Arc<str>);

impl std::fmt::Display for SpaceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// First convolution: k×k, batch norm, activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Stem {
    /// Output channels.
    pub width: u32,
    /// Kernel size.
    pub kernel: u32,
    /// Stride.
    pub stride: u32,
    /// Activation.
    pub activation: Activation,
}

/// Inverted bottleneck of expand ratio 1 after the stem that is the same in every subnet.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstBlock {
    /// Output channels.
    pub width: u32,
    /// Kernel size of its depthwise convolution.
    pub kernel: u32,
    /// Stride.
    pub stride: u32,
    /// Activation.
    pub activation: Activation,
    /// Whether the input is added where shapes allow.
    pub residual: bool,
}

/// A row of blocks of one output width; the first carries the stride and the change of width.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Output channels of every block.
    pub width: u32,
    /// Stride of the first block.
    pub stride: u32,
    /// Activation inside the blocks.
    pub activation: Activation,
    /// Whether blocks have squeeze-excite (width mid/4, rounded).
    pub squeeze_excite: bool,
    /// Whether expand ratio 1 keeps its 1×1 expand convolution (FBNet) or drops it (MobileNet).
    pub expand_conv_at_one: bool,
    /// Numbers of blocks offered, ascending.
    pub depths: Vec<u32>,
    /// Kernel sizes offered, ascending.
    pub kernels: Vec<u32>,
    /// Expand ratios offered, ascending.
    pub expands: Vec<u32>,
}

impl Stage {
    /// Blocks of the deepest choice.
    pub fn max_depth(&self) -> usize {
        self.depths[self.depths.len() - 1] as usize
    }

    /// Largest kernel size.
    pub fn max_kernel(&self) -> u32 {
        self.kernels[self.kernels.len() - 1]
    }

    /// Largest expand ratio.
    pub fn max_expand(&self) -> u32 {
        self.expands[self.expands.len() - 1]
    }
}

/// A 1×1 convolution between the last stage and the classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadLayer {
    /// Output channels.
    pub width: u32,
    /// Activation.
    pub activation: Activation,
    /// Whether batch norm follows (no bias either way).
    pub batch_norm: bool,
    /// Whether it runs on the feature map (before global average pooling) or on the pooled vector.
    pub before_pool: bool,
}

/// Batch-norm constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormSettings {
    /// Weight of a new batch in the running statistics (PyTorch's convention).
    pub momentum: f64,
    /// Added to the variance.
    pub eps: f64,
}

/// All networks that one supernet holds.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchSpace {
    pub(crate) id: SpaceId,
    pub(crate) resolutions: Vec<u32>,
    pub(crate) stem: Stem,
    pub(crate) first_block: Option<FirstBlock>,
    pub(crate) stages: Vec<Stage>,
    pub(crate) head: Vec<HeadLayer>,
    pub(crate) classes: u32,
    pub(crate) dropout: f64,
    pub(crate) batch_norm: BatchNormSettings,
}

impl SearchSpace {
    /// Name.
    pub fn id(&self) -> &SpaceId {
        &self.id
    }
    /// Input resolutions offered, ascending.
    pub fn resolutions(&self) -> &[u32] {
        &self.resolutions
    }
    /// First convolution.
    pub fn stem(&self) -> &Stem {
        &self.stem
    }
    /// The block that every subnet shares, if any.
    pub fn first_block(&self) -> Option<&FirstBlock> {
        self.first_block.as_ref()
    }
    /// Elastic stages in order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }
    /// Layers between the last stage and the classifier; those before the pool come first.
    pub fn head(&self) -> &[HeadLayer] {
        &self.head
    }
    /// Number of classes.
    pub fn classes(&self) -> u32 {
        self.classes
    }
    /// Dropout before the classifier while training.
    pub fn dropout(&self) -> f64 {
        self.dropout
    }
    /// Batch-norm constants.
    pub fn batch_norm(&self) -> BatchNormSettings {
        self.batch_norm
    }
    /// Genes of the published genome: every block of every stage at its deepest.
    pub fn max_blocks(&self) -> usize {
        self.stages.iter().map(Stage::max_depth).sum()
    }
    /// Input channels of the first block of stage `stage`.
    pub fn stage_in_channels(&self, stage: usize) -> u32 {
        match stage {
            0 => self.first_block.as_ref().map_or(self.stem.width, |block| block.width),
            later => self.stages[later - 1].width,
        }
    }
    /// This space with another number of classes.
    ///
    /// # Panics
    /// If there are none.
    pub fn with_classes(&self, classes: u32) -> SearchSpace {
        assert!(classes > 0, "a classifier has outputs");
        SearchSpace { classes, ..self.clone() }
    }

    /// Where the definitions of two spaces part, in words, whatever their names; `None` if every subnet of one that the
    /// other has is the same network. Offered resolutions and dropout make no difference to a network.
    pub fn difference(&self, other: &SearchSpace) -> Option<String> {
        let stage = self.stages.iter().zip(&other.stages).position(|(one, other)| one != other);
        let parts = [
            (self.classes != other.classes, format!("{} classes instead of {}", other.classes, self.classes)),
            (self.stem != other.stem, "another stem".to_owned()),
            (self.first_block != other.first_block, "another first block".to_owned()),
            (
                self.stages.len() != other.stages.len(),
                format!("{} stages instead of {}", other.stages.len(), self.stages.len()),
            ),
            (stage.is_some(), format!("another stage {}", stage.unwrap_or(0) + 1)),
            (self.head != other.head, "another head".to_owned()),
            (self.batch_norm != other.batch_norm, "other batch norms".to_owned()),
        ];
        parts.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
    }

    /// This space with only the `kernels`, `depths` and `expands` largest choices of each kind in every stage (at
    /// least one each): what a phase of progressive shrinking trains. Its members are members of this space.
    pub fn largest_choices(&self, kernels: usize, depths: usize, expands: usize) -> SearchSpace {
        let keep = |choices: &mut Vec<u32>, count: usize| {
            choices.drain(..choices.len() - count.clamp(1, choices.len()));
        };
        let mut space = self.clone();
        for stage in &mut space.stages {
            keep(&mut stage.kernels, kernels);
            keep(&mut stage.depths, depths);
            keep(&mut stage.expands, expands);
        }
        space
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_differ_by_what_their_networks_are() {
        let space = SearchSpace::builtin("mcu-cifar").unwrap();
        let with = |change: fn(&mut SearchSpace)| {
            let mut other = space.clone();
            change(&mut other);
            space.difference(&other)
        };
        assert_eq!(with(|other| other.id = SpaceId("mine".into())), None);
        assert_eq!(with(|other| other.resolutions.truncate(1)), None);
        assert_eq!(with(|other| other.classes = 3).unwrap(), "3 classes instead of 10");
        assert_eq!(with(|other| other.stem.stride = 2).unwrap(), "another stem");
        assert_eq!(with(|other| other.stages[1].activation = Activation::HSwish).unwrap(), "another stage 2");
        assert_eq!(with(|other| other.batch_norm.eps = 0.1).unwrap(), "other batch norms");
    }
}
