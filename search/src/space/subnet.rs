//! A subnet with every shape resolved: what the supernet runs and cost models lower.

use network::op::Activation;

use crate::space::arch::ArchSpec;
use crate::space::{SearchSpace, SpaceId, make_divisible};

/// A convolution or head layer with concrete shapes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Input channels.
    pub in_channels: u32,
    /// Output channels.
    pub out_channels: u32,
    /// Kernel size.
    pub kernel: u32,
    /// Stride.
    pub stride: u32,
    /// Activation.
    pub activation: Activation,
    /// Whether batch norm follows.
    pub batch_norm: bool,
    /// Whether it runs before global average pooling.
    pub before_pool: bool,
    /// Height and width of the input.
    pub in_size: u32,
    /// Height and width of the output.
    pub out_size: u32,
}

/// Where a block sits in the supernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockPosition {
    /// The block that every subnet shares.
    First,
    /// Block `index` of stage `stage`, both from 0.
    Elastic {
        /// Stage from 0.
        stage: usize,
        /// Block inside the stage from 0.
        index: usize,
    },
}

/// An inverted bottleneck with concrete shapes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlockShape {
    /// Where its weights are.
    pub position: BlockPosition,
    /// Input channels.
    pub in_channels: u32,
    /// Width inside.
    pub mid_channels: u32,
    /// Output channels.
    pub out_channels: u32,
    /// Kernel size of the depthwise convolution.
    pub kernel: u32,
    /// Stride of the depthwise convolution.
    pub stride: u32,
    /// Activation inside.
    pub activation: Activation,
    /// Squeeze-excite width, if there is one.
    pub se_channels: Option<u32>,
    /// Whether the 1×1 expand convolution is there.
    pub expand_conv: bool,
    /// Whether the input is added.
    pub residual: bool,
    /// Height and width of the input.
    pub in_size: u32,
    /// Height and width of the output.
    pub out_size: u32,
}

/// One subnet, all shapes known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubnetConfig {
    /// The space it belongs to.
    pub space: SpaceId,
    /// Height and width of the input image.
    pub resolution: u32,
    /// First convolution.
    pub stem: ConvShape,
    /// Blocks in order, the shared first one included.
    pub blocks: Vec<BlockShape>,
    /// Layers between the last block and the classifier.
    pub head: Vec<ConvShape>,
    /// Input features of the classifier.
    pub features: u32,
    /// Number of classes.
    pub classes: u32,
}

fn after_stride(size: u32, stride: u32) -> u32 {
    (size - 1) / stride + 1
}

impl SearchSpace {
    /// Every shape of `arch`.
    ///
    /// # Panics
    /// If `arch` belongs to another space: `ArchSpec`s come from this space's own doors.
    pub fn resolve(&self, arch: &ArchSpec) -> SubnetConfig {
        assert_eq!(arch.space(), self.id(), "an architecture of another space reached resolve");
        let mut size = after_stride(arch.resolution(), self.stem.stride);
        let stem = ConvShape {
            in_channels: 3,
            out_channels: self.stem.width,
            kernel: self.stem.kernel,
            stride: self.stem.stride,
            activation: self.stem.activation,
            batch_norm: true,
            before_pool: true,
            in_size: arch.resolution(),
            out_size: size,
        };
        let mut channels = self.stem.width;
        let mut blocks = Vec::new();
        if let Some(first) = &self.first_block {
            let out_size = after_stride(size, first.stride);
            blocks.push(BlockShape {
                position: BlockPosition::First,
                in_channels: channels,
                mid_channels: channels,
                out_channels: first.width,
                kernel: first.kernel,
                stride: first.stride,
                activation: first.activation,
                se_channels: None,
                expand_conv: false,
                residual: first.residual && first.stride == 1 && channels == first.width,
                in_size: size,
                out_size,
            });
            (size, channels) = (out_size, first.width);
        }
        for (stage_index, (stage, spec)) in self.stages.iter().zip(arch.stages()).enumerate() {
            for (index, block) in spec.blocks.iter().enumerate() {
                let stride = if index == 0 { stage.stride } else { 1 };
                let out_size = after_stride(size, stride);
                let mid_channels = make_divisible(f64::from(channels * block.expand));
                blocks.push(BlockShape {
                    position: BlockPosition::Elastic { stage: stage_index, index },
                    in_channels: channels,
                    mid_channels,
                    out_channels: stage.width,
                    kernel: block.kernel,
                    stride,
                    activation: stage.activation,
                    se_channels: stage.squeeze_excite.then(|| make_divisible(f64::from(mid_channels / 4))),
                    expand_conv: block.expand != 1 || stage.expand_conv_at_one,
                    residual: stride == 1 && channels == stage.width,
                    in_size: size,
                    out_size,
                });
                (size, channels) = (out_size, stage.width);
            }
        }
        let head: Vec<ConvShape> = self
            .head
            .iter()
            .map(|layer| {
                let at = if layer.before_pool { size } else { 1 };
                let shape = ConvShape {
                    in_channels: channels,
                    out_channels: layer.width,
                    kernel: 1,
                    stride: 1,
                    activation: layer.activation,
                    batch_norm: layer.batch_norm,
                    before_pool: layer.before_pool,
                    in_size: at,
                    out_size: at,
                };
                channels = layer.width;
                shape
            })
            .collect();
        SubnetConfig {
            space: self.id.clone(),
            resolution: arch.resolution(),
            stem,
            blocks,
            head,
            features: channels,
            classes: self.classes,
        }
    }
}
