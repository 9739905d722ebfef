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

use network::workload::{Activation, Op, OpKind};

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
    pub fn of(op: &Op) -> Option<Self> {
        match op.kind {
            OpKind::MbConv => Some(OpClass::Block),
            OpKind::Conv if op.groups > 1 => None,
            OpKind::Conv if op.kernel == 1 => Some(OpClass::Pointwise),
            OpKind::Conv => Some(OpClass::Dense),
            OpKind::AvgPool => Some(OpClass::Pool),
            OpKind::Linear => Some(OpClass::Linear),
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
pub const SE_ELEMENTS: &str = "se_elements";
/// Weights (and MACs) of the two squeeze-excite layers.
pub const SE_WEIGHTS: &str = "se_weights";
/// Depthwise MACs from kernel 7 on, on top of those of any wide kernel.
pub const KERNEL_7: &str = "depthwise_macs_7";
/// Elements that pass an h-swish.
pub const HSWISH: &str = "hswish_elements";
/// Elements of 1 MiB in fp32.
const SPILL_ELEMENTS: f64 = 262_144.0;
/// 1 if the 1×1 convolutions have groups.
pub const GROUPED: &str = "grouped";
/// 1 always.
pub const CONSTANT: &str = "constant";

/// The class's own counts of `op`, in the order of [`OpClass::features`].
pub fn counts(class: OpClass, op: &Op) -> Vec<f64> {
    let f = f64::from;
    let (in_area, out_area) = (f(op.in_size).powi(2), f(op.out_size).powi(2));
    let (cin, cout, mid, groups) = (f(op.in_channels), f(op.out_channels), f(op.mid_channels), f(op.groups));
    let taps = f(op.kernel).powi(2);
    match class {
        OpClass::Block => {
            let expand = if op.expand_conv { 1.0 } else { 0.0 };
            let when = |condition: bool, count: f64| if condition { count } else { 0.0 };
            let depthwise_outputs = out_area * mid;
            vec![
                expand * in_area * cin * mid / groups,
                out_area * mid * cout / groups,
                depthwise_outputs,
                when(op.kernel >= 5, depthwise_outputs * taps),
                when(op.kernel >= 7, depthwise_outputs * taps),
                when(in_area * mid > SPILL_ELEMENTS, depthwise_outputs * taps),
                expand * in_area * mid,
                expand * cin * mid / groups,
                mid * cout / groups,
                cin,
                out_area,
                when(op.se_channels > 0, depthwise_outputs),
                2.0 * mid * f(op.se_channels),
                hswish_elements(op),
                when(op.groups > 1, in_area * cin + depthwise_outputs),
                when(op.groups > 1, 1.0),
                1.0,
            ]
        }
        OpClass::Pointwise => vec![out_area * cin * cout, cin * cout],
        OpClass::Dense => vec![out_area * cin * cout * taps, 1.0],
        OpClass::Pool => vec![in_area * cin, 1.0],
        OpClass::Linear => vec![cin * cout, 1.0],
    }
}

/// Elements that pass an h-swish in `op`, whatever its class.
pub fn hswish_elements(op: &Op) -> f64 {
    if op.activation != Activation::HSwish {
        return 0.0;
    }
    let f = f64::from;
    let (in_area, out_area) = (f(op.in_size).powi(2), f(op.out_size).powi(2));
    match op.kind {
        OpKind::MbConv => f(op.mid_channels) * (out_area + if op.expand_conv { in_area } else { 0.0 }),
        OpKind::Conv | OpKind::Linear => out_area * f(op.out_channels),
        OpKind::AvgPool => 0.0,
    }
}
