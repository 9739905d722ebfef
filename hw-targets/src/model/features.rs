//! What a fitted model counts in an operator.
//!
//! Operators fall into five classes, each with its own few counts. Every class also pays the floor of one measured
//! operator and h-swish per element, both known from the blocks, because a table holds hundreds of blocks and two or
//! three of everything else.
//!
//! Counts of a block (chosen by trying counts in and out against the leave-one-out errors of the three shipped tables,
//! which are therefore somewhat optimistic): MACs of the two 1×1 convolutions; outputs of the depthwise convolution,
//! and its MACs from kernel 5 on (a 3×3 kernel is bound by its outputs, a wider one by its taps), from kernel 7 on once
//! more, and on maps beyond 1 MiB (fp32), which fall out of the caches; elements after expansion; weights of the two
//! 1×1 convolutions; input channels and output pixels; elements and weights of squeeze-excite; elements through
//! h-swish; elements that enter grouped convolutions, and whether there are groups.

use crate::table_op::{TableKind, TableOp};
use network::layers::{Layer, LayerKind};
use network::op::{Activation, Op};

/// Classes of operators that share coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpClass {
    /// Fused inverted bottleneck.
    Block,
    /// 1×1 convolution.
    Pointwise,
    /// Wider convolution without groups.
    Dense,
    /// Global average pooling.
    Pool,
    /// Fully connected layer.
    Linear,
}

impl OpClass {
    /// All classes, blocks first.
    pub const ALL: [OpClass; 5] = [OpClass::Block, OpClass::Pointwise, OpClass::Dense, OpClass::Pool, OpClass::Linear];

    /// The class of `op`; `None` for convolutions with groups, which no table here measures alone.
    pub fn of(op: &TableOp) -> Option<Self> {
        match op.kind {
            TableKind::MbConv => Some(OpClass::Block),
            TableKind::Conv if op.groups > 1 => None,
            TableKind::Conv if op.kernel == 1 => Some(OpClass::Pointwise),
            TableKind::Conv => Some(OpClass::Dense),
            TableKind::AvgPool => Some(OpClass::Pool),
            TableKind::Linear => Some(OpClass::Linear),
        }
    }

    /// The word used in files.
    pub fn name(self) -> &'static str {
        match self {
            OpClass::Block => "block",
            OpClass::Pointwise => "pointwise",
            OpClass::Dense => "dense",
            OpClass::Pool => "pool",
            OpClass::Linear => "linear",
        }
    }

    /// Reads [`OpClass::name`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == word)
    }

    /// Names of the class's own counts, in the order of [`counts`].
    pub fn features(self) -> &'static [&'static str] {
        match self {
            OpClass::Block => &[
                "macs_expand",
                "macs_project",
                "depthwise_outputs",
                "depthwise_macs_wide",
                KERNEL_7,
                "depthwise_macs_spilled",
                "expanded_elements",
                "weights_expand",
                "weights_project",
                "in_channels",
                "out_pixels",
                SE_ELEMENTS,
                SE_WEIGHTS,
                HSWISH,
                "group_elements",
                GROUPED,
                CONSTANT,
            ],
            OpClass::Pointwise => &["macs", "weights"],
            OpClass::Dense => &["macs", CONSTANT],
            OpClass::Pool => &["in_elements", CONSTANT],
            OpClass::Linear => &["weights", CONSTANT],
        }
    }
}

/// Elements scaled by squeeze-excite.
pub(crate) const SE_ELEMENTS: &str = "se_elements";
/// Weights (and MACs) of the two squeeze-excite layers.
pub(crate) const SE_WEIGHTS: &str = "se_weights";
/// Depthwise MACs from kernel 7 on, on top of those of any wide kernel.
pub(crate) const KERNEL_7: &str = "depthwise_macs_7";
/// Elements that pass an h-swish.
pub(crate) const HSWISH: &str = "hswish_elements";
/// Elements of 1 MiB in fp32.
const SPILL_ELEMENTS: f64 = 262_144.0;
/// 1 if the 1×1 convolutions have groups.
pub(crate) const GROUPED: &str = "grouped";
/// 1 always.
pub(crate) const CONSTANT: &str = "constant";

/// The class's own counts of `op`, in the order of [`OpClass::features`].
pub fn counts(class: OpClass, op: &TableOp) -> Vec<f64> {
    let op = op.op();
    let layers = op.layers();
    // Of the weighted layer in this place of a block: MACs, weights, elements that it reads and makes; 0 without one.
    let of = |role: &str| {
        let layer = layers.iter().find(|layer| layer.is_weighted() && layer.role() == role);
        layer.map_or([0.0; 4], |layer| {
            [layer.macs().0, layer.weight_count(), layer.input.elements(), layer.output.elements()].map(|n| n as f64)
        })
    };
    let [macs, weights, ..] = of(if class == OpClass::Linear { "" } else { "conv" });
    match (class, &op) {
        (OpClass::Block, Op::InvertedBottleneck(block)) => {
            let when = |condition: bool, count: f64| if condition { count } else { 0.0 };
            let [expand_macs, expand_weights, _, expanded] = of("expand");
            let [filter_macs, _, filter_inputs, filter_outputs] = of("depthwise");
            let [project_macs, project_weights, ..] = of("project");
            let entering = op.input().elements() as f64;
            vec![
                expand_macs,
                project_macs,
                filter_outputs,
                when(block.kernel >= 5, filter_macs),
                when(block.kernel >= 7, filter_macs),
                when(filter_inputs > SPILL_ELEMENTS, filter_macs),
                expanded,
                expand_weights,
                project_weights,
                f64::from(op.input().channels),
                op.output().area() as f64,
                when(block.se_channels.is_some(), filter_outputs),
                of("se.reduce")[1] + of("se.expand")[1],
                hswish_elements(&op),
                when(block.groups > 1, entering + filter_outputs),
                when(block.groups > 1, 1.0),
                1.0,
            ]
        }
        (OpClass::Pointwise, _) => vec![macs, weights],
        (OpClass::Dense, _) => vec![macs, 1.0],
        (OpClass::Pool, _) => vec![op.input().elements() as f64, 1.0],
        _ => vec![weights, 1.0],
    }
}

/// Elements that pass an h-swish in `op`, whatever its class.
pub fn hswish_elements(op: &Op) -> f64 {
    let is_hswish = |layer: &&Layer| layer.kind == LayerKind::Activation(Activation::HSwish);
    op.layers().iter().filter(is_hswish).map(|layer| layer.output.elements() as f64).sum()
}
