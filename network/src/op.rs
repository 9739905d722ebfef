//! Operators: the pieces that networks are written in and tables price, with every shape known.
//!
//! An operator may be a whole block, because published tables are measured at that grain (OFA Note10, HW-NAS-Bench). What
//! it consists of is said in one place, [`Op::layers`]; MACs, parameters, memory, energy on an accelerator, timing,
//! running and exporting are folds over that. Feature maps are square.

use std::fmt;

use crate::units::{Macs, Params};

/// Non-linearity.
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
    /// relu6(x + 3)/6: the gate of squeeze-excite (arXiv:1905.02244, §5.3).
    HSigmoid,
}

impl Activation {
    /// The word used in every file: `none`, `relu`, `relu6`, `hswish`, `hsigmoid`.
    pub fn name(self) -> &'static str {
        match self {
            Activation::None => "none",
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::HSwish => "hswish",
            Activation::HSigmoid => "hsigmoid",
        }
    }

    /// Reads [`Activation::name`]; `h_swish` is accepted as the published spelling. The gate of squeeze-excite is part of a
    /// block and not among the words.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "none" => Activation::None,
            "relu" => Activation::Relu,
            "relu6" => Activation::Relu6,
            "hswish" | "h_swish" => Activation::HSwish,
            _ => return None,
        })
    }

    /// f(x).
    pub fn of(self, x: f32) -> f32 {
        match self {
            Activation::None => x,
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::HSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Activation::HSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        }
    }
}

/// A square feature map: `size` × `size` × `channels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Map {
    /// Height and width.
    pub size: u32,
    /// Channels.
    pub channels: u32,
}

impl Map {
    /// A map of this height and width and these channels.
    pub fn new(size: u32, channels: u32) -> Self {
        Self { size, channels }
    }

    /// Positions of one channel.
    pub fn area(self) -> u64 {
        u64::from(self.size) * u64::from(self.size)
    }

    /// Numbers in it.
    pub fn elements(self) -> u64 {
        self.area() * u64::from(self.channels)
    }
}

/// `32x32x16`.
impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{0}x{0}x{1}", self.size, self.channels)
    }
}

/// A convolution, dense, grouped or depthwise, with what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conv {
    /// What it reads.
    pub input: Map,
    /// What it makes.
    pub output: Map,
    /// Kernel size.
    pub kernel: u32,
    /// Stride.
    pub stride: u32,
    /// Rows of zeros at the top and left; those at the bottom and right follow from the sizes.
    pub padding: u32,
    /// Groups; as many as channels for a depthwise convolution.
    pub groups: u32,
    /// Whether it has a bias of its own.
    pub bias: bool,
    /// Whether batch norm follows.
    pub batch_norm: bool,
    /// Activation at the end.
    pub activation: Activation,
}

impl Conv {
    /// One without padding, groups, bias, batch norm and activation, 1×1 and of stride 1.
    pub fn plain(input: Map, output: Map) -> Self {
        Self {
            input,
            output,
            kernel: 1,
            stride: 1,
            padding: 0,
            groups: 1,
            bias: false,
            batch_norm: false,
            activation: Activation::None,
        }
    }

    /// Whether every channel is filtered by itself.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.input.channels && self.groups == self.output.channels
    }
}

/// \[1×1 expand\] → k×k depthwise → \[squeeze-excite\] → 1×1 project → \[+ input\], batch norm after each convolution
/// (arXiv:1801.04381; squeeze-excite as in arXiv:1905.02244).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InvertedBottleneck {
    /// What it reads.
    pub input: Map,
    /// What it makes.
    pub output: Map,
    /// Width inside.
    pub mid_channels: u32,
    /// Kernel size of the depthwise convolution.
    pub kernel: u32,
    /// Stride of the depthwise convolution.
    pub stride: u32,
    /// Rows of zeros at the top and left of the depthwise convolution.
    pub padding: u32,
    /// Groups of the 1×1 convolutions.
    pub groups: u32,
    /// Whether the expand convolution is there (absent in OFA's blocks of expand ratio 1, present in FBNet's).
    pub expand_conv: bool,
    /// Squeeze-excite width.
    pub se_channels: Option<u32>,
    /// Activation after the expand and the depthwise convolution.
    pub activation: Activation,
    /// Activation of the output: none but in the separable convolutions of MobileNet v1 (arXiv:1704.04861).
    pub output_activation: Activation,
    /// Whether the input is added to the output.
    pub residual: bool,
}

/// What a pooling keeps of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PoolKind {
    /// The mean of what lies inside the map.
    Average,
    /// The largest.
    Max,
}

/// Pooling by windows; a global one has the map as its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pool {
    /// Mean or largest.
    pub kind: PoolKind,
    /// What it reads.
    pub input: Map,
    /// What it makes.
    pub output: Map,
    /// Window.
    pub kernel: u32,
    /// Stride.
    pub stride: u32,
    /// Rows at the top and left of the first window that lie outside of the map.
    pub padding: u32,
}

impl Pool {
    /// The mean of a whole map.
    pub fn global(input: Map) -> Self {
        let output = Map::new(1, input.channels);
        Self { kind: PoolKind::Average, input, output, kernel: input.size, stride: 1, padding: 0 }
    }
}

/// Fully connected layer over all numbers of a map, channel by channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Linear {
    /// What it reads.
    pub input: Map,
    /// Outputs.
    pub outputs: u32,
    /// Whether it has a bias.
    pub bias: bool,
    /// Activation at the end.
    pub activation: Activation,
}

/// Convolutions one after the other, their input added to the result (arXiv:1512.03385).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Residual {
    /// The convolutions, at least one.
    pub branch: Vec<Conv>,
    /// What brings the input to the shape of the result, where it is another.
    pub shortcut: Option<Conv>,
    /// Activation of the sum.
    pub activation: Activation,
}

/// SqueezeNet's fire module: a 1×1 convolution, and on it a 1×1 and a 3×3 one side by side (arXiv:1602.07360, §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fire {
    /// Makes the map narrow.
    pub squeeze: Conv,
    /// First half of the output.
    pub expand_1x1: Conv,
    /// Second half of the output.
    pub expand_3x3: Conv,
}

/// One step of a branch of an [`Inception`] module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A convolution.
    Conv(Conv),
    /// A pooling.
    Pool(Pool),
}

impl Step {
    /// What it reads.
    pub fn input(&self) -> Map {
        match self {
            Step::Conv(conv) => conv.input,
            Step::Pool(pool) => pool.input,
        }
    }

    /// What it makes.
    pub fn output(&self) -> Map {
        match self {
            Step::Conv(conv) => conv.output,
            Step::Pool(pool) => pool.output,
        }
    }
}

/// Branches side by side on one input, their outputs one after the other (arXiv:1409.4842, §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inception {
    /// At least one, none empty.
    pub branches: Vec<Vec<Step>>,
}

/// Normalisation of each position over neighbouring channels: x / (bias + scale/window · Σ x²)^power, the sum over
/// `window` channels around (Krizhevsky et al. 2012, §3.3, where the scale is not divided by the window).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalResponse {
    /// The map.
    pub map: Map,
    /// Channels of a sum.
    pub window: u32,
    /// The scale.
    pub scale: Real,
    /// The power.
    pub power: Real,
    /// The bias.
    pub bias: Real,
}

/// A number of an operator that is compared bit by bit, so that equal operators are equal keys.
#[derive(Clone, Copy, Debug)]
pub struct Real(pub f64);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Real {}

impl std::hash::Hash for Real {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Real {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// One operator with every shape known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    /// Convolution.
    Conv(Conv),
    /// Inverted bottleneck.
    InvertedBottleneck(InvertedBottleneck),
    /// Pooling.
    Pool(Pool),
    /// Fully connected layer.
    Linear(Linear),
    /// Residual block of plain convolutions.
    Residual(Residual),
    /// Fire module.
    Fire(Fire),
    /// Inception module.
    Inception(Inception),
    /// Local response normalisation.
    LocalResponse(LocalResponse),
    /// Sum of several equal maps.
    Add {
        /// Each of them.
        map: Map,
        /// Number of maps.
        inputs: u32,
        /// Activation of the sum.
        activation: Activation,
    },
    /// Several maps of one size, their channels one after the other.
    Concat {
        /// The maps in order.
        inputs: Vec<Map>,
    },
}

impl Op {
    /// What it reads, in order.
    pub fn inputs(&self) -> Vec<Map> {
        match self {
            Op::Add { map, inputs, .. } => vec![*map; *inputs as usize],
            Op::Concat { inputs } => inputs.clone(),
            _ => vec![self.input()],
        }
    }

    /// What it reads, or the first of several.
    pub fn input(&self) -> Map {
        match self {
            Op::Conv(conv) => conv.input,
            Op::InvertedBottleneck(block) => block.input,
            Op::Pool(pool) => pool.input,
            Op::Linear(linear) => linear.input,
            Op::Residual(block) => block.branch.first().map_or(Map::new(0, 0), |conv| conv.input),
            Op::Fire(fire) => fire.squeeze.input,
            Op::Inception(module) => {
                module.branches.iter().flatten().next().map_or(Map::new(0, 0), |step| step.input())
            }
            Op::LocalResponse(norm) => norm.map,
            Op::Add { map, .. } => *map,
            Op::Concat { inputs } => inputs.first().copied().unwrap_or(Map::new(0, 0)),
        }
    }

    /// What it makes.
    pub fn output(&self) -> Map {
        let joined = |maps: &mut dyn Iterator<Item = Map>| {
            maps.fold(Map::new(0, 0), |sum, map| Map::new(map.size, sum.channels + map.channels))
        };
        match self {
            Op::Conv(conv) => conv.output,
            Op::InvertedBottleneck(block) => block.output,
            Op::Pool(pool) => pool.output,
            Op::Linear(linear) => Map::new(1, linear.outputs),
            Op::Residual(block) => block.branch.last().map_or(Map::new(0, 0), |conv| conv.output),
            Op::Fire(fire) => joined(&mut [fire.expand_1x1.output, fire.expand_3x3.output].into_iter()),
            Op::Inception(module) => {
                joined(&mut module.branches.iter().filter_map(|branch| branch.last()).map(Step::output))
            }
            Op::LocalResponse(norm) => norm.map,
            Op::Add { map, .. } => *map,
            Op::Concat { inputs } => joined(&mut inputs.iter().copied()),
        }
    }

    /// The operators that a block of plain ones consists of, for tables that price only those; `None` for one that is
    /// priced whole.
    pub fn pieces(&self) -> Option<Vec<Op>> {
        match self {
            Op::Residual(block) => {
                let convs = block.branch.iter().chain(&block.shortcut).copied().map(Op::Conv);
                let sum = Op::Add { map: self.output(), inputs: 2, activation: block.activation };
                Some(convs.chain([sum]).collect())
            }
            Op::Fire(fire) => {
                let inputs = vec![fire.expand_1x1.output, fire.expand_3x3.output];
                let convs = [fire.squeeze, fire.expand_1x1, fire.expand_3x3].map(Op::Conv);
                Some(convs.into_iter().chain([Op::Concat { inputs }]).collect())
            }
            Op::Inception(module) => {
                let steps = module.branches.iter().flatten().map(|step| match step {
                    Step::Conv(conv) => Op::Conv(*conv),
                    Step::Pool(pool) => Op::Pool(*pool),
                });
                let inputs = module.branches.iter().filter_map(|branch| branch.last()).map(Step::output).collect();
                Some(steps.chain([Op::Concat { inputs }]).collect())
            }
            _ => None,
        }
    }

    /// The word used in files: `conv`, `mbconv`, `avgpool`, `maxpool`, `linear`, `residual`, `fire`, `inception`, `lrn`,
    /// `add`, `concat`.
    pub fn word(&self) -> &'static str {
        match self {
            Op::Conv(_) => "conv",
            Op::InvertedBottleneck(_) => "mbconv",
            Op::Pool(Pool { kind: PoolKind::Average, .. }) => "avgpool",
            Op::Pool(_) => "maxpool",
            Op::Linear(_) => "linear",
            Op::Residual(_) => "residual",
            Op::Fire(_) => "fire",
            Op::Inception(_) => "inception",
            Op::LocalResponse(_) => "lrn",
            Op::Add { .. } => "add",
            Op::Concat { .. } => "concat",
        }
    }

    /// Multiply-accumulates: convolutions and linear layers; batch norm, activations, pooling and bias count 0.
    pub fn macs(&self) -> Macs {
        self.layers().iter().map(|layer| layer.macs()).sum()
    }

    /// Parameters of the static layers: weights, biases, batch-norm γ and β; no running statistics, no kernel transforms.
    pub fn params(&self) -> Params {
        self.layers().iter().map(|layer| layer.params()).sum()
    }
}

/// The operator in words, as errors name it: `mbconv 16x16x24 -> 8x8x32 mid 72 k5 s2 relu se 24`.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A linear layer takes a vector.
        let input = match self {
            Op::Linear(linear) => format!("1x1x{}", linear.input.elements()),
            _ => self.input().to_string(),
        };
        write!(f, "{} {input} -> {}", self.word(), self.output())?;
        match self {
            Op::Conv(conv) => {
                write!(f, " k{} s{} {}", conv.kernel, conv.stride, conv.activation.name())?;
                if conv.groups > 1 {
                    write!(f, " groups {}", conv.groups)?;
                }
            }
            Op::InvertedBottleneck(block) => {
                write!(f, " mid {}", block.mid_channels)?;
                write!(f, " k{} s{} {}", block.kernel, block.stride, block.activation.name())?;
                if block.groups > 1 {
                    write!(f, " groups {}", block.groups)?;
                }
                if let Some(width) = block.se_channels {
                    write!(f, " se {width}")?;
                }
                if !block.expand_conv {
                    f.write_str(" without expand")?;
                }
                if block.residual {
                    f.write_str(" + input")?;
                }
            }
            Op::Pool(pool) if pool.kernel < pool.input.size => write!(f, " k{} s{}", pool.kernel, pool.stride)?,
            Op::Residual(block) => {
                for conv in &block.branch {
                    write!(f, " k{}", conv.kernel)?;
                }
                f.write_str(" + input")?;
            }
            _ => {}
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
        self.ops.iter().map(Op::macs).sum()
    }

    /// Parameters of the whole static network.
    pub fn params(&self) -> Params {
        self.ops.iter().map(Op::params).sum()
    }
}
