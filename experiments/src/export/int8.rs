//! From float32 to int8 after training, by LibTorch: what feature maps hold, which of two ways loses less, and what each
//! layer loses.

use deploy::Unsupported;
use deploy::int8::{
    Histogram, Pixels, Range, SharedFilter, SharedFilters, correct_biases, equalised, quantise, quantise_with,
    reading_pixels,
};
use network::folded::Folded;
use network::integer::{IntegerNetwork, Numbers, Runner, Scale};
use network::shape::NetworkShape;
use network::weights::Weights;
use rayon::prelude::*;
use supernet::data::Preprocessing;
use supernet::folded::FoldedNetwork;
use tch::{Device, Kind, Tensor};

use super::samples::{channels_innermost, numbers};
use crate::torch::LayerDamage;

/// Images that biases are corrected with, and by which one of two ways is chosen.
const CORRECTING: i64 = 128;
/// Images of which every layer's noise is measured.
const LISTENED: i64 = 32;
/// Images at a time.
const BATCH: i64 = 64;

/// A network in int8 and what it was made of.
pub(crate) struct Quantised {
    /// In int8.
    pub(crate) network: IntegerNetwork,
    /// In float32, reading pixels less the offset.
    pub(crate) folded: Folded,
    /// How pixels become numbers.
    pub(crate) pixels: Pixels,
    /// Whether channels were balanced.
    pub(crate) is_equalised: bool,
}

/// Rounds `folded`, whose layers `kept` stay in float32, by what it makes of images whose `bytes` are `[N, C, S, S]`.
///
/// # Errors
/// A layer that int8 does not know.
pub(crate) fn quantised(
    folded: Folded,
    preprocessing: &Preprocessing,
    bytes: &Tensor,
    kept: &dyn Fn(&str) -> bool,
) -> Result<Quantised, Unsupported> {
    let (folded, pixels) = reading_pixels(folded, &preprocessing.mean, &preprocessing.std);
    let images = bytes - f64::from(pixels.offset);
    let reach = reach_of(&folded, &images);
    let plain = rounded(folded.clone(), pixels, bytes, kept, &[])?;
    let balanced = Quantised { is_equalised: true, ..rounded(equalised(folded, &reach), pixels, bytes, kept, &[])? };
    if plain.folded == balanced.folded {
        return Ok(plain);
    }
    let few = bytes.narrow(0, 0, CORRECTING.min(bytes.size()[0]));
    let expected = numbers(&plain.float_outputs(&few));
    let error = |quantised: &Quantised| {
        let got = quantised.outputs(&few);
        got.iter().zip(&expected).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
    };
    Ok(if error(&balanced) < error(&plain) { balanced } else { plain })
}

/// Rounds `folded`, whose unfolded weights are `weights`, with the filters that it has of `shared`, which are given for each
/// layer.
///
/// # Errors
/// As [`quantised`].
pub(crate) fn quantised_sharing(
    folded: Folded,
    preprocessing: &Preprocessing,
    bytes: &Tensor,
    shared: &SharedFilters<'_>,
    weights: &Weights,
) -> Result<(Quantised, Vec<Option<SharedFilter>>), Unsupported> {
    let (folded, pixels) = reading_pixels(folded, &preprocessing.mean, &preprocessing.std);
    let filters = shared.of(&folded, weights);
    Ok((rounded(folded, pixels, bytes, &|_| false, &filters)?, filters))
}

/// Rounds a network of pixels as it is.
fn rounded(
    folded: Folded,
    pixels: Pixels,
    bytes: &Tensor,
    kept: &dyn Fn(&str) -> bool,
    filters: &[Option<SharedFilter>],
) -> Result<Quantised, Unsupported> {
    let images = bytes - f64::from(pixels.offset);
    let (ranges, means) = observed(&folded, &images);
    let mut network = quantise_with(&folded, pixels.scale(), &ranges, kept, filters)?;
    let few = bytes.narrow(0, 0, CORRECTING.min(bytes.size()[0]));
    correct_biases(&mut network, &means, &images_of(&few));
    Ok(Quantised { network, folded, pixels, is_equalised: false })
}

/// What the layers of a network are rounded to in int8, one for each in order where its output is rounded, by what they hold
/// on normalised `images`, `[N, C, S, S]`.
///
/// # Errors
/// A layer that int8 does not know.
pub(crate) fn rounding(
    shape: &NetworkShape,
    weights: &Weights,
    images: &Tensor,
) -> Result<Vec<Option<Scale>>, Unsupported> {
    let folded = Folded::new(shape, weights);
    let ends = [images.min(), images.max()].map(|end| f64::try_from(end).expect("one number") as f32);
    let (ranges, _) = observed(&folded, images);
    let network = quantise(&folded, Scale::reaching(ends[0], ends[1]), &ranges, |_| false)?;
    let mut scales = vec![None; shape.layers().len()];
    for (layer, folded) in network.layers.iter().zip(&folded.layers) {
        let Scale { scale, zero_point } = layer.scale;
        scales[folded.place] = Some(Scale { scale: scale / folded.factor, zero_point });
    }
    Ok(scales)
}

/// Images as the integer network reads them: bytes less 128, channels innermost.
fn images_of(bytes: &Tensor) -> Vec<Vec<i8>> {
    let of_image: i64 = bytes.size()[1..].iter().product();
    let numbers = channels_innermost(bytes);
    numbers.chunks_exact(of_image as usize).map(|image| image.iter().map(|byte| (byte ^ 128) as i8).collect()).collect()
}

/// How far each channel of each layer's output reaches on `images`.
fn reach_of(folded: &Folded, images: &Tensor) -> Vec<Vec<f32>> {
    let network = FoldedNetwork::new(folded, Device::Cpu);
    let mut reach: Vec<Option<Tensor>> = folded.layers.iter().map(|_| None).collect();
    for batch in images.split(BATCH, 0) {
        network.observe(&batch, |at, _, after| {
            let dims: Vec<i64> = (0..after.dim() as i64).filter(|dim| *dim != 1).collect();
            let most = after.abs().amax(&dims[..], false);
            reach[at] = Some(match reach[at].take() {
                Some(before) => before.maximum(&most),
                None => most,
            });
        });
    }
    reach.iter().map(|reach| reach.as_ref().map_or_else(Vec::new, numbers)).collect()
}

/// What every layer's output holds on `images`, and each channel's mean before the activation on the first of them.
fn observed(folded: &Folded, images: &Tensor) -> (Vec<Range>, Vec<Vec<f64>>) {
    let network = FoldedNetwork::new(folded, Device::Cpu);
    let layers = folded.layers.len();
    let mut ends = vec![(0_f32, 0_f32); layers];
    let number = |tensor: Tensor| f64::try_from(tensor).expect("one number") as f32;
    for batch in images.split(BATCH, 0) {
        network.observe(&batch, |at, _, after| {
            ends[at] = (ends[at].0.min(number(after.min())), ends[at].1.max(number(after.max())));
        });
    }
    let mut histograms: Vec<Histogram> = ends.iter().map(|(least, most)| Histogram::new(*least, *most)).collect();
    for batch in images.split(BATCH, 0) {
        network.observe(&batch, |at, _, after| histograms[at].add(&numbers(after)));
    }
    let few = images.narrow(0, 0, CORRECTING.min(images.size()[0]));
    let mut means = vec![Vec::new(); layers];
    let mut sums: Vec<Option<Tensor>> = vec![(); layers].into_iter().map(|()| None).collect();
    for batch in few.split(BATCH, 0) {
        network.observe(&batch, |at, before, _| {
            let dims: Vec<i64> = (0..before.dim() as i64).filter(|dim| *dim != 1).collect();
            let sum = before.sum_dim_intlist(&dims[..], false, Kind::Double);
            sums[at] = Some(match sums[at].take() {
                Some(before) => before + sum,
                None => sum,
            });
        });
    }
    for (at, sum) in sums.into_iter().enumerate() {
        let count = few.size()[0] as f64 * folded.layers[at].layer.output.area() as f64;
        means[at] = sum.map_or_else(Vec::new, |sum| Vec::try_from(sum / count).expect("float64"));
    }
    let last = layers.saturating_sub(1);
    // Outputs are compared with each other: none may be cut off.
    let range = |(at, histogram): (usize, &Histogram)| match at == last {
        true => histogram.range(),
        false => histogram.least_error(),
    };
    (histograms.par_iter().enumerate().map(range).collect(), means)
}

impl Quantised {
    /// What the float network makes of images whose `bytes` are `[N, C, S, S]`.
    pub(crate) fn float_outputs(&self, bytes: &Tensor) -> Tensor {
        let network = FoldedNetwork::new(&self.folded, Device::Cpu);
        let images = bytes - f64::from(self.pixels.offset);
        let made: Vec<Tensor> =
            images.split(BATCH, 0).iter().map(|x| network.forward(x, |_, _, after| after)).collect();
        Tensor::cat(&made, 0)
    }

    /// What the integer network makes of them, as what the numbers stand for, channels outermost.
    pub(crate) fn outputs(&self, bytes: &Tensor) -> Vec<f32> {
        let runner = Runner::new(&self.network);
        let channels = self.network.output().channels as usize;
        let turned = |made: Vec<f32>| -> Vec<f32> {
            (0..channels)
                .flat_map(|channel| made.iter().skip(channel).step_by(channels).copied().collect::<Vec<_>>())
                .collect()
        };
        images_of(bytes).par_iter().flat_map_iter(|image| turned(runner.run_real(image))).collect()
    }

    /// What every layer loses: the noise of its output beside the float network's, with all before it rounded, too; and
    /// where there are `labels`, top-1 of the float network with this layer alone rounded.
    pub(crate) fn damage(&self, bytes: &Tensor, labels: Option<&[i64]>) -> Vec<LayerDamage> {
        let few = bytes.narrow(0, 0, LISTENED.min(bytes.size()[0]));
        let mut expected: Vec<Vec<f32>> = Vec::new();
        let network = FoldedNetwork::new(&self.folded, Device::Cpu);
        network.observe(&(&few - f64::from(self.pixels.offset)), |_, _, after| {
            let innermost = if after.dim() == 4 { after.permute([0, 2, 3, 1]) } else { after.shallow_clone() };
            expected.push(numbers(&innermost));
        });
        let runner = Runner::new(&self.network);
        let got: Vec<Vec<Vec<i8>>> = images_of(&few).par_iter().map(|image| runner.run_layers(image)).collect();
        let of_layer = |at: usize| {
            let scale = self.network.layers[at].scale;
            let real = got.iter().flat_map(|layers| layers[at].iter().map(|number| scale.real(*number)));
            let (mut signal, mut noise) = (0.0, 0.0);
            for (real, expected) in real.zip(&expected[at]) {
                signal += f64::from(*expected).powi(2);
                noise += f64::from(real - expected).powi(2);
            }
            let top1_alone = labels.map(|labels| top1(&numbers(&self.alone(at, bytes)), labels));
            let layer = self.network.layers[at].name.clone();
            LayerDamage {
                layer,
                signal_to_noise_db: 10.0 * (signal / noise.max(f64::MIN_POSITIVE)).log10(),
                top1_alone,
            }
        };
        (0..self.network.layers.len()).map(of_layer).collect()
    }

    /// What the float network makes of images with the layer `place` alone in int8.
    fn alone(&self, place: usize, bytes: &Tensor) -> Tensor {
        let layer = &self.network.layers[place];
        let mut folded = self.folded.clone();
        if let Numbers::Int8(weights) = &layer.numbers {
            let unit = self.network.scale_of(layer.layer.reads[0]).scale;
            let of_output = weights.values.len() / weights.bias.len().max(1);
            let rounded = &mut folded.layers[place];
            let values = &mut rounded.weight.as_mut().expect("a weighted layer").values;
            for (at, value) in values.iter_mut().enumerate() {
                *value = f32::from(weights.values[at]) * weights.scales[at / of_output];
            }
            for (at, bias) in rounded.bias.iter_mut().enumerate() {
                *bias = weights.bias[at] as f32 * unit * weights.scales[at];
            }
        }
        let (scale, zero) = (f64::from(layer.scale.scale), i64::from(layer.scale.zero_point));
        let network = FoldedNetwork::new(&folded, Device::Cpu);
        let images = bytes - f64::from(self.pixels.offset);
        let run = |batch: &Tensor| {
            network.forward(batch, |at, _, after| match at == place {
                true => after.fake_quantize_per_tensor_affine(scale, zero, -128, 127),
                false => after,
            })
        };
        Tensor::cat(&images.split(BATCH, 0).iter().map(run).collect::<Vec<_>>(), 0)
    }
}

/// The share of images of which the largest output is the label's.
pub(crate) fn top1(outputs: &[f32], labels: &[i64]) -> f64 {
    let classes = outputs.len() / labels.len().max(1);
    let right = outputs.chunks_exact(classes.max(1)).zip(labels).filter(|(outputs, label)| {
        let best = (0..outputs.len()).max_by(|a, b| outputs[*a].total_cmp(&outputs[*b]).then(b.cmp(a)));
        best == usize::try_from(**label).ok()
    });
    right.count() as f64 / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use network::published;
    use supernet::network::Network;

    use super::*;

    fn noise(got: &[f32], expected: &[f32]) -> f64 {
        got.iter().zip(expected).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    }

    /// What training rounds is what the integer network rounds.
    #[test]
    fn a_network_trained_for_int8_computes_nearly_what_the_integer_one_does() {
        for shape in [published::resnet8(10), published::mobilenet_v2(35, 32, 10)] {
            let weights = Weights::random(&shape, 3);
            let preprocessing = Preprocessing { native_size: 32, ..Preprocessing::cifar10() };
            tch::manual_seed(5);
            let bytes = Tensor::randint(256, [64, 3, 32, 32], (Kind::Float, Device::Cpu));
            let of = |values: [f64; 3]| Tensor::from_slice(&values.map(|value| value as f32)).reshape([1, 3, 1, 1]);
            let images = (&bytes / 255.0 - of(preprocessing.mean)) / of(preprocessing.std);
            let float = numbers(&Network::from_weights(&shape, &weights, Device::Cpu).unwrap().forward(&images));
            let scales = rounding(&shape, &weights, &images).unwrap();
            let trained = Network::from_weights(&shape, &weights, Device::Cpu).unwrap().rounded(&scales);
            let trained = numbers(&trained.forward(&images));
            let int8 = quantised(Folded::new(&shape, &weights), &preprocessing, &bytes, &|_| false).unwrap();
            let integer = int8.outputs(&bytes);
            let signal = noise(&float, &vec![0.0; float.len()]);
            for (rounded, most) in [(noise(&trained, &float), 0.02), (noise(&integer, &float), 0.02)] {
                assert!(rounded < most * signal && rounded > 0.0, "{rounded} of {signal}");
            }
            assert!(noise(&trained, &integer) < 0.03 * signal, "{} of {signal}", noise(&trained, &integer));
        }
    }
}
