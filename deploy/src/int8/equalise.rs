//! Balancing the channels between two weighted layers (Nagel et al. 2019, arXiv:1906.04721, §4.1): what one makes smaller
//! the next makes larger again, so a channel's filters on both sides reach equally far. Exact where only a ReLU and pooling
//! lie between.

use network::folded::{Folded, FoldedLayer};
use network::layers::{LayerKind, Read, Weights};
use network::op::Activation;

/// Rounds over all pairs; further ones change nothing that int8 could tell.
const ROUNDS: usize = 20;

/// The same function with balanced channels.
pub fn equalised(mut network: Folded) -> Folded {
    let pairs = pairs(&network);
    for _ in 0..ROUNDS {
        for &(first, second) in &pairs {
            balance(&mut network, first, second);
        }
    }
    network
}

/// Weighted layers of which the second alone reads what the first makes.
fn pairs(network: &Folded) -> Vec<(usize, usize)> {
    let readers = network.readers();
    let mut pairs = Vec::new();
    for (first, folded) in network.layers.iter().enumerate() {
        if !folded.layer.is_weighted() || !matches!(folded.activation, Activation::None | Activation::Relu) {
            continue;
        }
        let mut at = first;
        while let [(reader, 0)] = readers[at][..] {
            let next = &network.layers[reader];
            match next.layer.kind {
                LayerKind::Pool(..) if next.activation == Activation::None => at = reader,
                LayerKind::Conv(_, Weights { groups: 1, .. }) | LayerKind::Depthwise(..) | LayerKind::Linear(_) => {
                    pairs.push((first, reader));
                    break;
                }
                _ => break,
            }
        }
        // The image is nobody's output.
        debug_assert!(folded.layer.reads.iter().all(|read| *read != Read::Layer(first)));
    }
    pairs
}

/// The channel of the input that each of a layer's weights multiplies.
fn channel_of(folded: &FoldedLayer) -> impl Fn(usize) -> usize + use<> {
    let of_output =
        folded.weight.as_ref().map_or(0, |weight| weight.values.len()) / (folded.layer.output.channels as usize).max(1);
    let (is_depthwise, taps) = match folded.layer.kind {
        LayerKind::Conv(window, _) => (false, (window.kernel * window.kernel) as usize),
        LayerKind::Depthwise(window, _) => (true, (window.kernel * window.kernel) as usize),
        _ => (false, (folded.layer.input.area() as usize).max(1)),
    };
    move |at| if is_depthwise { at / of_output } else { at % of_output / taps }
}

fn balance(network: &mut Folded, first: usize, second: usize) {
    let channels = network.layers[first].layer.output.channels as usize;
    let channel = channel_of(&network.layers[second]);
    let values = |at: usize| &network.layers[at].weight.as_ref().expect("a weighted layer").values;
    let of_output = values(first).len() / channels.max(1);
    let mut reach = vec![[0_f32; 2]; channels];
    for (at, value) in values(first).iter().enumerate() {
        let most = &mut reach[at / of_output][0];
        *most = most.max(value.abs());
    }
    for (at, value) in values(second).iter().enumerate() {
        let most = &mut reach[channel(at)][1];
        *most = most.max(value.abs());
    }
    // Channels that one of the two does not have stay as they are.
    let factor = |[one, two]: [f32; 2]| if one > 0.0 && two > 0.0 { (one / two).sqrt().clamp(1e-3, 1e3) } else { 1.0 };
    let factors: Vec<f32> = reach.into_iter().map(factor).collect();
    let one = &mut network.layers[first];
    one.bias.iter_mut().zip(&factors).for_each(|(bias, factor)| *bias /= factor);
    let filters = one.weight.as_mut().expect("a weighted layer").values.chunks_mut(of_output.max(1));
    filters.zip(&factors).for_each(|(filter, factor)| filter.iter_mut().for_each(|value| *value /= factor));
    let two = network.layers[second].weight.as_mut().expect("a weighted layer");
    two.values.iter_mut().enumerate().for_each(|(at, value)| *value *= factors[channel(at)]);
}

#[cfg(test)]
mod tests {
    use network::execute::run_folded;
    use network::published;
    use network::weights::Weights;

    use super::*;

    #[test]
    fn balanced_channels_compute_the_same_and_reach_equally_far() {
        for shape in [published::resnet8(4), published::mobilenet_v1(25, 32, 7)] {
            let mut folded = Folded::new(&shape, &Weights::random(&shape, 1));
            let open = folded.layers.iter_mut().filter(|folded| folded.activation == Activation::Relu6);
            open.for_each(|folded| folded.activation = Activation::Relu);
            // One channel between the first two layers much larger than the others.
            let (first, second) = pairs(&folded)[0];
            let one = &mut folded.layers[first];
            let of_output = one.weight.as_ref().unwrap().values.len() / one.layer.output.channels as usize;
            one.weight.as_mut().unwrap().values[..of_output].iter_mut().for_each(|value| *value *= 100.0);
            one.bias[0] *= 100.0;
            let image: Vec<f32> = (0..shape.input().elements()).map(|at| (at as f32 * 0.37).sin()).collect();
            let expected = run_folded(&folded, &image);
            let balanced = equalised(folded);
            let got = run_folded(&balanced, &image);
            let largest = expected.iter().fold(0_f32, |most, x| most.max(x.abs()));
            let apart = expected.iter().zip(&got).fold(0_f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(apart <= 1e-5 * largest, "{apart} of {largest}");
            let reach = |at: usize, of: &dyn Fn(usize) -> usize| {
                let values = &balanced.layers[at].weight.as_ref().unwrap().values;
                values.iter().enumerate().filter(|(at, _)| of(*at) == 0).fold(0_f32, |most, (_, x)| most.max(x.abs()))
            };
            let (a, b) = (reach(first, &|at| at / of_output), reach(second, &channel_of(&balanced.layers[second])));
            assert!((a / b - 1.0).abs() < 0.05, "{a} and {b}");
        }
    }
}
