//! Weights rounded to int8, and scales for every feature map.

use network::folded::{Folded, FoldedLayer};
use network::integer::{IntegerLayer, IntegerNetwork, IntegerWeights, Numbers, Scale, keeps_scale};
use network::layers::{LayerKind, Read};
use network::op::Activation;

use super::Range;
use super::filters::{finest, round};
use super::shared::SharedFilter;
use crate::Unsupported;

/// Whether all layers have a meaning in int8 but for those that stay in float32.
///
/// # Errors
/// The first that has none.
pub fn check(network: &Folded, kept: impl Fn(&str) -> bool) -> Result<(), Unsupported> {
    for folded in network.layers.iter().filter(|folded| !kept(&folded.name)) {
        let what = match folded.layer.kind {
            LayerKind::LocalResponse { .. } => "local response normalisation",
            LayerKind::BatchNorm => "batch norm without a convolution before it",
            LayerKind::Activation(Activation::HSigmoid) => "h-sigmoid outside of squeeze-excite",
            LayerKind::Add if folded.layer.reads.len() > 2 => "sum of more than two maps",
            _ => continue,
        };
        return Err(Unsupported { format: "int8", layer: folded.name.clone(), what });
    }
    Ok(())
}

/// `network` in int8: `image` says what the numbers of an image stand for, `ranges` how far each layer's output reaches,
/// `kept` which layers stay in float32.
///
/// # Errors
/// As [`check`].
///
/// # Panics
/// If there are not as many ranges as layers.
pub fn quantise(
    network: &Folded,
    image: Scale,
    ranges: &[Range],
    kept: impl Fn(&str) -> bool,
) -> Result<IntegerNetwork, Unsupported> {
    quantise_with(network, image, ranges, kept, &[])
}

/// The same, with filters that are rounded already where there are some: `shared` has one entry for each layer, or none at
/// all.
///
/// # Errors
/// As [`check`].
///
/// # Panics
/// If there are not as many ranges as layers.
pub fn quantise_with(
    network: &Folded,
    image: Scale,
    ranges: &[Range],
    kept: impl Fn(&str) -> bool,
    shared: &[Option<SharedFilter>],
) -> Result<IntegerNetwork, Unsupported> {
    assert_eq!(ranges.len(), network.layers.len());
    check(network, &kept)?;
    let scales = scales(network, image, ranges, &kept);
    let layers = network.layers.iter().zip(&scales).enumerate().map(|(at, (folded, scale))| {
        let input = match folded.layer.reads[0] {
            Read::Input(_) => image,
            Read::Layer(at) => scales[at],
        };
        let numbers = if kept(&folded.name) {
            let weight = folded.weight.as_ref().map_or_else(Vec::new, |weight| weight.values.clone());
            Numbers::Float32 { weight, bias: folded.bias.clone() }
        } else if folded.layer.is_weighted() {
            Numbers::Int8(weights(folded, input, *scale, shared.get(at).and_then(Option::as_ref)))
        } else {
            Numbers::Plain
        };
        let FoldedLayer { name, layer, activation, .. } = folded.clone();
        IntegerLayer { name, layer, activation, scale: *scale, numbers }
    });
    Ok(IntegerNetwork { input: network.input, image, layers: layers.collect() })
}

/// One for each layer's output: layers that only pick or average numbers share that of what they read.
fn scales(network: &Folded, image: Scale, ranges: &[Range], kept: &impl Fn(&str) -> bool) -> Vec<Scale> {
    // The image first, then the layers: each points towards the first of those that share.
    let mut shares: Vec<usize> = (0..=network.layers.len()).collect();
    fn first(shares: &[usize], mut at: usize) -> usize {
        while shares[at] != at {
            at = shares[at];
        }
        at
    }
    let place = |read: &Read| match read {
        Read::Input(_) => 0,
        Read::Layer(at) => at + 1,
    };
    let passes = |folded: &FoldedLayer| keeps_scale(&folded.layer.kind) && !kept(&folded.name);
    for (at, folded) in network.layers.iter().enumerate().filter(|(_, folded)| passes(folded)) {
        for read in &folded.layer.reads {
            let (one, other) = (first(&shares, at + 1), first(&shares, place(read)));
            shares[one.max(other)] = one.min(other);
        }
    }
    let mut shared: Vec<Option<Range>> = vec![None; shares.len()];
    for (at, folded) in network.layers.iter().enumerate().filter(|(_, folded)| !passes(folded)) {
        let range = &mut shared[first(&shares, at + 1)];
        let own = match folded.activation {
            // Nothing is below, whatever a histogram's ends say.
            Activation::Relu | Activation::Relu6 => Range { least: 0.0, ..ranges[at] },
            _ => ranges[at],
        };
        *range = Some(range.map_or(own, |range| range.with(own)));
    }
    let scale = |at: usize| match first(&shares, at + 1) {
        0 => image,
        first => shared[first].unwrap_or(ranges[at]).scale(),
    };
    let mut scales: Vec<Scale> = (0..network.layers.len()).map(scale).collect();
    for (at, folded) in network.layers.iter().enumerate() {
        // A step of the output that is finer than those of the sums says nothing, and sums could overflow on the way to it:
        // so of a map that was seen to hold next to nothing.
        let input = match folded.layer.reads[0] {
            Read::Input(_) => image,
            Read::Layer(at) => scales[at],
        };
        let largest = |values: &[f32]| values.iter().fold(0_f32, |most, x| most.max(x.abs()));
        let weight = largest(folded.weight.as_ref().map_or(&[], |weight| &weight.values)) / 127.0;
        let least = match folded.layer.is_weighted() {
            true => input.scale * weight.max(least_scale(largest(&folded.bias), input)),
            false => input.scale / 256.0,
        };
        if scales[at].scale < least {
            let root = first(&shares, at + 1);
            let alike = (0..scales.len()).filter(|other| first(&shares, other + 1) == root);
            alike.for_each(|other| scales[other].scale = least);
        }
    }
    scales
}

/// Rounded filters, each output with the scale that loses least, or those of `shared`.
fn weights(folded: &FoldedLayer, input: Scale, output: Scale, shared: Option<&SharedFilter>) -> IntegerWeights {
    let values = &folded.weight.as_ref().expect("a weighted layer").values;
    let of_output = (values.len() / folded.bias.len().max(1)).max(1);
    let filters = || values.chunks(of_output);
    let (values, scales) = match shared {
        Some(SharedFilter { values, scales, .. }) => {
            let least = |(scale, bias): (&f32, &f32)| scale.max(least_scale(*bias, input)).max(f32::MIN_POSITIVE);
            (values.clone(), scales.iter().zip(&folded.bias).map(least).collect())
        }
        None => {
            let scales: Vec<f32> =
                filters().zip(&folded.bias).map(|(filter, bias)| scale(filter, *bias, input, output)).collect();
            let rounded = filters().zip(&scales);
            let rounded = rounded.flat_map(|(filter, scale)| filter.iter().map(move |value| round(*value, *scale)));
            (rounded.collect(), scales)
        }
    };
    let unit = |scale: &f32| f64::from(input.scale) * f64::from(*scale);
    let bias = folded.bias.iter().zip(&scales).map(|(bias, scale)| (f64::from(*bias) / unit(scale)).round() as i32);
    IntegerWeights { values, bias: bias.collect(), scales }
}

/// The finest scale of a filter whose bias fits into 32 bits.
fn least_scale(bias: f32, input: Scale) -> f32 {
    bias.abs() / (input.scale * (1 << 30) as f32)
}

/// As [`finest`], but never so small that the bias would not fit into 32 bits, and for a filter of zeros the scale by which
/// sums are in steps of the output.
fn scale(filter: &[f32], bias: f32, input: Scale, output: Scale) -> f32 {
    let scale = finest(filter).unwrap_or(output.scale / input.scale);
    scale.max(least_scale(bias, input)).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use network::execute::run_folded;
    use network::integer::Runner;
    use network::op::{Conv, LocalResponse, Map, Op, Pool, Real};
    use network::published;
    use network::shape::NetworkShape;
    use network::weights::Weights;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::tests::{ranges_of, shapes};
    use super::*;

    /// In decibels.
    fn signal_to_noise(shape: &NetworkShape, kept: impl Fn(&str) -> bool) -> f64 {
        let folded = Folded::new(shape, &Weights::random(shape, 3));
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let image = Scale { scale: 1.0 / 64.0, zero_point: -3 };
        let numbers =
            |rng: &mut ChaCha8Rng| (0..shape.input().elements()).map(|_| rng.random::<i8>()).collect::<Vec<i8>>();
        let images: Vec<Vec<i8>> = (0..6).map(|_| numbers(&mut rng)).collect();
        let channels = shape.input().channels as usize;
        // Channels outermost, as float networks have them.
        let real = |numbers: &Vec<i8>| -> Vec<f32> {
            let of = |channel: usize| numbers.iter().skip(channel).step_by(channels);
            (0..channels).flat_map(of).map(|number| image.real(*number)).collect()
        };
        let reals: Vec<Vec<f32>> = images.iter().map(real).collect();
        let network = quantise(&folded, image, &ranges_of(&folded, &reals), kept).unwrap();
        let runner = Runner::new(&network);
        let (mut signal, mut noise) = (0.0, 0.0);
        for (image, real) in images.iter().zip(&reals) {
            for (got, expected) in runner.run_real(image).iter().zip(run_folded(&folded, real)) {
                signal += f64::from(expected).powi(2);
                noise += f64::from(got - expected).powi(2);
            }
        }
        10.0 * (signal / noise).log10()
    }

    #[test]
    fn networks_of_every_kind_of_layer_keep_their_signal() {
        for (_, shape) in shapes() {
            let decibels = signal_to_noise(&shape, |_| false);
            assert!(decibels > 20.0, "{decibels}");
            let kept = signal_to_noise(&shape, |_| true);
            assert!(kept > decibels, "{kept}, {decibels}");
        }
    }

    /// A ReLU behind a bias that nothing reaches: its map is empty, whatever the image.
    #[test]
    fn a_dead_layer_does_no_harm() {
        let shape = published::resnet8(10);
        let mut folded = Folded::new(&shape, &Weights::random(&shape, 3));
        let dead = folded.layers.iter().position(|layer| layer.activation == Activation::Relu).unwrap();
        folded.layers[dead].bias.iter_mut().for_each(|bias| *bias = -1e6);
        let image: Vec<f32> = (0..shape.input().elements()).map(|at| (at as f32 * 0.37).sin()).collect();
        let ranges = ranges_of(&folded, std::slice::from_ref(&image));
        assert_eq!(ranges[dead].most, 0.0);
        let network = quantise(&folded, Scale::reaching(-1.0, 1.0), &ranges, |_| false).unwrap();
        let numbers: Vec<i8> = (0..image.len()).map(|at| network.image.quantise(image[at])).collect();
        let made = Runner::new(&network).run_layers(&numbers);
        assert!(made[dead].iter().all(|number| i32::from(*number) == network.layers[dead].scale.zero_point));
    }

    #[test]
    fn what_int8_does_not_know_is_named_unless_it_stays_float() {
        let map = Map::new(6, 4);
        let lrn = LocalResponse { map, window: 5, scale: Real(1e-4), power: Real(0.75), bias: Real(1.0) };
        let conv = Op::Conv(Conv { kernel: 3, padding: 1, ..Conv::plain(Map::new(6, 3), map) });
        let pool = Op::Pool(Pool::global(map));
        let ops = vec![("conv".into(), conv), ("norm".into(), Op::LocalResponse(lrn)), ("pool".into(), pool)];
        let shape = NetworkShape::chain(Map::new(6, 3), ops, 1e-5).unwrap();
        let folded = Folded::new(&shape, &Weights::random(&shape, 1));
        assert_eq!(
            check(&folded, |_| false).unwrap_err().to_string(),
            "layer `norm`: int8 knows no local response normalisation"
        );
        assert!(signal_to_noise(&shape, |name| name == "norm") > 20.0);
    }
}
