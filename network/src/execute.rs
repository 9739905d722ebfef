//! Runs a network layer by layer as its definition says: plain, slow and without a library, so that everything faster can
//! be held against it. Sums are in float64, results in float32.

use crate::folded::Folded;
use crate::layers::{Layer, LayerKind, Read, Weights as LayerWeights, Window};
use crate::op::{Activation, Map, PoolKind};
use crate::shape::NetworkShape;
use crate::weights::{Array, Weights};

/// A feature map, channel by channel and row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// Its shape.
    pub map: Map,
    /// `map.elements()` numbers.
    pub values: Vec<f32>,
}

impl Feature {
    fn at(&self, channel: usize, row: usize, column: usize) -> f32 {
        let size = self.map.size as usize;
        self.values[(channel * size + row) * size + column]
    }
}

/// The outputs of one image, `[channels, rows, columns]` row by row; for a classifier its logits.
///
/// # Panics
/// If `image` is not as large as the network's input.
pub fn run(network: &NetworkShape, weights: &Weights, image: &[f32]) -> Vec<f32> {
    let layers = network.layers();
    let parts = layers.iter().map(|named| {
        let numbers = |part: &str| {
            weights.get(&format!("{}.{part}", named.name)).map_or(&[][..], |array: &Array| array.values.as_slice())
        };
        (&named.layer, Activation::None, numbers)
    });
    run_layers(network.input(), image, network.batch_norm_eps(), parts).pop().unwrap_or_else(|| image.to_vec())
}

/// The same of a folded network.
///
/// # Panics
/// As [`run`].
pub fn run_folded(network: &Folded, image: &[f32]) -> Vec<f32> {
    run_folded_layers(network, image).pop().unwrap_or_else(|| image.to_vec())
}

/// What each layer of a folded network makes of an image.
///
/// # Panics
/// As [`run`].
pub fn run_folded_layers(network: &Folded, image: &[f32]) -> Vec<Vec<f32>> {
    let parts = network.layers.iter().map(|folded| {
        let numbers = |part: &str| match (part, &folded.weight) {
            ("weight", Some(weight)) => weight.values.as_slice(),
            ("bias", _) => folded.bias.as_slice(),
            _ => &[],
        };
        (&folded.layer, folded.activation, numbers)
    });
    run_layers(network.input, image, 0.0, parts)
}

/// Runs layers one after the other; each comes with what is done to its output and what gives its numbers by their part
/// of the name.
fn run_layers<'n, N: Fn(&str) -> &'n [f32]>(
    input: Map,
    image: &[f32],
    eps: f64,
    layers: impl Iterator<Item = (&'n Layer, Activation, N)>,
) -> Vec<Vec<f32>> {
    assert_eq!(image.len() as u64, input.elements(), "an image of {} numbers", image.len());
    let image = Feature { map: input, values: image.to_vec() };
    let mut made: Vec<Feature> = Vec::new();
    for (what, activation, numbers) in layers {
        let inputs = what.reads.iter().map(|read| match read {
            Read::Input(_) => &image,
            Read::Layer(at) => &made[*at],
        });
        let inputs: Vec<&Feature> = inputs.collect();
        let mut values = layer(what, &inputs, eps, numbers);
        values.iter_mut().for_each(|value| *value = activation.of(*value));
        made.push(Feature { map: what.output, values });
    }
    made.into_iter().map(|feature| feature.values).collect()
}

/// What a layer without batch norm makes of maps, each channel by channel.
pub(crate) fn run_layer(what: &Layer, inputs: &[&[f32]], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let features: Vec<Feature> =
        inputs.iter().map(|values| Feature { map: what.input, values: values.to_vec() }).collect();
    let features: Vec<&Feature> = features.iter().collect();
    layer(what, &features, 0.0, |part| if part == "weight" { weight } else { bias })
}

fn layer<'n>(layer: &Layer, inputs: &[&Feature], eps: f64, numbers: impl Fn(&str) -> &'n [f32]) -> Vec<f32> {
    let [input, ..] = inputs else { return Vec::new() };
    match layer.kind {
        LayerKind::Conv(window, LayerWeights { groups, .. })
        | LayerKind::Depthwise(window, LayerWeights { groups, .. }) => {
            convolve(input, layer.output, window, groups, numbers("weight"), numbers("bias"))
        }
        LayerKind::Linear(_) => {
            let (weight, bias) = (numbers("weight"), numbers("bias"));
            let rows = weight.chunks_exact(input.values.len().max(1)).enumerate();
            let sum =
                |row: &[f32]| row.iter().zip(&input.values).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>();
            rows.map(|(at, row)| (sum(row) + bias.get(at).copied().map_or(0.0, f64::from)) as f32).collect()
        }
        LayerKind::Pool(kind, window) => pool(input, layer.output, kind, window),
        LayerKind::Add => (0..input.values.len()).map(|at| inputs.iter().map(|x| x.values[at]).sum()).collect(),
        LayerKind::Concat => inputs.iter().flat_map(|input| input.values.iter().copied()).collect(),
        LayerKind::Scale => {
            let gates = inputs.get(1).map_or(&[][..], |gates| gates.values.as_slice());
            let channels = input.values.chunks_exact((input.map.area() as usize).max(1));
            channels.zip(gates).flat_map(|(channel, gate)| channel.iter().map(move |x| x * gate)).collect()
        }
        LayerKind::Activation(activation) => input.values.iter().map(|x| activation.of(*x)).collect(),
        LayerKind::BatchNorm => {
            let of = |part, at: usize| f64::from(numbers(part)[at]);
            let channels = input.values.chunks_exact((input.map.area() as usize).max(1)).enumerate();
            let normed = channels.flat_map(|(at, channel)| {
                let scale = of("weight", at) / (of("running_var", at) + eps).sqrt();
                let shift = of("bias", at) - of("running_mean", at) * scale;
                channel.iter().map(move |x| (f64::from(*x) * scale + shift) as f32)
            });
            normed.collect()
        }
        LayerKind::LocalResponse { window, scale, power, bias } => {
            let (area, channels) = (input.map.area() as usize, input.map.channels as usize);
            let (before, window) = (window as usize / 2, window as usize);
            let value = |at: usize| {
                let (channel, position) = (at / area, at % area);
                let around = channel.saturating_sub(before)..(channel + window - before).min(channels);
                let squares: f64 = around.map(|other| f64::from(input.values[other * area + position]).powi(2)).sum();
                let divisor = (bias.0 + scale.0 / window as f64 * squares).powf(power.0);
                (f64::from(input.values[at]) / divisor) as f32
            };
            (0..input.values.len()).map(value).collect()
        }
    }
}

/// Rows or columns of a map that a window at `position` covers, and where in the window they are.
pub(crate) fn covered(window: Window, position: u32, size: u32) -> impl Iterator<Item = (usize, usize)> + Clone {
    let start = i64::from(position * window.stride) - i64::from(window.padding);
    (0..window.kernel as usize).filter_map(move |tap| {
        let at = start + tap as i64;
        (0..i64::from(size)).contains(&at).then_some((tap, at as usize))
    })
}

fn convolve(input: &Feature, output: Map, window: Window, groups: u32, weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let (kernel, groups) = (window.kernel as usize, groups.max(1) as usize);
    let (of_group, outputs) = (input.map.channels as usize / groups, output.channels as usize / groups);
    let mut values = Vec::with_capacity(output.elements() as usize);
    for channel in 0..output.channels as usize {
        let first = channel / outputs.max(1) * of_group;
        let filter = &weight[channel * of_group * kernel * kernel..][..of_group * kernel * kernel];
        for row in 0..output.size {
            for column in 0..output.size {
                let mut sum = bias.get(channel).copied().map_or(0.0, f64::from);
                let columns = covered(window, column, input.map.size);
                for (y, source_row) in covered(window, row, input.map.size) {
                    for (x, source_column) in columns.clone() {
                        for from in 0..of_group {
                            let tap = filter[(from * kernel + y) * kernel + x];
                            sum += f64::from(tap) * f64::from(input.at(first + from, source_row, source_column));
                        }
                    }
                }
                values.push(sum as f32);
            }
        }
    }
    values
}

fn pool(input: &Feature, output: Map, kind: PoolKind, window: Window) -> Vec<f32> {
    let mut values = Vec::with_capacity(output.elements() as usize);
    for channel in 0..output.channels as usize {
        for row in 0..output.size {
            for column in 0..output.size {
                let columns = covered(window, column, input.map.size);
                let rows = covered(window, row, input.map.size);
                let inside =
                    rows.flat_map(|(_, y)| columns.clone().map(move |(_, x)| f64::from(input.at(channel, y, x))));
                values.push(match kind {
                    PoolKind::Max => inside.fold(f64::NEG_INFINITY, f64::max) as f32,
                    PoolKind::Average => {
                        let (sum, count) = inside.fold((0.0, 0u32), |(sum, count), x| (sum + x, count + 1));
                        (sum / f64::from(count.max(1))) as f32
                    }
                });
            }
        }
    }
    values
}
