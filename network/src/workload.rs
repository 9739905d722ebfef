//! A network as a device sees it: operators with concrete shapes, in order.
//!
//! An operator may be a whole fused inverted-bottleneck block, because published tables are measured at that grain
//! (OFA Note10, HW-NAS-Bench); its activation, squeeze-excite and identity addition are inside its cost. MACs and
//! parameters are counted as in `once-for-all` §5.2: convolutions and linear layers only, at their output size.

use crate::units::{Macs, Params};

/// Non-linearity that ends an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Activation {
    /// Identity.
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x·relu6(x + 3)/6 (arXiv:1905.02244, §5.2).
    HSwish,
}

impl Activation {
    /// The word used in every file: `none`, `relu`, `relu6`, `hswish`.
    pub fn name(self) -> &'static str {
        match self {
            Activation::None => "none",
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::HSwish => "hswish",
        }
    }

    /// Reads [`Activation::name`]; `h_swish` is accepted as the published spelling.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "none" => Activation::None,
            "relu" => Activation::Relu,
            "relu6" => Activation::Relu6,
            "hswish" | "h_swish" => Activation::HSwish,
            _ => return None,
        })
    }
}

/// What an operator computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// Dense convolution with batch norm and activation inside.
    Conv,
    /// Inverted bottleneck: \[1×1 expand\] → k×k depthwise → \[squeeze-excite\] → 1×1 project → \[+ input\].
    MbConv,
    /// Global average pooling to 1×1.
    AvgPool,
    /// Fully connected layer with bias.
    Linear,
}

impl OpKind {
    /// The word used in tables: `conv`, `mbconv`, `avgpool`, `linear`.
    pub fn name(self) -> &'static str {
        match self {
            OpKind::Conv => "conv",
            OpKind::MbConv => "mbconv",
            OpKind::AvgPool => "avgpool",
            OpKind::Linear => "linear",
        }
    }

    /// Reads [`OpKind::name`].
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "conv" => OpKind::Conv,
            "mbconv" => OpKind::MbConv,
            "avgpool" => OpKind::AvgPool,
            "linear" => OpKind::Linear,
            _ => return None,
        })
    }
}

/// One operator with every shape known. Feature maps are square: `in_size` × `in_size` × `in_channels`.
///
/// Fields that a kind does not use are 0 (`mid_channels`, `se_channels`) or 1 (`kernel`, `stride`, `groups`), so that
/// equal operators are equal keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Op {
    /// What it computes.
    pub kind: OpKind,
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

impl Op {
    /// An operator with these shapes and nothing else: 1×1, stride 1, one group, no activation, no batch norm.
    pub fn plain(kind: OpKind, in_size: u32, in_channels: u32, out_size: u32, out_channels: u32) -> Op {
        Op {
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

    /// Multiply-accumulates: convolutions and linear layers; batch norm, activations, pooling and bias count 0.
    pub fn macs(&self) -> Macs {
        let u = u64::from;
        let in_area = u(self.in_size) * u(self.in_size);
        let out_area = u(self.out_size) * u(self.out_size);
        let (cin, cout, mid) = (u(self.in_channels), u(self.out_channels), u(self.mid_channels));
        let taps = u(self.kernel) * u(self.kernel);
        Macs(match self.kind {
            OpKind::Conv => cin * cout * taps * out_area / u(self.groups),
            OpKind::Linear => cin * cout,
            OpKind::AvgPool => 0,
            OpKind::MbConv => {
                let expand = if self.expand_conv { cin * mid * in_area / u(self.groups) } else { 0 };
                let depthwise = mid * taps * out_area;
                let squeeze_excite = 2 * mid * u(self.se_channels);
                expand + depthwise + squeeze_excite + mid * cout * out_area / u(self.groups)
            }
        })
    }

    /// Parameters of the static layer: weights, biases, batch-norm γ and β; no running statistics, no kernel transforms.
    pub fn params(&self) -> Params {
        let u = u64::from;
        let (cin, cout, mid) = (u(self.in_channels), u(self.out_channels), u(self.mid_channels));
        let taps = u(self.kernel) * u(self.kernel);
        Params(match self.kind {
            OpKind::Conv => cin * cout * taps / u(self.groups) + if self.batch_norm { 2 * cout } else { 0 },
            OpKind::Linear => cin * cout + cout,
            OpKind::AvgPool => 0,
            OpKind::MbConv => {
                let expand = if self.expand_conv { cin * mid / u(self.groups) + 2 * mid } else { 0 };
                let depthwise = mid * taps + 2 * mid;
                let se = u(self.se_channels);
                let squeeze_excite = if se > 0 { 2 * mid * se + se + mid } else { 0 };
                expand + depthwise + squeeze_excite + mid * cout / u(self.groups) + 2 * cout
            }
        })
    }
}

/// The operator in words, as errors name it: `mbconv 16x16x24 -> 8x8x32 mid 72 k5 s2 relu se 24`.
impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, input, output) = (self.kind.name(), self.in_size, self.out_size);
        write!(f, "{kind} {input}x{input}x{} -> {output}x{output}x{}", self.in_channels, self.out_channels)?;
        if self.kind == OpKind::MbConv {
            write!(f, " mid {}", self.mid_channels)?;
        }
        if matches!(self.kind, OpKind::Conv | OpKind::MbConv) {
            write!(f, " k{} s{} {}", self.kernel, self.stride, self.activation.name())?;
        }
        if self.groups > 1 {
            write!(f, " groups {}", self.groups)?;
        }
        if self.se_channels > 0 {
            write!(f, " se {}", self.se_channels)?;
        }
        if self.kind == OpKind::MbConv && !self.expand_conv {
            f.write_str(" without expand")?;
        }
        if self.residual {
            f.write_str(" + input")?;
        }
        Ok(())
    }
}

/// The operators of one network at one input resolution, in order of execution.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Height and width of the input image.
    pub resolution: u32,
    /// Operators in order.
    pub ops: Vec<Op>,
}

impl Workload {
    /// Multiply-accumulates of the whole network.
    pub fn macs(&self) -> Macs {
        Macs(self.ops.iter().map(|op| op.macs().0).sum())
    }

    /// Parameters of the whole static network.
    pub fn params(&self) -> Params {
        Params(self.ops.iter().map(|op| op.params().0).sum())
    }
}
