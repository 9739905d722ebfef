//! A subnet down to operators as devices and tables know them: stem, fused blocks, head, pool, classifier.
//!
//! Fields that a kind of operator does not use are 0 or 1, so that equal operators are equal keys.

use network::workload::{Op, OpKind, Workload};

use crate::arch::ArchSpec;
use crate::space::SearchSpace;
use crate::subnet::{BlockShape, ConvShape, SubnetConfig};

impl SubnetConfig {
    /// The operators, in order: stem, blocks, head layers before the pool, pool, head layers after it, classifier.
    pub fn lower(&self) -> Workload {
        let mut ops = vec![conv_op(&self.stem)];
        ops.extend(self.blocks.iter().map(block_op));
        let last = &ops[ops.len() - 1];
        ops.extend(tail_ops(&self.head, last.out_size, last.out_channels, self.features, self.classes));
        Workload { resolution: self.resolution, ops }
    }
}

impl SearchSpace {
    /// The operators of `arch`.
    ///
    /// # Panics
    /// If `arch` belongs to another space.
    pub fn lower(&self, arch: &ArchSpec) -> Workload {
        self.resolve(arch).lower()
    }
}

/// A dense convolution.
pub fn conv_op(conv: &ConvShape) -> Op {
    Op {
        kernel: conv.kernel,
        stride: conv.stride,
        activation: conv.activation,
        batch_norm: conv.batch_norm,
        ..Op::plain(OpKind::Conv, conv.in_size, conv.in_channels, conv.out_size, conv.out_channels)
    }
}

/// A whole inverted bottleneck.
pub fn block_op(block: &BlockShape) -> Op {
    Op {
        kernel: block.kernel,
        stride: block.stride,
        mid_channels: block.mid_channels,
        expand_conv: block.expand_conv,
        se_channels: block.se_channels.unwrap_or(0),
        activation: block.activation,
        residual: block.residual,
        batch_norm: true,
        ..Op::plain(OpKind::MbConv, block.in_size, block.in_channels, block.out_size, block.out_channels)
    }
}

/// What follows the last block: head layers around global average pooling, and the classifier.
pub(crate) fn tail_ops(head: &[ConvShape], size: u32, channels: u32, features: u32, classes: u32) -> Vec<Op> {
    let before = head.iter().take_while(|layer| layer.before_pool).count();
    let mut ops: Vec<Op> = head[..before].iter().map(conv_op).collect();
    let pooled = ops.last().map_or(channels, |op| op.out_channels);
    ops.push(Op::plain(OpKind::AvgPool, size, pooled, 1, pooled));
    ops.extend(head[before..].iter().map(conv_op));
    ops.push(Op::plain(OpKind::Linear, 1, features, 1, classes));
    ops
}
