//! A subnet down to operators as devices and tables know them: stem, fused blocks, head, pool, classifier.

use network::op::{Activation, Conv, InvertedBottleneck, Linear, Map, Op, Pool, Workload};
use network::shape::NetworkShape;

use crate::space::SearchSpace;
use crate::space::arch::ArchSpec;
use crate::space::subnet::{BlockShape, ConvShape, SubnetConfig};

impl SubnetConfig {
    /// The operators, in order: stem, blocks, head layers before the pool, pool, head layers after it, classifier.
    pub fn lower(&self) -> Workload {
        let mut ops = vec![conv_op(&self.stem)];
        ops.extend(self.blocks.iter().map(block_op));
        let last = &ops[ops.len() - 1];
        let Map { size, channels } = last.output();
        ops.extend(tail_ops(&self.head, size, channels, self.features, self.classes));
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

impl SearchSpace {
    /// `arch` as a network that needs no space: layers `stem`, `blocks.N`, `head.N`, `pool` and `classifier`, named as
    /// the weights of an extracted network are.
    ///
    /// # Panics
    /// If `arch` belongs to another space.
    pub fn network(&self, arch: &ArchSpec) -> NetworkShape {
        self.network_of(&self.resolve(arch))
    }

    /// The same of shapes that need not be those of a member.
    ///
    /// # Panics
    /// If they are of another space.
    pub fn network_of(&self, config: &SubnetConfig) -> NetworkShape {
        let Workload { resolution, ops } = config.lower();
        let (mut blocks, mut heads) = (0, 0);
        let last = ops.len() - 1;
        let name = |(at, op): (usize, &Op)| match op {
            Op::Pool(_) => "pool".to_owned(),
            Op::InvertedBottleneck(_) => {
                blocks += 1;
                format!("blocks.{}", blocks - 1)
            }
            _ if at == 0 => "stem".to_owned(),
            _ if at == last => "classifier".to_owned(),
            _ => {
                heads += 1;
                format!("head.{}", heads - 1)
            }
        };
        let names: Vec<String> = ops.iter().enumerate().map(name).collect();
        NetworkShape::chain(Map::new(resolution, 3), names.into_iter().zip(ops).collect(), self.batch_norm.eps)
            .expect("the layers of a subnet meet")
    }
}

/// A dense convolution, padded on both sides.
pub(crate) fn conv_op(conv: &ConvShape) -> Op {
    Op::Conv(Conv {
        kernel: conv.kernel,
        stride: conv.stride,
        padding: conv.kernel / 2,
        activation: conv.activation,
        batch_norm: conv.batch_norm,
        ..Conv::plain(Map::new(conv.in_size, conv.in_channels), Map::new(conv.out_size, conv.out_channels))
    })
}

/// A whole inverted bottleneck.
pub(crate) fn block_op(block: &BlockShape) -> Op {
    Op::InvertedBottleneck(InvertedBottleneck {
        input: Map::new(block.in_size, block.in_channels),
        output: Map::new(block.out_size, block.out_channels),
        mid_channels: block.mid_channels,
        kernel: block.kernel,
        stride: block.stride,
        padding: block.kernel / 2,
        groups: 1,
        expand_conv: block.expand_conv,
        se_channels: block.se_channels,
        activation: block.activation,
        output_activation: Activation::None,
        residual: block.residual,
    })
}

/// What follows the last block: head layers around global average pooling, and the classifier.
pub(crate) fn tail_ops(head: &[ConvShape], size: u32, channels: u32, features: u32, classes: u32) -> Vec<Op> {
    let before = head.iter().take_while(|layer| layer.before_pool).count();
    let mut ops: Vec<Op> = head[..before].iter().map(conv_op).collect();
    let pooled = ops.last().map_or(channels, |op| op.output().channels);
    ops.push(Op::Pool(Pool::global(Map::new(size, pooled))));
    ops.extend(head[before..].iter().map(conv_op));
    ops.push(Op::Linear(Linear {
        input: Map::new(1, features),
        outputs: classes,
        bias: true,
        activation: Activation::None,
    }));
    ops
}
