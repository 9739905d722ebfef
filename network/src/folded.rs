//! A network as it is deployed: every batch norm inside the weights before it.
//!
//! In go a network and its weights, out comes a row of layers with the numbers that each needs: what all exporters write.
//! A batch norm scales the filters of the convolution before it and gives it a bias (w·γ/√(variance + ε) and
//! β + (b − mean)·γ/√(variance + ε), in float64). So no layer is a batch norm, and every convolution and linear layer has a
//! bias.
//!
//! A ReLU or ReLU6 that alone reads a weighted layer or a sum is done by that layer on its way out
//! ([`FoldedLayer::activation`]), as runtimes do it. So is the gate of squeeze-excite: relu6(x + 3)/6 is a bias of 3 more
//! and a ReLU6, and the convolution behind the scaling has its filters divided by 6. What is left of activations
//! (h-swish) are layers of their own.

use crate::layers::{Layer, LayerKind, Read};
use crate::op::{Activation, Map};
use crate::shape::{NamedLayer, NetworkShape};
use crate::weights::{Array, Weights};

/// A network without batch norms.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// Size and channels of the image.
    pub input: Map,
    /// Its layers, in an order in which they can run; the last one makes the output.
    pub layers: Vec<FoldedLayer>,
}

/// A layer with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldedLayer {
    /// Its name in the network.
    pub name: String,
    /// What it is; what it reads are layers of the folded network.
    pub layer: Layer,
    /// Filters, `[outputs, inputs of a group, k, k]`, or `[outputs, inputs]` of a linear layer; where it has weights.
    pub weight: Option<Array>,
    /// One for each output, where it has weights.
    pub bias: Vec<f32>,
    /// Done to what it makes: none, ReLU or ReLU6.
    pub activation: Activation,
    /// Place among the network's own layers of the last one that is folded into it: what that makes, this makes.
    pub place: usize,
    /// What it makes is so many times what that makes.
    pub factor: f32,
}

impl Folded {
    /// Folds the batch norms of `network`, whose weights are `weights`.
    ///
    /// # Panics
    /// If `weights` are of another network.
    pub fn new(network: &NetworkShape, weights: &Weights) -> Self {
        let eps = network.batch_norm_eps();
        let numbers = |name: &str, part: &str| {
            let array = weights.get(&format!("{name}.{part}")).expect("a weight of this network");
            array.values.iter().map(|value| f64::from(*value))
        };
        let mut layers: Vec<FoldedLayer> = Vec::new();
        // Where each layer of the network went.
        let mut places: Vec<Read> = Vec::new();
        for (place, NamedLayer { name, mut layer }) in network.layers().into_iter().enumerate() {
            for read in &mut layer.reads {
                if let Read::Layer(at) = *read {
                    *read = places[at];
                }
            }
            if layer.kind == LayerKind::BatchNorm {
                let scales = numbers(&name, "weight").zip(numbers(&name, "running_var"));
                let scales: Vec<f64> = scales.map(|(gamma, var)| gamma / (var + eps).sqrt()).collect();
                let shifts = numbers(&name, "bias").zip(numbers(&name, "running_mean")).zip(&scales);
                let shifts: Vec<f64> = shifts.map(|((beta, mean), scale)| beta - mean * scale).collect();
                // `Op::layers` puts a batch norm behind a convolution that nobody else reads, and nowhere else.
                let Read::Layer(at) = layer.reads[0] else { panic!("{name} normalises the image") };
                layers[at].scale(&scales, &shifts);
                layers[at].place = place;
                places.push(Read::Layer(at));
                continue;
            }
            if let LayerKind::Conv(_, of) | LayerKind::Depthwise(_, of) | LayerKind::Linear(of) = &mut layer.kind {
                let weight = weights.get(&format!("{name}.weight")).cloned();
                let bias = match of.bias {
                    true => weights.get(&format!("{name}.bias")).map(|array| array.values.clone()),
                    false => None,
                };
                of.bias = true;
                let bias = bias.unwrap_or_else(|| vec![0.0; layer.output.channels as usize]);
                let activation = Activation::None;
                layers.push(FoldedLayer { name, layer, weight, bias, activation, place, factor: 1.0 });
            } else {
                let (weight, bias, activation) = (None, Vec::new(), Activation::None);
                layers.push(FoldedLayer { name, layer, weight, bias, activation, place, factor: 1.0 });
            }
            places.push(Read::Layer(layers.len() - 1));
        }
        Folded { input: network.input(), layers }.with_gates_folded().with_activations_fused()
    }

    /// Who reads each layer, and as which of its inputs.
    pub fn readers(&self) -> Vec<Vec<(usize, usize)>> {
        let mut readers = vec![Vec::new(); self.layers.len()];
        for (at, folded) in self.layers.iter().enumerate() {
            for (input, read) in folded.layer.reads.iter().enumerate() {
                if let Read::Layer(from) = *read {
                    readers[from].push((at, input));
                }
            }
        }
        readers
    }

    /// Turns every h-sigmoid into a ReLU6 whose sixth is in the weights behind, where only gates read it and only weighted
    /// layers read what they scale.
    fn with_gates_folded(mut self) -> Self {
        let readers = self.readers();
        for at in 0..self.layers.len() {
            let Read::Layer(from) = self.layers[at].layer.reads[0] else { continue };
            let is_gate = self.layers[at].layer.kind == LayerKind::Activation(Activation::HSigmoid)
                && self.layers[from].layer.is_weighted()
                && readers[from].len() == 1;
            let scales = |&(reader, input): &(usize, usize)| {
                self.layers[reader].layer.kind == LayerKind::Scale
                    && input == 1
                    && !readers[reader].is_empty()
                    && readers[reader].iter().all(|(after, _)| self.layers[*after].layer.is_weighted())
            };
            if !is_gate || readers[at].is_empty() || !readers[at].iter().all(scales) {
                continue;
            }
            self.layers[from].bias.iter_mut().for_each(|bias| *bias += 3.0);
            self.layers[at].layer.kind = LayerKind::Activation(Activation::Relu6);
            self.layers[at].factor = 6.0;
            for (scale, _) in &readers[at] {
                self.layers[*scale].factor = 6.0;
                for (after, _) in &readers[*scale] {
                    let weight = self.layers[*after].weight.as_mut().expect("a weighted layer");
                    weight.values.iter_mut().for_each(|value| *value /= 6.0);
                }
            }
        }
        self
    }

    /// Moves activations into the layers that make what they read.
    fn with_activations_fused(self) -> Self {
        let readers = self.readers();
        let mut layers: Vec<FoldedLayer> = Vec::with_capacity(self.layers.len());
        let mut places: Vec<usize> = Vec::with_capacity(self.layers.len());
        for mut folded in self.layers {
            let first = folded.layer.reads.first().copied();
            for read in &mut folded.layer.reads {
                if let Read::Layer(at) = read {
                    *at = places[*at];
                }
            }
            if let (LayerKind::Activation(activation), Some(Read::Layer(from))) = (folded.layer.kind, first) {
                let before = &mut layers[places[from]];
                let takes = before.layer.is_weighted() || before.layer.kind == LayerKind::Add;
                let is_clamp = matches!(activation, Activation::Relu | Activation::Relu6);
                if activation == Activation::None && before.layer.output == folded.layer.output {
                    before.place = folded.place;
                    places.push(places[from]);
                    continue;
                }
                if takes && is_clamp && readers[from].len() == 1 && before.activation == Activation::None {
                    before.activation = activation;
                    (before.place, before.factor) = (folded.place, folded.factor);
                    places.push(places[from]);
                    continue;
                }
            }
            layers.push(folded);
            places.push(layers.len() - 1);
        }
        Folded { input: self.input, layers }
    }

    /// What comes out: one position for each class of a classifier.
    pub fn output(&self) -> Map {
        self.layers.last().map_or(self.input, |last| last.layer.output)
    }
}

impl FoldedLayer {
    fn scale(&mut self, scales: &[f64], shifts: &[f64]) {
        let values = &mut self.weight.as_mut().expect("a layer with weights").values;
        let of_output = values.len() / scales.len().max(1);
        for (filter, scale) in values.chunks_mut(of_output.max(1)).zip(scales) {
            filter.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
        }
        for (bias, (scale, shift)) in self.bias.iter_mut().zip(scales.iter().zip(shifts)) {
            *bias = (f64::from(*bias) * scale + shift) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute;
    use crate::op::{Activation, Conv, InvertedBottleneck, Linear, Op, Pool, PoolKind, Residual};
    use crate::published;
    use crate::shape::Draft;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// The largest difference between a network and its folded form, as a fraction of the largest output.
    fn difference(shape: &NetworkShape, seed: u64) -> f64 {
        let weights = Weights::random(shape, seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let image: Vec<f32> = (0..shape.input().elements()).map(|_| rng.random_range(-1.0..1.0)).collect();
        let expected = execute::run(shape, &weights, &image);
        let folded = Folded::new(shape, &weights);
        let left = |kind| folded.layers.iter().any(|layer| layer.layer.kind == kind);
        assert!(!left(LayerKind::BatchNorm));
        assert!(
            ![Activation::Relu, Activation::Relu6, Activation::HSigmoid]
                .map(LayerKind::Activation)
                .map(left)
                .contains(&true)
        );
        let got = execute::run_folded(&folded, &image);
        assert_eq!(got.len(), expected.len());
        let largest = expected.iter().fold(0_f32, |most, x| most.max(x.abs()));
        assert!(largest > 0.0 && largest.is_finite());
        f64::from(got.iter().zip(&expected).fold(0_f32, |most, (a, b)| most.max((a - b).abs())) / largest)
    }

    #[test]
    fn a_folded_network_computes_the_same() {
        let apart = difference(&published::resnet8(10), 1);
        assert!(apart <= 1e-5, "{apart:e}");

        // Biases before batch norms and none in the end; a map that two read.
        let (map, narrow) = (Map::new(6, 5), Map::new(6, 4));
        let conv = |input, output| Conv { batch_norm: true, ..Conv::plain(input, output) };
        let average =
            Pool { kind: PoolKind::Average, input: map, output: Map::new(1, 5), kernel: 6, stride: 1, padding: 0 };
        let drafts = vec![
            Draft::new("stem", Op::Conv(Conv { kernel: 3, padding: 1, bias: true, ..conv(Map::new(6, 3), map) })),
            Draft::new(
                "block",
                Op::Residual(Residual {
                    branch: vec![
                        Conv { activation: Activation::HSwish, ..conv(map, narrow) },
                        Conv { kernel: 3, padding: 1, ..conv(narrow, map) },
                    ],
                    shortcut: Some(conv(map, map)),
                    activation: Activation::Relu,
                }),
            ),
            Draft::new("pool", Op::Pool(average)),
            Draft::new(
                "classifier",
                Op::Linear(Linear { input: Map::new(1, 5), outputs: 3, bias: false, activation: Activation::None }),
            ),
        ];
        let shape = NetworkShape::new(Map::new(6, 3), drafts, 1e-3).unwrap();
        for seed in 1..4 {
            let apart = difference(&shape, seed);
            assert!(apart <= 1e-5, "{apart:e}");
        }
    }

    /// Squeeze-excite with its gate, and h-swish, which stays a layer.
    #[test]
    fn the_gate_of_squeeze_excite_is_folded() {
        let (image, map) = (Map::new(8, 3), Map::new(4, 8));
        let block = InvertedBottleneck {
            input: image,
            output: map,
            mid_channels: 12,
            kernel: 5,
            stride: 2,
            padding: 2,
            groups: 1,
            expand_conv: true,
            se_channels: Some(4),
            activation: Activation::HSwish,
            output_activation: Activation::None,
            residual: false,
        };
        let shape = NetworkShape::chain(image, vec![("block".into(), Op::InvertedBottleneck(block))], 1e-5).unwrap();
        for seed in 1..4 {
            let apart = difference(&shape, seed);
            assert!(apart <= 1e-5, "{apart:e}");
        }
        let folded = Folded::new(&shape, &Weights::random(&shape, 1));
        let names: Vec<&str> = folded.layers.iter().map(|layer| layer.name.as_str()).collect();
        let parts =
            ["expand.conv", "expand.act", "depthwise.conv", "depthwise.act", "se.pool", "se.reduce", "se.expand"];
        let expected = parts.into_iter().chain(["se.scale", "project.conv"]).map(|part| format!("block.{part}"));
        assert_eq!(names, expected.collect::<Vec<_>>());
        let layers = shape.layers();
        let own = |name: &str| {
            let folded = folded.layers.iter().find(|layer| layer.name == format!("block.{name}")).unwrap();
            (layers[folded.place].name.as_str(), folded.factor)
        };
        assert_eq!(own("expand.conv"), ("block.expand.bn", 1.0));
        assert_eq!(own("se.reduce"), ("block.se.reduce.act", 1.0));
        assert_eq!(own("se.expand"), ("block.se.gate", 6.0));
        assert_eq!(own("se.scale"), ("block.se.scale", 6.0));
        assert_eq!(own("project.conv"), ("block.project.bn", 1.0));
    }
}
