//! From a network in float32 to one in int8, after training (Nagel et al. 2019, arXiv:1906.04721; 2021, arXiv:2106.08295).
//!
//! In this order: the network is made to read pixels ([`reading_pixels`]); filters that follow on each other are balanced,
//! channel by channel, where that helps ([`equalised`]); feature maps get the range that loses least of what they were seen
//! to hold ([`Histogram`]); weights are rounded ([`quantise`]); and what rounding moved the mean of a channel by is taken
//! back in its bias ([`correct_biases`]).
//!
//! Whoever has a tensor library runs the float network on images and tells [`Histogram`] and [`correct_biases`] what came
//! out; nothing here needs one.

mod correct;
mod equalise;
mod filters;
mod pixels;
mod quantise;
mod ranges;
mod shared;

pub use correct::correct_biases;
pub use equalise::equalised;
pub use pixels::{Pixels, reading_pixels};
pub use quantise::{check, quantise, quantise_with};
pub use ranges::{Histogram, Range};
pub use shared::{SharedFilter, SharedFilters};

#[cfg(test)]
pub(crate) mod tests {
    use network::execute::run_folded_layers;
    use network::folded::Folded;
    use network::integer::{IntegerNetwork, Runner, Scale};
    use network::op::{Activation, InvertedBottleneck, Map, Op, Pool};
    use network::published;
    use network::shape::NetworkShape;
    use network::weights::Weights;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// What the layers of a float network hold on images.
    pub(crate) fn ranges_of(network: &Folded, images: &[Vec<f32>]) -> Vec<Range> {
        let made: Vec<Vec<Vec<f32>>> = images.iter().map(|image| run_folded_layers(network, image)).collect();
        let range = |layer: usize| {
            let values = || made.iter().flat_map(|layers| layers[layer].iter().copied());
            let mut histogram = Histogram::new(values().fold(0.0, f32::min), values().fold(0.0, f32::max));
            made.iter().for_each(|layers| histogram.add(&layers[layer]));
            histogram.least_error()
        };
        (0..network.layers.len()).map(range).collect()
    }

    /// One network of each kind of block.
    pub(crate) fn shapes() -> Vec<(&'static str, NetworkShape)> {
        let small = published::mobilenet_v2(35, 32, 10);
        vec![("resnet8", published::resnet8(10)), ("mobilenet-v2", small), ("squeeze-excite", squeeze_excite())]
    }

    /// Two blocks with squeeze-excite and h-swish.
    pub(crate) fn squeeze_excite() -> NetworkShape {
        let (image, map) = (Map::new(12, 3), Map::new(6, 16));
        let block = InvertedBottleneck {
            input: image,
            output: map,
            mid_channels: 24,
            kernel: 5,
            stride: 2,
            padding: 2,
            groups: 1,
            expand_conv: true,
            se_channels: Some(8),
            activation: Activation::HSwish,
            output_activation: Activation::None,
            residual: false,
        };
        let second = InvertedBottleneck { input: map, stride: 1, residual: true, ..block };
        let ops = [Op::InvertedBottleneck(block), Op::InvertedBottleneck(second), Op::Pool(Pool::global(map))];
        let named = ops.into_iter().enumerate().map(|(at, op)| (format!("op{at}"), op)).collect();
        NetworkShape::chain(image, named, 1e-5).unwrap()
    }

    /// With random weights, in int8, reading pixels.
    pub(crate) fn network_of_pixels(shape: &NetworkShape) -> IntegerNetwork {
        let folded = Folded::new(shape, &Weights::random(shape, 3));
        let (folded, pixels) = reading_pixels(folded, &[0.49, 0.48, 0.45], &[0.25, 0.24, 0.26]);
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let image = || (0..shape.input().elements()).map(|_| f32::from(rng.random::<u8>())).collect();
        let images: Vec<Vec<f32>> = std::iter::repeat_with(image).take(4).collect();
        quantise(&folded, pixels.scale(), &ranges_of(&folded, &images), |_| false).unwrap()
    }

    #[test]
    fn corrected_biases_give_the_outputs_their_means_back() {
        let shape = published::mobilenet_v2(35, 32, 10);
        let folded = Folded::new(&shape, &Weights::random(&shape, 3));
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let scale = Scale { scale: 1.0 / 64.0, zero_point: 0 };
        let images: Vec<Vec<i8>> =
            (0..8).map(|_| (0..shape.input().elements()).map(|_| rng.random()).collect()).collect();
        let real = |image: &Vec<i8>| -> Vec<f32> {
            (0..3).flat_map(|c| image.iter().skip(c).step_by(3)).map(|number| scale.real(*number)).collect()
        };
        let reals: Vec<Vec<f32>> = images.iter().map(real).collect();
        let before = quantise(&folded, scale, &ranges_of(&folded, &reals), |_| false).unwrap();
        // Means before the activation: of the same layers without it.
        let mut open = folded.clone();
        let means: Vec<Vec<f64>> = (0..open.layers.len())
            .map(|at| {
                let activation = std::mem::replace(&mut open.layers[at].activation, network::op::Activation::None);
                let area = open.layers[at].layer.output.area() as usize;
                let mut sums = vec![0.0; open.layers[at].layer.output.channels as usize];
                for image in &reals {
                    let made = &run_folded_layers(&open, image)[at];
                    let of_channel = made.chunks_exact(area).map(|x| x.iter().map(|x| f64::from(*x)).sum::<f64>());
                    sums.iter_mut().zip(of_channel).for_each(|(sum, x)| *sum += x / (8 * area) as f64);
                }
                open.layers[at].activation = activation;
                sums
            })
            .collect();
        let mut after = before.clone();
        correct_biases(&mut after, &means, &images);
        let shift = |network| {
            let runner = Runner::new(network);
            let mut shift = [0.0; 10];
            for (image, real) in images.iter().zip(&reals) {
                let expected = network::execute::run_folded(&folded, real);
                let apart = runner.run_real(image).into_iter().zip(expected);
                shift.iter_mut().zip(apart).for_each(|(sum, (got, expected))| *sum += f64::from(got - expected) / 8.0);
            }
            shift.iter().map(|shift| shift * shift).sum::<f64>().sqrt()
        };
        let (before, after) = (shift(&before), shift(&after));
        assert!(after < 0.5 * before, "{before} {after}");
    }
}
