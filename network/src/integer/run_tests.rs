use std::borrow::Cow;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::layers::Format;

fn layer(kind: LayerKind, input: Map, output: Map, inputs: usize) -> Layer {
    let (weights, read) = (Format::DENSE, Format::DENSE);
    Layer {
        part: Cow::Borrowed(""),
        kind,
        reads: (0..inputs).map(Read::Input).collect(),
        input,
        output,
        weights,
        inputs: read,
    }
}

/// Runs a layer in int8 and in float32 on the same random numbers: the largest distance in steps of the output.
fn distance(layer: Layer, activation: Activation, inputs: &[(Scale, usize)], output: Scale, seed: u64) -> i32 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let images: Vec<Vec<i8>> =
        inputs.iter().map(|(_, count)| (0..*count).map(|_| rng.random_range(-128..=127)).collect()).collect();
    let scales: Vec<Scale> = inputs.iter().map(|(scale, _)| *scale).collect();
    let outputs = layer.output.channels as usize;
    let mut float = (Vec::new(), Vec::new());
    let mut numbers = Numbers::Plain;
    if layer.is_weighted() {
        let weights = IntegerWeights {
            values: (0..layer.weight_count()).map(|_| rng.random_range(-127..=127)).collect(),
            scales: (0..outputs).map(|_| rng.random_range(1e-4..1e-3)).collect(),
            bias: (0..outputs).map(|_| rng.random_range(-9999..9999)).collect(),
        };
        let of_output = weights.values.len() / outputs;
        let real = |(at, value): (usize, &i8)| f32::from(*value) * weights.scales[at / of_output];
        float.0 = weights.values.iter().enumerate().map(real).collect();
        let bias = |(at, value): (usize, &i32)| *value as f32 * weights.scales[at] * scales[0].scale;
        float.1 = weights.bias.iter().enumerate().map(bias).collect();
        numbers = Numbers::Int8(weights);
    }
    let whole = IntegerLayer { name: "it".into(), layer, activation, scale: output, numbers };
    let kept = IntegerLayer { numbers: Numbers::Float32 { weight: float.0, bias: float.1 }, ..whole.clone() };
    let maps: Vec<&[i8]> = images.iter().map(Vec::as_slice).collect();
    let got = PreparedLayer::new(&whole, &scales).run(&maps);
    let expected = PreparedLayer::new(&kept, &scales).run(&maps);
    assert_eq!(got.len() as u64, whole.layer.output.elements());
    assert!(got.iter().any(|number| *number != got[0]), "nothing happens");
    got.iter().zip(&expected).map(|(a, b)| (i32::from(*a) - i32::from(*b)).abs()).max().unwrap()
}

const FINE: Scale = Scale { scale: 0.02, zero_point: -11 };
const COARSE: Scale = Scale { scale: 0.05, zero_point: 7 };

#[test]
fn every_layer_is_within_a_step_of_float32() {
    let window = |kernel, stride, padding| Window { kernel, stride, padding };
    let weights = |groups| Weights { groups, bias: true };
    let (wide, narrow) = (Map::new(7, 6), Map::new(4, 8));
    let conv = LayerKind::Conv(window(3, 2, 1), weights(1));
    let grouped = LayerKind::Conv(window(1, 1, 0), weights(2));
    let depthwise = LayerKind::Depthwise(window(5, 2, 2), weights(6));
    let pool = |kind| LayerKind::Pool(kind, window(3, 2, 1));
    let cases = [
        (conv, wide, narrow, vec![wide], FINE),
        (grouped, wide, Map::new(7, 4), vec![wide], FINE),
        (depthwise, wide, Map::new(4, 6), vec![wide], FINE),
        (LayerKind::Linear(weights(1)), wide, Map::new(1, 9), vec![wide], FINE),
        (pool(PoolKind::Max), wide, Map::new(4, 6), vec![wide], COARSE),
        (pool(PoolKind::Average), wide, Map::new(4, 6), vec![wide], COARSE),
        (LayerKind::Add, wide, wide, vec![wide; 2], FINE),
        (LayerKind::Concat, wide, Map::new(7, 9), vec![wide, Map::new(7, 3)], COARSE),
        (LayerKind::Scale, wide, wide, vec![wide, Map::new(1, 6)], COARSE),
        (LayerKind::Activation(Activation::Relu), wide, wide, vec![wide], FINE),
        (LayerKind::Activation(Activation::Relu6), wide, wide, vec![wide], FINE),
        (LayerKind::Activation(Activation::HSwish), wide, wide, vec![wide], FINE),
    ];
    for (at, (kind, input, output, reads, scale)) in cases.into_iter().enumerate() {
        for activation in [Activation::None, Activation::Relu6] {
            if activation != Activation::None
                && !(layer(kind, input, output, 1).is_weighted() || kind == LayerKind::Add)
            {
                continue;
            }
            let inputs: Vec<(Scale, usize)> = reads.iter().map(|map| (COARSE, map.elements() as usize)).collect();
            let most = match kind {
                LayerKind::Activation(Activation::HSwish) => 2,
                _ => 1,
            };
            for seed in 0..5 {
                let apart = distance(layer(kind, input, output, reads.len()), activation, &inputs, scale, seed);
                assert!(apart <= most, "case {at}, {activation:?}: {apart} steps");
            }
        }
    }
}
