//! A network as it is deployed: every batch norm inside the weights before it.
//!
//! In go a network and its weights, out comes a row of layers with the numbers that each needs: what all exporters write.
//! A batch norm scales the filters of the convolution before it and gives it a bias (w·γ/√(variance + ε) and
//! β + (b − mean)·γ/√(variance + ε), in float64). So no layer is a batch norm, and every convolution and linear layer has a
//! bias.

use crate::layers::{Layer, LayerKind, Read};
use crate::op::Map;
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
        for NamedLayer { name, mut layer } in network.layers() {
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
                layers.push(FoldedLayer { name, layer, weight, bias });
            } else {
                layers.push(FoldedLayer { name, layer, weight: None, bias: Vec::new() });
            }
            places.push(Read::Layer(layers.len() - 1));
        }
        Folded { input: network.input(), layers }
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
    use crate::op::{Activation, Conv, Linear, Op, Pool, PoolKind, Residual};
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
        assert!(folded.layers.iter().all(|layer| layer.layer.kind != LayerKind::BatchNorm));
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
}
