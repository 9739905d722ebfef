//! Biases that take back what rounding moved each channel's mean by (Nagel et al. 2019, arXiv:1906.04721, §4.2).

use network::integer::{IntegerNetwork, Numbers, PreparedLayer};
use network::layers::Read;
use rayon::prelude::*;

/// Corrects the biases of `network` on `images` (`[rows, columns, channels]`), layer by layer, each behind those that are
/// corrected already. `means` are those of each channel of each layer's output before its activation in the float network
/// on the same images; layers without weights have none.
///
/// # Panics
/// If there are not as many means as layers.
pub fn correct_biases(network: &mut IntegerNetwork, means: &[Vec<f64>], images: &[Vec<i8>]) {
    assert_eq!(means.len(), network.layers.len());
    let mut last_readers = vec![usize::MAX; network.layers.len()];
    for (at, layer) in network.layers.iter().enumerate() {
        for read in &layer.layer.reads {
            if let Read::Layer(from) = read {
                last_readers[*from] = at;
            }
        }
    }
    // Of each layer, what it makes of every image.
    let mut made: Vec<Vec<Vec<i8>>> = Vec::new();
    for (at, means) in means.iter().enumerate() {
        let layer = network.layers[at].clone();
        let scales: Vec<_> = layer.layer.reads.iter().map(|read| network.scale_of(*read)).collect();
        let inputs = |image: usize| -> Vec<&[i8]> {
            let input = |read: &Read| match read {
                Read::Input(_) => images[image].as_slice(),
                Read::Layer(at) => made[*at][image].as_slice(),
            };
            layer.layer.reads.iter().map(input).collect()
        };
        if let Numbers::Int8(weights) = &mut network.layers[at].numbers {
            let prepared = PreparedLayer::new(&layer, &scales);
            let channels = weights.bias.len();
            let sums = |image: usize| {
                let mut sums = vec![0_i64; channels];
                for position in prepared.sums(inputs(image)[0]).chunks_exact(channels) {
                    sums.iter_mut().zip(position).for_each(|(sum, value)| *sum += i64::from(*value));
                }
                sums
            };
            let add = |a: Vec<i64>, b: Vec<i64>| a.iter().zip(&b).map(|(a, b)| a + b).collect();
            let sums = (0..images.len()).into_par_iter().map(sums).reduce(|| vec![0; channels], add);
            let count = images.len() as f64 * layer.layer.output.area() as f64;
            for (channel, (sum, mean)) in sums.iter().zip(means).enumerate() {
                let unit = f64::from(scales[0].scale) * f64::from(weights.scales[channel]);
                let shift = (mean / unit - *sum as f64 / count).round();
                weights.bias[channel] = weights.bias[channel].saturating_add(shift as i32);
            }
        }
        let prepared = PreparedLayer::new(&network.layers[at], &scales);
        let outputs = (0..images.len()).into_par_iter().map(|image| prepared.run(&inputs(image))).collect();
        for read in &layer.layer.reads {
            if let Read::Layer(from) = read
                && last_readers[*from] == at
            {
                made[*from] = Vec::new();
            }
        }
        made.push(outputs);
    }
}
