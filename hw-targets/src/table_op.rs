//! An operator as tables write it down: one flat row for the four kinds that are measured, all of one set of columns.
//!
//! A table is made once and read for years, so its columns do not grow with every new block: what it has no words for is
//! priced by the layers it consists of, or refused by name.

use network::layers::{Layer, LayerKind, Window};
use network::op::{Activation, Conv, InvertedBottleneck, Linear, Map, Op, Pool, PoolKind, Workload};
use network::units::Macs;

/// What a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableKind {
    /// Convolution with batch norm and activation inside.
    Conv,
    /// Whole inverted bottleneck.
    MbConv,
    /// Average pooling; between equal sizes an identity.
    AvgPool,
    /// Fully connected layer with bias.
    Linear,
}

impl TableKind {
    /// The word used in tables: `conv`, `mbconv`, `avgpool`, `linear`.
    pub fn name(self) -> &'static str {
        match self {
            TableKind::Conv => "conv",
            TableKind::MbConv => "mbconv",
            TableKind::AvgPool => "avgpool",
            TableKind::Linear => "linear",
        }
    }

    /// Reads [`TableKind::name`].
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "conv" => TableKind::Conv,
            "mbconv" => TableKind::MbConv,
            "avgpool" => TableKind::AvgPool,
            "linear" => TableKind::Linear,
            _ => return None,
        })
    }
}

/// The columns of one row. Feature maps are square: `in_size` × `in_size` × `in_channels`.
///
/// Fields that a kind does not use are 0 (`mid_channels`, `se_channels`) or 1 (`kernel`, `stride`, `groups`), so that
/// equal operators are equal keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableOp {
    /// What it computes.
    pub kind: TableKind,
    /// Height and width of the input.
    pub in_size: u32,
    /// Channels of the input.
    pub in_channels: u32,
    /// Height and width of the output.
    pub out_size: u32,
    /// Channels of the output.
    pub out_channels: u32,
    /// Kernel size (of the depthwise convolution in an inverted bottleneck).
    pub kernel: u32,
    /// Stride.
    pub stride: u32,
    /// Groups of the dense convolutions (1 everywhere but in the grouped operators of some tables).
    pub groups: u32,
    /// Absolute width inside an inverted bottleneck.
    pub mid_channels: u32,
    /// Whether the 1×1 expand convolution is there (absent in OFA blocks of expand ratio 1, present in FBNet's).
    pub expand_conv: bool,
    /// Squeeze-excite width; 0 = none.
    pub se_channels: u32,
    /// Activation (inside the block for an inverted bottleneck, whose output is linear).
    pub activation: Activation,
    /// Whether the input is added to the output.
    pub residual: bool,
    /// Whether the convolution is followed by batch norm; without it there is no bias either.
    pub batch_norm: bool,
}

impl TableOp {
    /// A row with these shapes and nothing else: 1×1, stride 1, one group, no activation, no batch norm.
    pub fn plain(kind: TableKind, in_size: u32, in_channels: u32, out_size: u32, out_channels: u32) -> TableOp {
        TableOp {
            kind,
            in_size,
            in_channels,
            out_size,
            out_channels,
            kernel: 1,
            stride: 1,
            groups: 1,
            mid_channels: 0,
            expand_conv: false,
            se_channels: 0,
            activation: Activation::None,
            residual: false,
            batch_norm: false,
        }
    }

    /// The row of an operator, if tables have words for it.
    ///
    /// Rows do not say where padding lies, whether batch norm or a bias follows the convolution of a block, nor what
    /// activates a block's output: none of it costs anything that was measured apart.
    pub fn of(op: &Op) -> Option<TableOp> {
        let plain = |kind| {
            let (input, output) = (op.input(), op.output());
            TableOp::plain(kind, input.size, input.channels, output.size, output.channels)
        };
        Some(match op {
            Op::Conv(conv) => TableOp {
                kernel: conv.kernel,
                stride: conv.stride,
                groups: conv.groups,
                activation: conv.activation,
                batch_norm: conv.batch_norm,
                ..plain(TableKind::Conv)
            },
            Op::InvertedBottleneck(block) => TableOp {
                kernel: block.kernel,
                stride: block.stride,
                groups: block.groups,
                mid_channels: block.mid_channels,
                expand_conv: block.expand_conv,
                se_channels: block.se_channels.unwrap_or(0),
                activation: block.activation,
                residual: block.residual,
                batch_norm: true,
                ..plain(TableKind::MbConv)
            },
            Op::Pool(pool) if pool.kind == PoolKind::Average => {
                let is_global = pool.output.size == 1 && pool.kernel >= pool.input.size;
                if !is_global && pool.kernel != 1 {
                    return None;
                }
                plain(TableKind::AvgPool)
            }
            Op::Linear(linear) => {
                let inputs = u32::try_from(linear.input.elements()).ok()?;
                TableOp::plain(TableKind::Linear, 1, inputs, 1, linear.outputs)
            }
            _ => return None,
        })
    }

    /// The rows of the convolutions and linear layers of an operator, each alone, in a table of bare layers.
    pub(crate) fn of_layers(op: &Op) -> Vec<TableOp> {
        let row = |layer: &Layer| {
            let (input, output) = (layer.input, layer.output);
            let plain = TableOp::plain(TableKind::Conv, input.size, input.channels, output.size, output.channels);
            let conv = |window: &Window, groups| TableOp {
                kernel: window.kernel,
                stride: window.stride,
                groups,
                batch_norm: true,
                ..plain
            };
            match &layer.kind {
                LayerKind::Conv(window, weights) => Some(conv(window, weights.groups)),
                LayerKind::Depthwise(window, _) => Some(conv(window, input.channels)),
                LayerKind::Linear(_) => {
                    let inputs = u32::try_from(input.elements()).ok()?;
                    Some(TableOp::plain(TableKind::Linear, 1, inputs, 1, output.channels))
                }
                _ => None,
            }
        };
        op.layers().iter().filter_map(row).collect()
    }

    /// The operator of this row, with padding that gives the output its size: as much as half the kernel at the top,
    /// the rest at the bottom.
    pub fn op(&self) -> Op {
        let (input, output) = (Map::new(self.in_size, self.in_channels), Map::new(self.out_size, self.out_channels));
        let covered = self.out_size.max(1).saturating_sub(1).saturating_mul(self.stride).saturating_add(self.kernel);
        let padding = covered.saturating_sub(self.in_size).min(self.kernel / 2);
        match self.kind {
            TableKind::Conv => Op::Conv(Conv {
                kernel: self.kernel,
                stride: self.stride,
                padding,
                groups: self.groups,
                batch_norm: self.batch_norm,
                activation: self.activation,
                ..Conv::plain(input, output)
            }),
            TableKind::MbConv => Op::InvertedBottleneck(InvertedBottleneck {
                input,
                output,
                mid_channels: self.mid_channels,
                kernel: self.kernel,
                stride: self.stride,
                padding,
                groups: self.groups,
                expand_conv: self.expand_conv,
                se_channels: (self.se_channels > 0).then_some(self.se_channels),
                activation: self.activation,
                output_activation: Activation::None,
                residual: self.residual,
            }),
            TableKind::AvgPool if self.out_size == self.in_size => {
                Op::Pool(Pool { kind: PoolKind::Average, input, output, kernel: 1, stride: 1, padding: 0 })
            }
            TableKind::AvgPool => Op::Pool(Pool {
                kind: PoolKind::Average,
                input,
                output,
                kernel: self.in_size.div_ceil(self.out_size.max(1)),
                stride: if self.out_size == 1 { 1 } else { self.in_size.div_ceil(self.out_size.max(1)) },
                padding: 0,
            }),
            TableKind::Linear => {
                Op::Linear(Linear { input, outputs: self.out_channels, bias: true, activation: Activation::None })
            }
        }
    }

    /// Multiply-accumulates.
    pub fn macs(&self) -> Macs {
        self.op().macs()
    }
}

/// The network of these rows, in order.
pub fn workload(resolution: u32, rows: &[TableOp]) -> Workload {
    Workload { resolution, ops: rows.iter().map(TableOp::op).collect() }
}

/// The row's operator in words.
impl std::fmt::Display for TableOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.op().fmt(f)
    }
}
