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
    pub fn features(self) -> Vec<&'static str> {
        self.terms().iter().map(|(name, _)| *name).collect()
    }

    /// The class's own counts: the name of each beside what is counted.
    fn terms(self) -> &'static [Term] {
        match self {
            OpClass::Block => &BLOCK,
            OpClass::Pointwise => &[("macs", |op| op.alone.macs), ("weights", |op| op.alone.weights)],
            OpClass::Dense => &[("macs", |op| op.alone.macs), (CONSTANT, |_| 1.0)],
            OpClass::Pool => &[("in_elements", |op| op.in_elements), (CONSTANT, |_| 1.0)],
            OpClass::Linear => &[("weights", |op| op.alone.weights), (CONSTANT, |_| 1.0)],
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

/// The name of a count, and what is counted.
type Term = (&'static str, fn(&Parts) -> f64);

/// Counts of a block.
const BLOCK: [Term; 17] = [
    ("macs_expand", |op| op.expand.macs),
    ("macs_project", |op| op.project.macs),
    ("depthwise_outputs", |op| op.filter.outputs),
    ("depthwise_macs_wide", |op| when(op.kernel >= 5, op.filter.macs)),
    (KERNEL_7, |op| when(op.kernel >= 7, op.filter.macs)),
    ("depthwise_macs_spilled", |op| when(op.filter.inputs > SPILL_ELEMENTS, op.filter.macs)),
    ("expanded_elements", |op| op.expand.outputs),
    ("weights_expand", |op| op.expand.weights),
    ("weights_project", |op| op.project.weights),
    ("in_channels", |op| op.in_channels),
    ("out_pixels", |op| op.out_pixels),
    (SE_ELEMENTS, |op| when(op.has_squeeze_excite, op.filter.outputs)),
    (SE_WEIGHTS, |op| op.squeeze_excite_weights),
    (HSWISH, |op| op.hswish),
    ("group_elements", |op| when(op.is_grouped, op.in_elements + op.filter.outputs)),
    (GROUPED, |op| when(op.is_grouped, 1.0)),
    (CONSTANT, |_| 1.0),
];

fn when(condition: bool, count: f64) -> f64 {
    if condition { count } else { 0.0 }
}

/// One weighted layer of an operator; all zero where it has none.
#[derive(Clone, Copy, Default)]
struct Part {
    macs: f64,
    weights: f64,
    /// Elements that it reads and makes.
    inputs: f64,
    outputs: f64,
}

/// What the counts of an operator are made of.
#[derive(Default)]
struct Parts {
    /// A layer that is an operator by itself: a convolution or linear layer.
    alone: Part,
    expand: Part,
    filter: Part,
    project: Part,
    squeeze_excite_weights: f64,
    has_squeeze_excite: bool,
    is_grouped: bool,
    kernel: u32,
    hswish: f64,
    in_channels: f64,
    in_elements: f64,
    out_pixels: f64,
}

impl Parts {
    fn of(op: &Op) -> Self {
        let layers = op.layers();
        let part = |role: &str| {
            let layer = layers.iter().find(|layer| layer.is_weighted() && layer.role() == role);
            layer.map_or(Part::default(), |layer| Part {
                macs: layer.macs().0 as f64,
                weights: layer.weight_count() as f64,
                inputs: layer.input.elements() as f64,
                outputs: layer.output.elements() as f64,
            })
        };
        let common = Self {
            alone: part(if matches!(op, Op::Linear(_)) { "" } else { "conv" }),
            hswish: hswish_elements(op),
            in_channels: f64::from(op.input().channels),
            in_elements: op.input().elements() as f64,
            out_pixels: op.output().area() as f64,
            ..Self::default()
        };
        let Op::InvertedBottleneck(block) = op else { return common };
        Self {
            expand: part("expand"),
            filter: part("depthwise"),
            project: part("project"),
            squeeze_excite_weights: part("se.reduce").weights + part("se.expand").weights,
            has_squeeze_excite: block.se_channels.is_some(),
            is_grouped: block.groups > 1,
            kernel: block.kernel,
            ..common
        }
    }
}

/// The class's own counts of `op`, in the order of [`OpClass::features`].
pub fn counts(class: OpClass, op: &TableOp) -> Vec<f64> {
    let parts = Parts::of(&op.op());
    class.terms().iter().map(|(_, count)| count(&parts)).collect()
}

/// Elements that pass an h-swish in `op`, whatever its class.
pub fn hswish_elements(op: &Op) -> f64 {
    let is_hswish = |layer: &&Layer| layer.kind == LayerKind::Activation(Activation::HSwish);
    op.layers().iter().filter(is_hswish).map(|layer| layer.output.elements() as f64).sum()
}
