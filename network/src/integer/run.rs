//! Runs a network in int8, layer by layer, exactly and on one thread.

use super::arithmetic::{Multiplier, hard_swish};
use super::{IntegerLayer, IntegerNetwork, IntegerWeights, Numbers, Scale};
use crate::execute::{covered, run_layer};
use crate::layers::{Layer, LayerKind, Read, Weights, Window};
use crate::op::{Activation, Map, PoolKind};

/// A network made ready to run.
#[derive(Clone, Debug)]
pub struct Runner<'n> {
    network: &'n IntegerNetwork,
    layers: Vec<PreparedLayer<'n>>,
    last_readers: Vec<usize>,
}

impl<'n> Runner<'n> {
    /// Computes what all images need.
    pub fn new(network: &'n IntegerNetwork) -> Self {
        let prepare = |layer: &'n IntegerLayer| {
            let inputs: Vec<Scale> = layer.layer.reads.iter().map(|read| network.scale_of(*read)).collect();
            PreparedLayer::new(layer, &inputs)
        };
        let mut last_readers = vec![network.layers.len(); network.layers.len()];
        for (at, layer) in network.layers.iter().enumerate() {
            for read in &layer.layer.reads {
                if let Read::Layer(from) = read {
                    last_readers[*from] = at;
                }
            }
        }
        Runner { network, layers: network.layers.iter().map(prepare).collect(), last_readers }
    }

    /// The output of one image, both `[rows, columns, channels]`.
    ///
    /// # Panics
    /// If the image is not as large as the network's.
    pub fn run(&self, image: &[i8]) -> Vec<i8> {
        self.pass(image, |at, made: &mut [Vec<i8>]| {
            for read in &self.layers[at].layer.layer.reads {
                if let Read::Layer(from) = read
                    && self.last_readers[*from] == at
                {
                    made[*from] = Vec::new();
                }
            }
        })
        .pop()
        .unwrap_or_else(|| image.to_vec())
    }

    /// What each layer makes of one image.
    ///
    /// # Panics
    /// As [`Runner::run`].
    pub fn run_layers(&self, image: &[i8]) -> Vec<Vec<i8>> {
        self.pass(image, |_, _| ())
    }

    /// `done` hears of each layer that has run, and may forget what nobody reads any more.
    fn pass(&self, image: &[i8], done: impl Fn(usize, &mut [Vec<i8>])) -> Vec<Vec<i8>> {
        assert_eq!(image.len() as u64, self.network.input.elements(), "an image of {} numbers", image.len());
        let mut made: Vec<Vec<i8>> = Vec::with_capacity(self.layers.len());
        for (at, layer) in self.layers.iter().enumerate() {
            let input = |read: &Read| match read {
                Read::Input(_) => image,
                Read::Layer(at) => made[*at].as_slice(),
            };
            let inputs: Vec<&[i8]> = layer.layer.layer.reads.iter().map(input).collect();
            let output = layer.run(&inputs);
            done(at, &mut made);
            made.push(output);
        }
        made
    }

    /// The outputs of one image as what they stand for.
    ///
    /// # Panics
    /// As [`Runner::run`].
    pub fn run_real(&self, image: &[i8]) -> Vec<f32> {
        let scale = self.network.output_scale();
        self.run(image).into_iter().map(|number| scale.real(number)).collect()
    }
}

/// A layer made ready to run.
#[derive(Clone, Debug)]
pub struct PreparedLayer<'n> {
    layer: &'n IntegerLayer,
    inputs: Vec<Scale>,
    work: Work<'n>,
}

#[derive(Clone, Debug)]
enum Work<'n> {
    /// Filters `[outputs, rows, columns, inputs of a group]` over all channels of a group.
    Convolve {
        filters: Vec<i16>,
        window: Window,
        groups: usize,
        weights: &'n IntegerWeights,
        factors: Vec<Multiplier>,
    },
    /// Filters `[rows, columns, channels]`, one a channel.
    Depthwise {
        filters: Vec<i16>,
        window: Window,
        weights: &'n IntegerWeights,
        factors: Vec<Multiplier>,
    },
    Pool(PoolKind, Window),
    Add(Sum),
    Concat,
    Scale(Multiplier),
    Clamp(Multiplier),
    Table(Box<[i8; 256]>),
    Float {
        weight: &'n [f32],
        bias: &'n [f32],
    },
}

/// A sum of two maps.
#[derive(Clone, Copy, Debug)]
struct Sum {
    inputs: [(Scale, Multiplier); 2],
    output: Multiplier,
}

/// Bits that sums have behind the point.
const ADD_BITS: u32 = 20;

impl<'n> PreparedLayer<'n> {
    /// `inputs` say what the numbers of what it reads stand for.
    ///
    /// # Panics
    /// If it is a layer that int8 does not know: a batch norm, a gate, a local response normalisation, a sum of more than
    /// two.
    pub fn new(layer: &'n IntegerLayer, inputs: &[Scale]) -> Self {
        let work = match (&layer.numbers, layer.layer.kind) {
            (Numbers::Float32 { weight, bias }, _) => Work::Float { weight, bias },
            (Numbers::Int8(weights), kind) => weighted(layer, kind, weights, inputs[0]),
            (Numbers::Plain, LayerKind::Pool(kind, window)) => Work::Pool(kind, window),
            (Numbers::Plain, LayerKind::Add) => Work::Add(Sum::new(inputs, layer.scale)),
            (Numbers::Plain, LayerKind::Concat) => Work::Concat,
            (Numbers::Plain, LayerKind::Scale) => {
                Work::Scale(Multiplier::new(f64::from(inputs[0].scale * inputs[1].scale / layer.scale.scale)))
            }
            (Numbers::Plain, LayerKind::Activation(Activation::HSwish)) => {
                Work::Table(Box::new(hard_swish(inputs[0], layer.scale)))
            }
            (Numbers::Plain, LayerKind::Activation(Activation::Relu | Activation::Relu6 | Activation::None)) => {
                Work::Clamp(Multiplier::new(f64::from(inputs[0].scale) / f64::from(layer.scale.scale)))
            }
            (Numbers::Plain, kind) => panic!("{}: {kind:?} has no meaning in int8", layer.name),
        };
        PreparedLayer { layer, inputs: inputs.to_vec(), work }
    }

    /// What it makes of its inputs, all `[rows, columns, channels]`.
    pub fn run(&self, inputs: &[&[i8]]) -> Vec<i8> {
        let (layer, scale) = (&self.layer.layer, self.layer.scale);
        let (least, most) = scale.range(self.layer.activation);
        let clamp = |value: i32| (value + scale.zero_point).clamp(least, most) as i8;
        match &self.work {
            Work::Convolve { factors, .. } | Work::Depthwise { factors, .. } => {
                let sums = self.sums(inputs[0]);
                let channels = sums.chunks_exact(factors.len().max(1));
                channels.flat_map(|at| at.iter().zip(factors).map(|(sum, factor)| clamp(factor.times(*sum)))).collect()
            }
            Work::Pool(kind, window) => pool(inputs[0], layer, *kind, *window),
            Work::Add(sum) => inputs[0].iter().zip(inputs[1]).map(|(a, b)| clamp(sum.of(*a, *b))).collect(),
            Work::Concat => {
                let widths: Vec<usize> =
                    inputs.iter().map(|input| input.len() / layer.output.area().max(1) as usize).collect();
                let position = |at: usize| {
                    inputs.iter().zip(&widths).flat_map(move |(input, width)| &input[at * width..(at + 1) * width])
                };
                (0..layer.output.area() as usize).flat_map(position).copied().collect()
            }
            Work::Scale(factor) => {
                let [map, gate] = [0, 1].map(|at| self.inputs[at].zero_point);
                let gates = inputs[1].iter().map(|number| i32::from(*number) - gate).cycle();
                let products = inputs[0].iter().zip(gates).map(|(number, gate)| (i32::from(*number) - map) * gate);
                products.map(|product| clamp(factor.times(product))).collect()
            }
            Work::Clamp(factor) => {
                let (least, most) = match layer.kind {
                    LayerKind::Activation(activation) => scale.range(activation),
                    _ => (least, most),
                };
                let zero = self.inputs[0].zero_point;
                let value = |number: &i8| factor.times(i32::from(*number) - zero) + scale.zero_point;
                inputs[0].iter().map(|number| value(number).clamp(least, most) as i8).collect()
            }
            Work::Table(table) => inputs[0].iter().map(|number| table[(i32::from(*number) + 128) as usize]).collect(),
            Work::Float { weight, bias } => self.run_float(inputs, weight, bias),
        }
    }

    /// The sums of a weighted layer in int8 with their biases, before they are scaled, `[rows, columns, channels]`.
    ///
    /// # Panics
    /// If it is another layer.
    pub fn sums(&self, input: &[i8]) -> Vec<i32> {
        let (layer, zero) = (&self.layer.layer, self.inputs[0].zero_point);
        match &self.work {
            Work::Convolve { filters, window, groups, weights, .. } => {
                convolve(input, layer, zero, *window, *groups, filters, &weights.bias)
            }
            Work::Depthwise { filters, window, weights, .. } => {
                depthwise(input, layer, zero, *window, filters, &weights.bias)
            }
            _ => panic!("{} has no int8 weights", self.layer.name),
        }
    }

    fn run_float(&self, inputs: &[&[i8]], weight: &[f32], bias: &[f32]) -> Vec<i8> {
        let layer = &self.layer.layer;
        let real = |(input, scale): (&&[i8], &Scale)| {
            let channels = input.len() / positions_of(input.len(), layer);
            by_channel(&input.iter().map(|number| scale.real(*number)).collect::<Vec<f32>>(), channels)
        };
        let maps: Vec<Vec<f32>> = inputs.iter().zip(&self.inputs).map(real).collect();
        let maps: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
        let made = run_layer(layer, &maps, weight, bias);
        let positions = (layer.output.area() as usize).max(1);
        let made = by_channel(&made, positions);
        made.into_iter().map(|value| self.layer.scale.quantise(self.layer.activation.of(value))).collect()
    }
}

/// Positions of an input of so many numbers: a gate has one.
fn positions_of(numbers: usize, layer: &Layer) -> usize {
    if numbers as u64 == layer.input.elements() || layer.kind == LayerKind::Concat {
        (layer.input.area() as usize).max(1)
    } else {
        1
    }
}

/// Transposes rows of `width` numbers.
fn by_channel(values: &[f32], width: usize) -> Vec<f32> {
    let rows = values.len() / width.max(1);
    (0..width).flat_map(|column| (0..rows).map(move |row| values[row * width + column])).collect()
}

fn weighted<'n>(layer: &IntegerLayer, kind: LayerKind, weights: &'n IntegerWeights, input: Scale) -> Work<'n> {
    let outputs = layer.layer.output.channels as usize;
    let step = f64::from(layer.scale.scale);
    let factor = |scale: &f32| Multiplier::new(f64::from(input.scale) * f64::from(*scale) / step);
    let factors = weights.scales.iter().map(factor).collect();
    let channels = layer.layer.input.channels as usize;
    let (window, groups) = match kind {
        LayerKind::Conv(window, Weights { groups, .. }) => (window, groups.max(1) as usize),
        LayerKind::Depthwise(window, _) => {
            let taps = (window.kernel * window.kernel) as usize;
            let filters = (0..taps).flat_map(|tap| (0..outputs).map(move |c| (tap, c)));
            let filters = filters.map(|(tap, c)| i16::from(weights.values[c * taps + tap])).collect();
            return Work::Depthwise { filters, window, weights, factors };
        }
        // A window as large as the map.
        LayerKind::Linear(_) => (Window { kernel: layer.layer.input.size, stride: 1, padding: 0 }, 1),
        other => panic!("{}: {other:?} has no weights", layer.name),
    };
    let (taps, width) = ((window.kernel * window.kernel) as usize, channels / groups);
    let filter = |output: usize| {
        let values = &weights.values[output * taps * width..(output + 1) * taps * width];
        (0..taps).flat_map(move |tap| (0..width).map(move |c| i16::from(values[c * taps + tap])))
    };
    Work::Convolve { filters: (0..outputs).flat_map(filter).collect(), window, groups, weights, factors }
}

impl Sum {
    fn new(inputs: &[Scale], output: Scale) -> Self {
        let [one, two] = *inputs else { panic!("in int8 a sum has two terms, not {}", inputs.len()) };
        let twice = 2.0 * f64::from(one.scale.max(two.scale));
        let inputs = [one, two].map(|input| (input, Multiplier::new(f64::from(input.scale) / twice)));
        Sum { inputs, output: Multiplier::new(twice / (f64::from(1 << ADD_BITS) * f64::from(output.scale))) }
    }

    /// a + b in steps of the output.
    fn of(&self, a: i8, b: i8) -> i32 {
        let term = |number: i8, (scale, factor): (Scale, Multiplier)| {
            factor.times((i32::from(number) - scale.zero_point) << ADD_BITS)
        };
        self.output.times(term(a, self.inputs[0]) + term(b, self.inputs[1]))
    }
}

fn dot(a: &[i16], b: &[i16]) -> i32 {
    a.iter().zip(b).map(|(x, w)| i32::from(*x) * i32::from(*w)).sum()
}

fn convolve(
    input: &[i8],
    layer: &Layer,
    zero: i32,
    window: Window,
    groups: usize,
    filters: &[i16],
    bias: &[i32],
) -> Vec<i32> {
    let Map { size, channels } = layer.input;
    let (kernel, channels) = (window.kernel as usize, channels as usize);
    let (width, outputs) = (channels / groups, layer.output.channels as usize / groups);
    let taps = kernel * kernel * width;
    let mut sums = Vec::with_capacity(layer.output.elements() as usize);
    // What the window covers, group by group; what lies outside is 0.
    let mut column = vec![0_i16; taps * groups];
    let positions = if let LayerKind::Linear(_) = layer.kind { 1 } else { layer.output.size };
    for row in 0..positions {
        for at in 0..positions {
            column.fill(0);
            let columns = covered(window, at, size);
            for (y, source_row) in covered(window, row, size) {
                for (x, source_column) in columns.clone() {
                    let pixel = &input[(source_row * size as usize + source_column) * channels..][..channels];
                    for (group, numbers) in pixel.chunks_exact(width.max(1)).enumerate() {
                        let place = &mut column[group * taps + (y * kernel + x) * width..][..width];
                        place.iter_mut().zip(numbers).for_each(|(to, from)| *to = (i32::from(*from) - zero) as i16);
                    }
                }
            }
            for group in 0..groups {
                let window = &column[group * taps..(group + 1) * taps];
                let filters = filters[group * outputs * taps..(group + 1) * outputs * taps].chunks_exact(taps.max(1));
                let biases = &bias[group * outputs..(group + 1) * outputs];
                sums.extend(filters.zip(biases).map(|(filter, bias)| bias + dot(window, filter)));
            }
        }
    }
    sums
}

fn depthwise(input: &[i8], layer: &Layer, zero: i32, window: Window, filters: &[i16], bias: &[i32]) -> Vec<i32> {
    let Map { size, channels } = layer.input;
    let (kernel, channels) = (window.kernel as usize, channels as usize);
    let mut sums = Vec::with_capacity(layer.output.elements() as usize);
    for row in 0..layer.output.size {
        for at in 0..layer.output.size {
            let start = sums.len();
            sums.extend_from_slice(bias);
            let columns = covered(window, at, size);
            for (y, source_row) in covered(window, row, size) {
                for (x, source_column) in columns.clone() {
                    let pixel = &input[(source_row * size as usize + source_column) * channels..][..channels];
                    let taps = &filters[(y * kernel + x) * channels..][..channels];
                    for ((sum, number), tap) in sums[start..].iter_mut().zip(pixel).zip(taps) {
                        *sum += (i32::from(*number) - zero) * i32::from(*tap);
                    }
                }
            }
        }
    }
    sums
}

fn pool(input: &[i8], layer: &Layer, kind: PoolKind, window: Window) -> Vec<i8> {
    let (size, channels) = (layer.input.size, layer.input.channels as usize);
    let mut made = Vec::with_capacity(layer.output.elements() as usize);
    for row in 0..layer.output.size {
        for at in 0..layer.output.size {
            let columns = covered(window, at, size);
            let places = covered(window, row, size)
                .flat_map(|(_, y)| columns.clone().map(move |(_, x)| (y * size as usize + x) * channels));
            let places: Vec<usize> = places.collect();
            for channel in 0..channels {
                let numbers = places.iter().map(|place| i32::from(input[place + channel]));
                made.push(match kind {
                    PoolKind::Max => numbers.max().unwrap_or(-128) as i8,
                    PoolKind::Average => {
                        let (sum, count) = (numbers.sum::<i32>(), (places.len() as i32).max(1));
                        // The nearest, halves away from 0.
                        let half = if sum > 0 { count / 2 } else { -(count / 2) };
                        ((sum + half) / count) as i8
                    }
                });
            }
        }
    }
    made
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
