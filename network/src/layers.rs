//! What operators consist of: the only place that takes a block apart.
//!
//! MACs, parameters, flash, peak memory, energy on an accelerator, counts for fitted models, timing, running and exporting
//! are folds over these layers, so a new block is one more arm of [`Op::layers`] and nothing else.

use std::borrow::Cow;

use crate::op::{
    Activation, Conv, Fire, InvertedBottleneck, LocalResponse, Map, Op, Pool, PoolKind, Real, Residual, Step,
};
use crate::units::{Macs, Params};

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerKind {
    /// Convolution with filters over the channels of a group.
    Conv(Window, Weights),
    /// Convolution of each channel by itself.
    Depthwise(Window, Weights),
    /// Fully connected, over all numbers channel by channel.
    Linear(Weights),
    /// Pooling.
    Pool(PoolKind, Window),
    /// Sum of all inputs.
    Add,
    /// The inputs' channels one after the other.
    Concat,
    /// The first input, each channel times the second's, which has one number a channel.
    Scale,
    /// Element by element.
    Activation(Activation),
    /// γ·(x − mean)/√(variance + ε) + β, each channel by itself.
    BatchNorm,
    /// Over neighbouring channels.
    LocalResponse {
        /// Channels of a sum.
        window: u32,
        /// The scale.
        scale: Real,
        /// The power.
        power: Real,
        /// The bias.
        bias: Real,
    },
}

impl LayerKind {
    /// What is said of its weights, where it has some that multiply.
    fn weights(&self) -> Option<Weights> {
        match *self {
            LayerKind::Conv(_, weights) | LayerKind::Depthwise(_, weights) | LayerKind::Linear(weights) => {
                Some(weights)
            }
            _ => None,
        }
    }
}

/// How a window moves over a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Kernel size.
    pub kernel: u32,
    /// Stride.
    pub stride: u32,
    /// Rows outside of the map at its top and left.
    pub padding: u32,
}

impl Window {
    /// Rows outside of the map at its bottom and right that give `output` positions of `input` rows; below zero for rows
    /// that no window reaches.
    pub fn below(self, input: u32, output: u32) -> i64 {
        let [kernel, stride, padding] = [self.kernel, self.stride, self.padding].map(i64::from);
        (i64::from(output) - 1) * stride + kernel - padding - i64::from(input)
    }

    /// Whether as much padding at the bottom as at the top gives the same positions, which every runtime can do.
    pub fn is_even(self, input: u32, output: u32) -> bool {
        let [kernel, stride, padding] = [self.kernel, self.stride, self.padding].map(i64::from);
        let room = i64::from(input) + 2 * padding - kernel;
        room >= 0 && room / stride + 1 == i64::from(output)
    }
}

/// What a weighted layer has besides its filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Groups; 1 for a fully connected layer.
    pub groups: u32,
    /// Whether it has a bias.
    pub bias: bool,
}

/// Where a layer's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// An input of the operator (in [`Op::layers`]) or the image (in a [`crate::shape::NetworkShape`]).
    Input(usize),
    /// An earlier layer.
    Layer(usize),
}

/// Width and density of the numbers of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    /// Bits of a number; `None` where nothing says, and whoever counts takes his own.
    pub bits: Option<u32>,
    /// Fraction that is not zero.
    pub density: f64,
}

impl Format {
    /// Nothing said, no zeros.
    pub const DENSE: Format = Format { bits: None, density: 1.0 };
}

/// One layer of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its place in the operator: `expand.conv`, `se.reduce`; empty for one that is all there is.
    pub part: Cow<'static, str>,
    /// What it computes.
    pub kind: LayerKind,
    /// What it reads.
    pub reads: Vec<Read>,
    /// The first map that it reads.
    pub input: Map,
    /// What it makes.
    pub output: Map,
    /// Of its weights.
    pub weights: Format,
    /// Of what it reads.
    pub inputs: Format,
}

impl Layer {
    /// Weights without bias: outputs × inputs of one output × taps; the largest number where that is larger still.
    pub fn weight_count(&self) -> u64 {
        let u = u64::from;
        let product = |factors: [u64; 3]| factors.into_iter().fold(1, u64::saturating_mul);
        match self.kind {
            LayerKind::Conv(window, weights) => {
                let inputs = u(self.input.channels) / u(weights.groups.max(1));
                product([u(self.output.channels), inputs, u(window.kernel) * u(window.kernel)])
            }
            LayerKind::Depthwise(window, _) => product([u(self.output.channels), u(window.kernel), u(window.kernel)]),
            LayerKind::Linear(_) => product([u(self.output.channels), self.input.elements(), 1]),
            _ => 0,
        }
    }

    /// Whether it has weights that multiply.
    pub fn is_weighted(&self) -> bool {
        self.kind.weights().is_some()
    }

    /// Multiply-accumulates: every weight once for every position of the output.
    pub fn macs(&self) -> Macs {
        Macs(self.weight_count().saturating_mul(self.output.area()))
    }

    /// Weights, biases, γ and β.
    pub fn params(&self) -> Params {
        let channels = u64::from(self.output.channels);
        let biases = if self.kind.weights().is_some_and(|weights| weights.bias) { channels } else { 0 };
        let scales = if self.kind == LayerKind::BatchNorm { 2 * channels } else { 0 };
        Params(self.weight_count().saturating_add(biases + scales))
    }

    /// The part of the block that it belongs to: `expand` of `expand.conv`, `conv` where the operator is one convolution.
    pub fn role(&self) -> &str {
        match self.part.rsplit_once('.') {
            Some((role, "conv" | "bn" | "act")) => role,
            _ => &self.part,
        }
    }
}

/// The layers of one operator under construction.
struct Parts(Vec<Layer>);

impl Parts {
    fn add(&mut self, part: impl Into<Cow<'static, str>>, kind: LayerKind, reads: Vec<Read>, maps: (Map, Map)) -> Read {
        let (input, output) = maps;
        let (weights, inputs) = (Format::DENSE, Format::DENSE);
        self.0.push(Layer { part: part.into(), kind, reads, input, output, weights, inputs });
        Read::Layer(self.0.len() - 1)
    }

    fn activation(&mut self, part: Cow<'static, str>, activation: Activation, read: Read, map: Map) -> Read {
        match activation {
            Activation::None => read,
            some => self.add(part, LayerKind::Activation(some), vec![read], (map, map)),
        }
    }

    /// A convolution, its batch norm and its activation; `names` are theirs.
    fn conv(&mut self, names: [Cow<'static, str>; 3], conv: &Conv, read: Read) -> Read {
        let window = Window { kernel: conv.kernel, stride: conv.stride, padding: conv.padding };
        let weights = Weights { groups: conv.groups, bias: conv.bias };
        let kind = match conv.is_depthwise() {
            true => LayerKind::Depthwise(window, weights),
            false => LayerKind::Conv(window, weights),
        };
        let [name, norm, activation] = names;
        let mut read = self.add(name, kind, vec![read], (conv.input, conv.output));
        if conv.batch_norm {
            read = self.add(norm, LayerKind::BatchNorm, vec![read], (conv.output, conv.output));
        }
        self.activation(activation, conv.activation, read, conv.output)
    }

    fn pool(&mut self, part: impl Into<Cow<'static, str>>, pool: &Pool, read: Read) -> Read {
        let window = Window { kernel: pool.kernel, stride: pool.stride, padding: pool.padding };
        self.add(part, LayerKind::Pool(pool.kind, window), vec![read], (pool.input, pool.output))
    }

    fn inverted_bottleneck(&mut self, block: &InvertedBottleneck) {
        let mid = block.mid_channels;
        let (wide, filtered) = (Map::new(block.input.size, mid), Map::new(block.output.size, mid));
        let normed = |input, output| Conv { batch_norm: true, ..Conv::plain(input, output) };
        let mut read = Read::Input(0);
        if block.expand_conv {
            let conv = Conv { groups: block.groups, activation: block.activation, ..normed(block.input, wide) };
            read = self.conv(["expand.conv".into(), "expand.bn".into(), "expand.act".into()], &conv, read);
        }
        let window = Window { kernel: block.kernel, stride: block.stride, padding: block.padding };
        // Also where one channel makes a group indistinguishable from a dense convolution.
        let kind = LayerKind::Depthwise(window, Weights { groups: mid, bias: false });
        read = self.add("depthwise.conv", kind, vec![read], (wide, filtered));
        read = self.add("depthwise.bn", LayerKind::BatchNorm, vec![read], (filtered, filtered));
        read = self.activation("depthwise.act".into(), block.activation, read, filtered);
        if let Some(width) = block.se_channels {
            let (pooled, narrow) = (Map::new(1, mid), Map::new(1, width));
            let point =
                |bias| LayerKind::Conv(Window { kernel: 1, stride: 1, padding: 0 }, Weights { groups: 1, bias });
            let mut gate = self.pool("se.pool", &Pool::global(filtered), read);
            gate = self.add("se.reduce", point(true), vec![gate], (pooled, narrow));
            gate = self.activation("se.reduce.act".into(), Activation::Relu, gate, narrow);
            gate = self.add("se.expand", point(true), vec![gate], (narrow, pooled));
            gate = self.activation("se.gate".into(), Activation::HSigmoid, gate, pooled);
            read = self.add("se.scale", LayerKind::Scale, vec![read, gate], (filtered, filtered));
        }
        let conv = Conv { groups: block.groups, ..normed(filtered, block.output) };
        read = self.conv(["project.conv".into(), "project.bn".into(), "project.act".into()], &conv, read);
        if block.residual {
            read = self.add("add", LayerKind::Add, vec![read, Read::Input(0)], (block.output, block.output));
        }
        self.activation("act".into(), block.output_activation, read, block.output);
    }

    fn residual(&mut self, block: &Residual) {
        let mut read = Read::Input(0);
        for (index, conv) in block.branch.iter().enumerate() {
            read = self.conv(named(&format!("branch.{index}")), conv, read);
        }
        let shortcut = match &block.shortcut {
            Some(conv) => self.conv(named("shortcut"), conv, Read::Input(0)),
            None => Read::Input(0),
        };
        let map = block.branch.last().map_or(Map::new(0, 0), |conv| conv.output);
        let read = self.add("add", LayerKind::Add, vec![read, shortcut], (map, map));
        self.activation("act".into(), block.activation, read, map);
    }

    fn fire(&mut self, fire: &Fire) {
        let squeezed = self.conv(named("squeeze"), &fire.squeeze, Read::Input(0));
        let halves = [("expand1x1", &fire.expand_1x1), ("expand3x3", &fire.expand_3x3)]
            .map(|(name, conv)| self.conv(named(name), conv, squeezed));
        let output = Op::Fire(*fire).output();
        self.add("concat", LayerKind::Concat, halves.to_vec(), (fire.expand_1x1.output, output));
    }
}

fn named(part: &str) -> [Cow<'static, str>; 3] {
    ["conv", "bn", "act"].map(|layer| format!("{part}.{layer}").into())
}

impl Op {
    /// The layers, in order of execution; the last one makes the operator's output.
    pub fn layers(&self) -> Vec<Layer> {
        let mut parts = Parts(Vec::new());
        match self {
            Op::Conv(conv) => {
                parts.conv(["conv".into(), "bn".into(), "act".into()], conv, Read::Input(0));
            }
            Op::InvertedBottleneck(block) => parts.inverted_bottleneck(block),
            Op::Pool(pool) => {
                parts.pool("", pool, Read::Input(0));
            }
            Op::Linear(linear) => {
                let (output, weights) = (self.output(), Weights { groups: 1, bias: linear.bias });
                let read = parts.add("", LayerKind::Linear(weights), vec![Read::Input(0)], (linear.input, output));
                parts.activation("act".into(), linear.activation, read, output);
            }
            Op::Residual(block) => parts.residual(block),
            Op::Fire(fire) => parts.fire(fire),
            Op::Inception(module) => {
                let mut ends = Vec::new();
                for (branch, steps) in module.branches.iter().enumerate() {
                    let mut read = Read::Input(0);
                    for (step, what) in steps.iter().enumerate() {
                        let part = format!("branch.{branch}.{step}");
                        read = match what {
                            Step::Conv(conv) => parts.conv(named(&part), conv, read),
                            Step::Pool(pool) => parts.pool(part, pool, read),
                        };
                    }
                    ends.push(read);
                }
                let first =
                    module.branches.first().and_then(|branch| branch.last()).map_or(self.output(), Step::output);
                parts.add("concat", LayerKind::Concat, ends, (first, self.output()));
            }
            Op::LocalResponse(LocalResponse { map, window, scale, power, bias }) => {
                let kind = LayerKind::LocalResponse { window: *window, scale: *scale, power: *power, bias: *bias };
                parts.add("", kind, vec![Read::Input(0)], (*map, *map));
            }
            Op::Add { map, inputs, activation } => {
                let reads = (0..*inputs as usize).map(Read::Input).collect();
                let read = parts.add("", LayerKind::Add, reads, (*map, *map));
                parts.activation("act".into(), *activation, read, *map);
            }
            Op::Concat { inputs } => {
                let reads = (0..inputs.len()).map(Read::Input).collect();
                parts.add("", LayerKind::Concat, reads, (self.input(), self.output()));
            }
        }
        parts.0
    }
}

/// The layers of operators that follow on each other, each reading what the one before made.
pub fn chain<'a>(ops: impl IntoIterator<Item = &'a Op>) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut last = Read::Input(0);
    for op in ops {
        last = append(&mut layers, op.layers(), |_| last);
    }
    layers
}

/// Adds an operator's layers to those of a network, `input` saying where each of its inputs comes from; the last one.
pub(crate) fn append(layers: &mut Vec<Layer>, parts: Vec<Layer>, input: impl Fn(usize) -> Read) -> Read {
    let first = layers.len();
    for mut layer in parts {
        for read in &mut layer.reads {
            *read = match *read {
                Read::Input(at) => input(at),
                Read::Layer(at) => Read::Layer(first + at),
            };
        }
        layers.push(layer);
    }
    Read::Layer(layers.len() - 1)
}
