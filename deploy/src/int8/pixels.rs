//! A network that reads the bytes of a picture, whose normalisation is part of it.

use std::borrow::Cow;

use network::folded::{Folded, FoldedLayer};
use network::integer::Scale;
use network::layers::{Format, Layer, LayerKind, Read, Weights, Window};
use network::op::{Activation, Map};
use network::weights::Array;

/// The number that a network reads in place of each byte of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Subtracted from every byte, so that padding is 0.
    pub offset: u8,
}

impl Pixels {
    /// What a byte less 128 stands for.
    pub fn scale(self) -> Scale {
        Scale { scale: 1.0, zero_point: i32::from(self.offset) - 128 }
    }
}

/// The network that makes of pixels what `network` makes of (pixel / 255 − mean) / std, each channel with its own.
///
/// Where every channel's mean is the same to half a byte, or nothing is padded, normalisation goes into the filters and
/// biases of the first layers, and a byte of that mean stands for 0, as padding does. Elsewhere no one byte is what
/// padding must be in all channels, and a layer that normalises comes first: one multiply-accumulate a number.
///
/// # Panics
/// If there are not as many means and deviations as channels.
pub fn reading_pixels(network: Folded, mean: &[f64], std: &[f64]) -> (Folded, Pixels) {
    let channels = network.input.channels as usize;
    assert_eq!((mean.len(), std.len()), (channels, channels));
    let means: Vec<f64> = mean.iter().map(|mean| 255.0 * mean).collect();
    let offset = (means.iter().sum::<f64>() / channels as f64).round().clamp(0.0, 255.0);
    let readers = || network.layers.iter().filter(|folded| folded.layer.reads.contains(&Read::Input(0)));
    let is_alike = means.iter().all(|mean| (mean - offset).abs() <= 0.5);
    if readers().all(|folded| folded.layer.is_weighted() && (is_alike || !pads(&folded.layer))) {
        let mut network = network;
        for folded in network.layers.iter_mut().filter(|folded| folded.layer.reads[0] == Read::Input(0)) {
            take_in(folded, &means, std, offset);
        }
        return (network, Pixels { offset: offset as u8 });
    }
    (normalised_first(network, &means, std), Pixels { offset: 0 })
}

/// Whether a window reaches out of the map.
fn pads(layer: &Layer) -> bool {
    match layer.kind {
        LayerKind::Conv(window, _) | LayerKind::Depthwise(window, _) => {
            window.padding > 0 || window.below(layer.input.size, layer.output.size) > 0
        }
        _ => false,
    }
}

/// Has a weighted layer read pixels less `offset`.
fn take_in(folded: &mut FoldedLayer, means: &[f64], std: &[f64], offset: f64) {
    let outputs = folded.layer.output.channels as usize;
    let weight = &mut folded.weight.as_mut().expect("a weighted layer").values;
    let of_output = weight.len() / outputs.max(1);
    let (groups, taps) = match folded.layer.kind {
        LayerKind::Conv(window, Weights { groups, .. }) => (groups.max(1) as usize, window.kernel * window.kernel),
        LayerKind::Depthwise(window, _) => (outputs, window.kernel * window.kernel),
        _ => (1, folded.layer.input.size * folded.layer.input.size),
    };
    let of_group = of_output / taps as usize;
    for (output, filter) in weight.chunks_mut(of_output.max(1)).enumerate() {
        let first = output / (outputs / groups).max(1) * of_group;
        let mut bias = f64::from(folded.bias[output]);
        for (at, value) in filter.iter_mut().enumerate() {
            let channel = first + at / taps as usize;
            let scaled = f64::from(*value) / (255.0 * std[channel]);
            bias -= scaled * (means[channel] - offset);
            *value = scaled as f32;
        }
        folded.bias[output] = bias as f32;
    }
}

fn normalised_first(network: Folded, means: &[f64], std: &[f64]) -> Folded {
    let Map { channels, .. } = network.input;
    let names: Vec<&str> = network.layers.iter().map(|folded| folded.name.as_str()).collect();
    let free = (0..).map(|at| if at == 0 { "normalise".to_owned() } else { format!("normalise{at}") });
    let name = free.into_iter().find(|name| !names.contains(&name.as_str())).expect("names do not end");
    let window = Window { kernel: 1, stride: 1, padding: 0 };
    let layer = Layer {
        part: Cow::Borrowed(""),
        kind: LayerKind::Depthwise(window, Weights { groups: channels, bias: true }),
        reads: vec![Read::Input(0)],
        input: network.input,
        output: network.input,
        weights: Format::DENSE,
        inputs: Format::DENSE,
    };
    let values = std.iter().map(|std| (1.0 / (255.0 * std)) as f32).collect();
    let weight = Some(Array { shape: vec![channels as usize, 1, 1, 1], values });
    let bias = means.iter().zip(std).map(|(mean, std)| (-mean / (255.0 * std)) as f32).collect();
    // No layer of the network's own makes that.
    let (activation, place) = (Activation::None, usize::MAX);
    let mut layers = vec![FoldedLayer { name, layer, weight, bias, activation, place, factor: 1.0 }];
    for mut folded in network.layers {
        for read in &mut folded.layer.reads {
            *read = match *read {
                Read::Input(_) => Read::Layer(0),
                Read::Layer(at) => Read::Layer(at + 1),
            };
        }
        layers.push(folded);
    }
    Folded { input: network.input, layers }
}

#[cfg(test)]
mod tests {
    use network::execute::run_folded;
    use network::published;
    use network::weights::Weights;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// How far a network of pixels is from one of normalised numbers, and whether a layer came first.
    fn check(mean: [f64; 3], std: [f64; 3]) -> (f32, bool) {
        let shape = published::mobilenet_v2(35, 32, 5);
        let folded = Folded::new(&shape, &Weights::random(&shape, 1));
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let bytes: Vec<u8> = (0..shape.input().elements()).map(|_| rng.random()).collect();
        let area = shape.input().area() as usize;
        let number = |(at, byte): (usize, &u8)| ((f64::from(*byte) / 255.0 - mean[at / area]) / std[at / area]) as f32;
        let expected = run_folded(&folded, &bytes.iter().enumerate().map(number).collect::<Vec<f32>>());
        let before = folded.layers.len();
        let (network, pixels) = reading_pixels(folded, &mean, &std);
        let image: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte) - f32::from(pixels.offset)).collect();
        let got = run_folded(&network, &image);
        let largest = expected.iter().fold(0_f32, |most, x| most.max(x.abs()));
        let apart = expected.iter().zip(&got).fold(0_f32, |most, (a, b)| most.max((a - b).abs()));
        (apart / largest, network.layers.len() > before)
    }

    #[test]
    fn a_network_of_pixels_normalises_by_itself() {
        // 127 of 255 and 128 of 255, as EfficientNet-Lite has them.
        let alike = check([127.0 / 255.0; 3], [128.0 / 255.0; 3]);
        assert!(alike.0 < 1e-4 && !alike.1, "{alike:?}");
        let apart = check([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]);
        assert!(apart.0 < 1e-4 && apart.1, "{apart:?}");
    }
}
