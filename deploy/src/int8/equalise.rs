//! Balancing channels, so that each uses as much of a feature map's range as the others: what the layers before make smaller
//! the layers behind make larger again (Nagel et al. 2019, arXiv:1906.04721, §4.1). How far a channel reaches is not
//! guessed from weights but was seen, as in Xiao et al. 2023 (SmoothQuant, arXiv:2211.10438, §4).
//!
//! Maps that are added, pooled or scaled by gates are balanced together. Where only depthwise convolutions read them, which
//! have a scale for each channel, every channel is brought to the same reach; else the balance is the geometric middle
//! between that and equal filters behind. Exact behind nothing and ReLU; behind a ReLU6, channels that stay below 6 are
//! stretched towards it, which cuts off what is larger than anything that was seen.

use network::folded::{Folded, FoldedLayer};
use network::layers::{LayerKind, Read, Weights};
use network::op::Activation;

/// How much larger than what was seen a number may be before a stretched ReLU6 cuts it off.
const MARGIN: f32 = 1.25;
/// No channel is stretched or shrunk by more.
const MOST: f32 = 64.0;

/// The same function with balanced channels; `reach` is the largest number that was seen in each channel of each layer's
/// output, its sign left out.
///
/// # Panics
/// If there are not as many reaches as layers.
pub fn equalised(mut network: Folded, reach: &[Vec<f32>]) -> Folded {
    assert_eq!(reach.len(), network.layers.len());
    for group in groups(&network) {
        let factors = factors(&network, &group, reach);
        for &at in &group.makers {
            let folded = &mut network.layers[at];
            folded.bias.iter_mut().zip(&factors).for_each(|(bias, factor)| *bias /= factor);
            let values = &mut folded.weight.as_mut().expect("a weighted layer").values;
            let of_output = (values.len() / factors.len()).max(1);
            let filters = values.chunks_mut(of_output).zip(&factors);
            filters.for_each(|(filter, factor)| filter.iter_mut().for_each(|value| *value /= factor));
        }
        for &at in &group.readers {
            let channel = channel_of(&network.layers[at]);
            let weight = network.layers[at].weight.as_mut().expect("a weighted layer");
            weight.values.iter_mut().enumerate().for_each(|(at, value)| *value *= factors[channel(at)]);
        }
    }
    network
}

/// Maps whose channels have to be scaled alike.
#[derive(Debug, PartialEq)]
struct Group {
    /// Weighted layers that make them.
    makers: Vec<usize>,
    /// Weighted layers that read them.
    readers: Vec<usize>,
    /// All layers that make them, sums and the like included.
    members: Vec<usize>,
}

/// Whether a layer passes the scale of its first input on, channel by channel.
fn passes(kind: &LayerKind) -> bool {
    matches!(kind, LayerKind::Add | LayerKind::Pool(..) | LayerKind::Scale)
}

/// Those groups that can be scaled.
fn groups(network: &Folded) -> Vec<Group> {
    let layers = &network.layers;
    // The image first; each points towards the first of its group.
    let mut first: Vec<usize> = (0..=layers.len()).collect();
    fn root(first: &[usize], mut at: usize) -> usize {
        while first[at] != at {
            at = first[at];
        }
        at
    }
    let place = |read: &Read| match read {
        Read::Input(_) => 0,
        Read::Layer(at) => at + 1,
    };
    for (at, folded) in layers.iter().enumerate().filter(|(_, folded)| passes(&folded.layer.kind)) {
        let reads = &folded.layer.reads;
        // A gate is no map.
        let maps = if folded.layer.kind == LayerKind::Scale { &reads[..1] } else { reads };
        for read in maps {
            let (one, other) = (root(&first, at + 1), root(&first, place(read)));
            first[one.max(other)] = one.min(other);
        }
    }
    let mut groups: Vec<Option<Group>> = (0..=layers.len())
        .map(|_| Some(Group { makers: Vec::new(), readers: Vec::new(), members: Vec::new() }))
        .collect();
    groups[root(&first, 0)] = None;
    // Outputs are what they are.
    groups[root(&first, layers.len())] = None;
    for (at, folded) in layers.iter().enumerate() {
        let own = root(&first, at + 1);
        let is_scalable = matches!(folded.activation, Activation::None | Activation::Relu | Activation::Relu6);
        if folded.layer.is_weighted() && is_scalable {
            if let Some(group) = &mut groups[own] {
                group.makers.push(at);
                group.members.push(at);
            }
        } else if passes(&folded.layer.kind) && matches!(folded.activation, Activation::None | Activation::Relu) {
            groups[own].iter_mut().for_each(|group| group.members.push(at));
        } else {
            groups[own] = None;
        }
        for (input, read) in folded.layer.reads.iter().enumerate() {
            let read = root(&first, place(read));
            let is_map = passes(&folded.layer.kind) && (folded.layer.kind != LayerKind::Scale || input == 0);
            let takes_factors = match folded.layer.kind {
                LayerKind::Conv(_, Weights { groups, .. }) => groups == 1,
                LayerKind::Depthwise(..) | LayerKind::Linear(_) => true,
                _ => false,
            };
            match &mut groups[read] {
                Some(group) if takes_factors => group.readers.push(at),
                _ if is_map => {}
                group => *group = None,
            }
        }
    }
    let is_whole = |group: &Group| !group.makers.is_empty() && !group.readers.is_empty();
    groups.into_iter().flatten().filter(is_whole).collect()
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

/// What each channel of a group is divided by.
fn factors(network: &Folded, group: &Group, reach: &[Vec<f32>]) -> Vec<f32> {
    let channels = network.layers[group.makers[0]].layer.output.channels as usize;
    let mut seen = vec![0_f32; channels];
    for &at in &group.members {
        seen.iter_mut().zip(&reach[at]).for_each(|(most, x)| *most = most.max(*x));
    }
    let mut filters = vec![0_f32; channels];
    let mut is_free = true;
    for &at in &group.readers {
        let folded = &network.layers[at];
        if matches!(folded.layer.kind, LayerKind::Depthwise(..)) {
            continue;
        }
        is_free = false;
        let channel = channel_of(folded);
        for (at, value) in folded.weight.iter().flat_map(|weight| &weight.values).enumerate() {
            let most = &mut filters[channel(at)];
            *most = most.max(value.abs());
        }
    }
    let largest = seen.iter().fold(0_f32, |most, x| most.max(*x));
    if largest == 0.0 {
        return vec![1.0; channels];
    }
    let wish = |channel: usize| match (seen[channel], filters[channel]) {
        // Nothing was seen, or nobody cares.
        (0.0, _) => None,
        (seen, _) if is_free => Some(seen),
        (_, 0.0) => None,
        (seen, filter) => Some((seen / filter).sqrt()),
    };
    let wishes: Vec<Option<f32>> = (0..channels).map(wish).collect();
    let most = wishes.iter().flatten().fold(0_f32, |most, x| most.max(*x));
    let is_clamped = group.members.iter().any(|at| network.layers[*at].activation == Activation::Relu6);
    let factor = |(channel, wish): (usize, &Option<f32>)| {
        let factor = wish.map_or(1.0, |wish| (wish / most).max(1.0 / MOST));
        // A ReLU6 cuts off at 6 what was divided, too: at six times the factor of what it was.
        if is_clamped { factor.max((MARGIN * seen[channel] / 6.0).min(1.0)) } else { factor }
    };
    wishes.iter().enumerate().map(factor).collect()
}

#[cfg(test)]
mod tests {
    use network::execute::run_folded_layers;
    use network::published;
    use network::weights::Weights as NetworkWeights;

    use super::super::tests::squeeze_excite;
    use super::*;

    fn reach_of(network: &Folded, image: &[f32]) -> Vec<Vec<f32>> {
        let layer = |(made, folded): (&Vec<f32>, &FoldedLayer)| {
            let channels = made.chunks_exact((folded.layer.output.area() as usize).max(1));
            channels.map(|values| values.iter().fold(0_f32, |most, x| most.max(x.abs()))).collect()
        };
        run_folded_layers(network, image).iter().zip(&network.layers).map(layer).collect()
    }

    /// Channels of 0.01 to 1 of their reach are nearly alike afterwards, and the function is the same.
    #[test]
    fn balanced_channels_compute_the_same_and_reach_equally_far() {
        let networks = [published::resnet8(4), published::mobilenet_v2(35, 32, 7), squeeze_excite()];
        for shape in networks {
            let folded = Folded::new(&shape, &NetworkWeights::random(&shape, 1));
            let image: Vec<f32> = (0..shape.input().elements()).map(|at| (at as f32 * 0.37).sin()).collect();
            let all = groups(&folded);
            assert!(!all.is_empty());
            // Uneven channels that balancing has to find.
            let mut uneven = folded.clone();
            for group in &all {
                let clamped = group.members.iter().any(|at| folded.layers[*at].activation == Activation::Relu6);
                for &at in &group.makers {
                    let folded = &mut uneven.layers[at];
                    let values = &mut folded.weight.as_mut().unwrap().values;
                    let of_output = values.len() / folded.bias.len();
                    let shrink = |channel: usize| if clamped { 0.9 } else { 0.01_f32.powf((channel % 3) as f32 / 2.0) };
                    values.iter_mut().enumerate().for_each(|(at, value)| *value *= shrink(at / of_output));
                    folded.bias.iter_mut().enumerate().for_each(|(channel, bias)| *bias *= shrink(channel));
                }
            }
            let reach = reach_of(&uneven, &image);
            let balanced = equalised(uneven.clone(), &reach);
            let (expected, got) = (run_folded_layers(&uneven, &image), run_folded_layers(&balanced, &image));
            let (expected, got) = (expected.last().unwrap(), got.last().unwrap());
            let largest = expected.iter().fold(0_f32, |most, x| most.max(x.abs()));
            let apart = expected.iter().zip(got).fold(0_f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(apart <= 1e-4 * largest, "{apart} of {largest}");
            // How unlike channels are, from 1 for all alike.
            let spread = |reach: &[Vec<f32>]| {
                let of = |group: &Group| {
                    let channels: Vec<f32> = reach[group.makers[0]].iter().copied().filter(|x| *x > 0.0).collect();
                    let most = channels.iter().fold(0_f32, |most, x| most.max(*x));
                    channels.iter().map(|x| (most / x).ln()).sum::<f32>() / channels.len() as f32
                };
                all.iter().map(of).sum::<f32>() / all.len() as f32
            };
            let (before, after) = (spread(&reach), spread(&reach_of(&balanced, &image)));
            assert!(after < 0.8 * before, "{after}, {before}");
        }
    }

    #[test]
    fn maps_that_are_added_belong_together_and_gates_and_outputs_do_not() {
        let shape = published::resnet8(4);
        let folded = Folded::new(&shape, &NetworkWeights::random(&shape, 1));
        for group in groups(&folded) {
            let adds = group.members.iter().filter(|at| folded.layers[**at].layer.kind == LayerKind::Add).count();
            assert!(adds == 0 || group.makers.len() > 1, "{group:?}");
            assert!(!group.members.contains(&(folded.layers.len() - 1)));
        }
        let shape = squeeze_excite();
        let folded = Folded::new(&shape, &NetworkWeights::random(&shape, 1));
        let gates = ["se.expand", "expand.act", "depthwise.conv", "depthwise.act"];
        for group in groups(&folded) {
            let names: Vec<&str> = group.members.iter().map(|at| folded.layers[*at].name.as_str()).collect();
            assert!(!names.iter().any(|name| gates.iter().any(|gate| name.ends_with(gate))), "{names:?}");
        }
    }
}
