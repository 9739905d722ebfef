//! Widths of a network that can be chosen: which layers must have equally many channels, and the network with fewer.
//!
//! Every convolution and every linear layer makes a width. Layers that work channel by channel hand it on, a sum makes the
//! widths of its inputs one, a concatenation puts them one after the other. Filters are chosen by the L2 norm of their
//! weights, as NetAdapt does (Yang et al., ECCV 2018, arXiv:1804.03230, §3.3), summed over all layers that make the width.

use std::collections::BTreeMap;

use crate::layers::{Layer, LayerKind, Read};
use crate::op::{Conv, Fire, Inception, InvertedBottleneck, Linear, LocalResponse, Map, Op, Pool, Residual, Step};
use crate::shape::{Draft, IMAGE, NamedLayer, NetworkShape, ShapeError, Source};
use crate::weights::{Array, Weights, tensors_of};

/// A number of channels that several layers may share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Width {
    /// Names of the layers whose weights make it, in order; the first is its name.
    pub makers: Vec<String>,
    /// Channels.
    pub channels: u32,
    /// Why it cannot be changed, if it cannot.
    pub fixed: Option<&'static str>,
}

impl Width {
    /// What it is called.
    pub fn name(&self) -> &str {
        self.makers.first().map_or("", String::as_str)
    }
}

/// The widths of one network.
#[derive(Clone, Debug)]
pub struct Widths {
    shape: NetworkShape,
    layers: Vec<NamedLayer>,
    /// By layer, which widths its output consists of, one after the other; none for the image's channels.
    outputs: Vec<Vec<usize>>,
    widths: Vec<Width>,
}

/// Channels that stay, by width, ascending; those of a width that is not there stay all.
pub type Kept = BTreeMap<usize, Vec<usize>>;

impl Widths {
    /// The widths of `shape`, in the order of their first layers.
    pub fn of(shape: &NetworkShape) -> Self {
        let layers = shape.layers();
        let mut ties = Ties::default();
        let mut outputs: Vec<Vec<usize>> = Vec::with_capacity(layers.len());
        for (at, NamedLayer { layer, .. }) in layers.iter().enumerate() {
            let read = |read: &Read| match read {
                Read::Layer(from) => outputs[*from].clone(),
                Read::Input(_) => Vec::new(),
            };
            let first = layer.reads.first().map(read).unwrap_or_default();
            outputs.push(match layer.kind {
                LayerKind::Conv(_, weights) if weights.groups > 1 => {
                    ties.fix(&first, GROUPED);
                    let made = ties.add(at);
                    ties.fix(&[made], GROUPED);
                    vec![made]
                }
                LayerKind::Conv(..) | LayerKind::Linear(_) => vec![ties.add(at)],
                LayerKind::Concat => layer.reads.iter().flat_map(read).collect(),
                LayerKind::Add | LayerKind::Scale => {
                    for other in layer.reads.iter().skip(1).map(read) {
                        ties.tie(&first, &other);
                    }
                    first
                }
                // A filter of the image's own channels.
                LayerKind::Depthwise(..) if first.is_empty() => {
                    let made = ties.add(at);
                    ties.fix(&[made], OF_IMAGE);
                    vec![made]
                }
                LayerKind::LocalResponse { .. } => first,
                LayerKind::Depthwise(..) | LayerKind::Pool(..) | LayerKind::Activation(_) | LayerKind::BatchNorm => {
                    first
                }
            });
        }
        // A concatenation with the image has no channels to count off; nor has what nobody may change, the classes.
        for (at, NamedLayer { layer, .. }) in layers.iter().enumerate() {
            let counted: u32 = outputs[at].iter().map(|made| layers[ties.made_by[*made]].layer.output.channels).sum();
            if counted != layer.output.channels {
                let fixed = outputs[at].clone();
                ties.fix(&fixed, OF_IMAGE);
            }
        }
        if let Some(last) = outputs.last() {
            let last = last.clone();
            ties.fix(&last, CLASSES);
        }
        let (numbers, widths) = ties.numbered(&layers);
        for output in &mut outputs {
            output.iter_mut().for_each(|made| *made = numbers[*made]);
        }
        Self { shape: shape.clone(), layers, outputs, widths }
    }

    /// The network that they are of.
    pub fn shape(&self) -> &NetworkShape {
        &self.shape
    }

    /// All of them.
    pub fn all(&self) -> &[Width] {
        &self.widths
    }

    /// Numbers of those that can be changed.
    pub fn free(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.widths.len()).filter(|at| self.widths[*at].fixed.is_none())
    }

    /// The network with other channels at some widths.
    ///
    /// # Errors
    /// [`ShapeError`] for a width of 0, or one that operators do not allow.
    pub fn with(&self, changes: &BTreeMap<usize, u32>) -> Result<NetworkShape, ShapeError> {
        let channels = |width: usize| changes.get(&width).copied().unwrap_or(self.widths[width].channels);
        let mut drafts: Vec<Draft> = Vec::new();
        let mut first = 0;
        for node in self.shape.nodes() {
            let parts = node.op.layers();
            let of_part = |part: &str| {
                let at = parts.iter().position(|layer| layer.part == part).expect("a part of the operator");
                match self.outputs[first + at].as_slice() {
                    [] => parts[at].output.channels,
                    widths => widths.iter().map(|width| channels(*width)).sum(),
                }
            };
            let input = |at: usize| match node.reads[at] {
                Source::Image => self.shape.input(),
                Source::Node(from) => drafts[from].op.output(),
            };
            let reads = node.reads.iter().map(|read| match read {
                Source::Image => IMAGE.to_owned(),
                Source::Node(from) => drafts[*from].name.clone(),
            });
            let reads = Some(reads.collect());
            let op = resized(&node.op, &input, &of_part);
            drafts.push(Draft { name: node.name.clone(), op, reads, formats: node.formats.clone() });
            first += parts.len();
        }
        NetworkShape::new(self.shape.input(), drafts, self.shape.batch_norm_eps())
    }

    /// The `count` channels of `width` whose filters have the largest L2 norms, in their order; of equals the first.
    pub fn largest(&self, weights: &Weights, width: usize, count: usize) -> Vec<usize> {
        let mut squares = vec![0.0_f64; self.widths[width].channels as usize];
        for maker in &self.widths[width].makers {
            let Some(Array { values, .. }) = weights.get(&format!("{maker}.weight")) else { continue };
            let filter = values.len() / squares.len().max(1);
            for (square, filter) in squares.iter_mut().zip(values.chunks(filter.max(1))) {
                *square += filter.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
            }
        }
        let mut order: Vec<usize> = (0..squares.len()).collect();
        order.sort_by(|a, b| squares[*b].total_cmp(&squares[*a]));
        order.truncate(count);
        order.sort_unstable();
        order
    }

    /// The network and its weights with only the channels `kept`.
    ///
    /// # Errors
    /// As [`Widths::with`].
    ///
    /// # Panics
    /// If `weights` are of another network.
    pub fn narrowed(&self, weights: &Weights, kept: &Kept) -> Result<(NetworkShape, Weights), ShapeError> {
        let changes = kept.iter().map(|(width, channels)| (*width, channels.len() as u32)).collect();
        let shape = self.with(&changes)?;
        let mut arrays = BTreeMap::new();
        for (at, NamedLayer { name, layer }) in self.layers.iter().enumerate() {
            let outputs = self.places(&self.outputs[at], layer.output.channels, kept);
            let inputs = match layer.reads.first() {
                Some(Read::Layer(from)) => self.places(&self.outputs[*from], layer.input.channels, kept),
                _ => (0..layer.input.channels as usize).collect(),
            };
            for (tensor, _) in tensors_of(name, layer) {
                let array = weights.get(&tensor).expect("a weight of this network");
                arrays.insert(tensor, sliced(array, layer, &outputs, &inputs));
            }
        }
        let weights = Weights::new(&shape, arrays).expect("as many channels as were kept");
        Ok((shape, weights))
    }

    /// Places of the channels that stay in a map that consists of `widths`.
    fn places(&self, widths: &[usize], channels: u32, kept: &Kept) -> Vec<usize> {
        if widths.is_empty() {
            return (0..channels as usize).collect();
        }
        let (mut places, mut start) = (Vec::new(), 0);
        for width in widths {
            let channels = self.widths[*width].channels as usize;
            match kept.get(width) {
                Some(kept) => places.extend(kept.iter().map(|channel| start + channel)),
                None => places.extend(start..start + channels),
            }
            start += channels;
        }
        places
    }
}

const GROUPED: &str = "a convolution in groups";
const OF_IMAGE: &str = "the image's own channels";
const CLASSES: &str = "the network's outputs";
const UNLIKE: &str = "a sum of what is put together differently";

/// Widths as layers are walked through: which are one.
#[derive(Default)]
struct Ties {
    /// By width, the layer that makes it.
    made_by: Vec<usize>,
    /// By width, an earlier one that is the same, or itself.
    same_as: Vec<usize>,
    fixed: Vec<Option<&'static str>>,
}

impl Ties {
    fn add(&mut self, layer: usize) -> usize {
        let width = self.made_by.len();
        self.made_by.push(layer);
        self.same_as.push(width);
        self.fixed.push(None);
        width
    }

    fn root(&self, mut width: usize) -> usize {
        while self.same_as[width] != width {
            width = self.same_as[width];
        }
        width
    }

    fn fix(&mut self, widths: &[usize], why: &'static str) {
        for width in widths {
            let root = self.root(*width);
            self.fixed[root].get_or_insert(why);
        }
    }

    fn tie(&mut self, some: &[usize], others: &[usize]) {
        if some.len() != others.len() {
            self.fix(some, UNLIKE);
            self.fix(others, UNLIKE);
            return;
        }
        for (one, other) in some.iter().zip(others) {
            let (one, other) = (self.root(*one), self.root(*other));
            let (first, second) = (one.min(other), one.max(other));
            self.same_as[second] = first;
            if let Some(why) = self.fixed[second] {
                self.fixed[first].get_or_insert(why);
            }
        }
    }

    /// The number of each width among the different ones, and those.
    fn numbered(&self, layers: &[NamedLayer]) -> (Vec<usize>, Vec<Width>) {
        let (mut numbers, mut widths): (Vec<usize>, Vec<Width>) = (Vec::new(), Vec::new());
        for (width, &layer) in self.made_by.iter().enumerate() {
            let NamedLayer { name, layer } = &layers[layer];
            let root = self.root(width);
            if root == width {
                numbers.push(widths.len());
                let (channels, fixed) = (layer.output.channels, self.fixed[width]);
                widths.push(Width { makers: vec![name.clone()], channels, fixed });
            } else {
                let number = numbers[root];
                widths[number].makers.push(name.clone());
                numbers.push(number);
            }
        }
        (numbers, widths)
    }
}

/// `op` reading other maps, its parts as wide as `of_part` says.
fn resized(op: &Op, input: &dyn Fn(usize) -> Map, of_part: &dyn Fn(&str) -> u32) -> Op {
    let conv = |conv: &Conv, read: Map, part: &str| {
        let output = Map::new(conv.output.size, of_part(part));
        let groups = if conv.is_depthwise() { output.channels } else { conv.groups };
        Conv { input: read, output, groups, ..*conv }
    };
    let pool =
        |pool: &Pool, read: Map| Pool { input: read, output: Map::new(pool.output.size, read.channels), ..*pool };
    match op {
        Op::Conv(one) => Op::Conv(conv(one, input(0), "conv")),
        Op::InvertedBottleneck(block) => Op::InvertedBottleneck(InvertedBottleneck {
            input: input(0),
            output: Map::new(block.output.size, of_part("project.conv")),
            mid_channels: of_part("depthwise.conv"),
            se_channels: block.se_channels.map(|_| of_part("se.reduce")),
            ..*block
        }),
        Op::Pool(one) => Op::Pool(pool(one, input(0))),
        Op::Linear(linear) => Op::Linear(Linear { input: input(0), outputs: of_part(""), ..*linear }),
        Op::Residual(block) => {
            let mut read = input(0);
            let branch = block.branch.iter().enumerate().map(|(at, one)| {
                let one = conv(one, read, &format!("branch.{at}.conv"));
                read = one.output;
                one
            });
            let branch = branch.collect();
            let shortcut = block.shortcut.as_ref().map(|one| conv(one, input(0), "shortcut.conv"));
            Op::Residual(Residual { branch, shortcut, activation: block.activation })
        }
        Op::Fire(fire) => {
            let squeeze = conv(&fire.squeeze, input(0), "squeeze.conv");
            Op::Fire(Fire {
                squeeze,
                expand_1x1: conv(&fire.expand_1x1, squeeze.output, "expand1x1.conv"),
                expand_3x3: conv(&fire.expand_3x3, squeeze.output, "expand3x3.conv"),
            })
        }
        Op::Inception(module) => {
            let branch = |(at, steps): (usize, &Vec<Step>)| {
                let mut read = input(0);
                let step = |(number, step): (usize, &Step)| {
                    let step = match step {
                        Step::Conv(one) => Step::Conv(conv(one, read, &format!("branch.{at}.{number}.conv"))),
                        Step::Pool(one) => Step::Pool(pool(one, read)),
                    };
                    read = step.output();
                    step
                };
                steps.iter().enumerate().map(step).collect()
            };
            Op::Inception(Inception { branches: module.branches.iter().enumerate().map(branch).collect() })
        }
        Op::LocalResponse(norm) => Op::LocalResponse(LocalResponse { map: input(0), ..*norm }),
        Op::Add { inputs, activation, .. } => Op::Add { map: input(0), inputs: *inputs, activation: *activation },
        Op::Concat { inputs } => Op::Concat { inputs: (0..inputs.len()).map(input).collect() },
    }
}

/// The numbers of the outputs, and of the inputs where a tensor has some, that stay.
fn sliced(array: &Array, layer: &Layer, outputs: &[usize], inputs: &[usize]) -> Array {
    let Array { shape, values } = array;
    let row = values.len() / shape[0].max(1);
    let reads_all = match layer.kind {
        LayerKind::Conv(_, weights) => weights.groups == 1,
        LayerKind::Linear(_) => true,
        _ => false,
    };
    // Numbers of one input channel: a kernel, or all positions of a map that is read as one row.
    let part = row / layer.input.channels.max(1) as usize;
    let mut kept = Vec::with_capacity(values.len());
    for output in outputs {
        let row = &values[output * row..(output + 1) * row];
        if shape.len() > 1 && reads_all {
            inputs.iter().for_each(|input| kept.extend_from_slice(&row[input * part..(input + 1) * part]));
        } else {
            kept.extend_from_slice(row);
        }
    }
    let mut shape = shape.clone();
    shape[0] = outputs.len();
    if shape.len() > 1 && reads_all {
        shape[1] = shape[1] / layer.input.channels.max(1) as usize * inputs.len();
    }
    Array { shape, values: kept }
}

#[cfg(test)]
#[path = "widths_tests.rs"]
mod tests;
