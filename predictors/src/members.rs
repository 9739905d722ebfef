//! The MLPs of a predictor: initial weights, the inputs they are trained on, and folding those into the first layer.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::encode::{ActiveRows, ArchEncoder};
use crate::mlp::{Linear, Mlp};
use crate::ridge::Basis;
use crate::settings::FitSettings;

/// MLPs on the encoder's features, trained on `targets`; `stream` tells apart what is drawn for several fits of one seed.
pub(crate) fn fitted(
    encoder: &ArchEncoder,
    rows: &ActiveRows,
    targets: &[f32],
    stream: u64,
    settings: &FitSettings,
    epoch: &mut dyn FnMut(),
) -> Vec<Mlp> {
    let inputs = Inputs::new(Basis::new(encoder), rows);
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    rng.set_stream(stream);
    let start = (0..settings.members).map(|_| initial(inputs.basis.steps(), &settings.hidden, &mut rng)).collect();
    let trained = train(start, &inputs.values, targets, settings, &mut rng, epoch);
    trained.into_iter().map(|layers| inputs.fold(encoder.width(), layers)).collect()
}

#[cfg(feature = "torch")]
use crate::train::train;

/// Without LibTorch, [`FitSettings::check`] lets no members through.
#[cfg(not(feature = "torch"))]
fn train(
    start: Vec<Vec<Linear>>,
    _inputs: &[f32],
    _targets: &[f32],
    _settings: &FitSettings,
    _rng: &mut ChaCha8Rng,
    _epoch: &mut dyn FnMut(),
) -> Vec<Vec<Linear>> {
    unreachable!("{} members to train without LibTorch", start.len())
}

/// What the members say on average.
pub(crate) fn mean_output(members: &[Mlp], rows: &ActiveRows) -> Vec<f64> {
    let mut sums = vec![0.0; rows.len()];
    for member in members {
        sums.iter_mut().zip(member.forward(rows)).for_each(|(sum, output)| *sum += f64::from(output));
    }
    sums.iter().map(|sum| sum / members.len().max(1) as f64).collect()
}

/// `member` with its output times `share`.
pub(crate) fn scale_output(member: &Mlp, share: f32) -> Mlp {
    let mut layers = member.layers();
    if let Some(last) = layers.last_mut() {
        last.weight.iter_mut().chain(&mut last.bias).for_each(|value| *value *= share);
    }
    Mlp::new(member.inputs(), layers)
}

/// Initial weights: uniform within 1/√inputs as in PyTorch, the output's bias 0, which is the mean label.
fn initial(inputs: usize, hidden: &[usize], rng: &mut ChaCha8Rng) -> Vec<Linear> {
    let mut width = inputs;
    let mut layers: Vec<Linear> = hidden
        .iter()
        .chain([&1])
        .map(|&outputs| {
            let bound = 1.0 / (width as f32).sqrt();
            let mut draw = |count: usize| (0..count).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0)).collect();
            let layer = Linear { weight: draw(outputs * width), bias: draw(outputs) };
            width = outputs;
            layer
        })
        .collect();
    layers.iter_mut().next_back().into_iter().for_each(|last| last.bias.fill(0.0));
    layers
}

/// Mean squared length of an MLP's input, some of PyTorch's usual scale: unit variance in as many dimensions.
const INPUT_POWER: f64 = 64.0;

/// The ridge's steps, centred, and scaled by one number for all.
struct Inputs {
    basis: Basis,
    means: Vec<f64>,
    scale: f64,
    /// `[rows, steps]`, row-major.
    values: Vec<f32>,
}

impl Inputs {
    fn new(basis: Basis, rows: &ActiveRows) -> Inputs {
        let mut matrix = basis.matrix(rows);
        let means = basis.centre(&mut matrix);
        let power = matrix.iter().map(|value| value * value).sum::<f64>() / rows.len() as f64;
        let scale = if power > 0.0 { (INPUT_POWER / power).sqrt() } else { 1.0 };
        let values = matrix.iter().map(|value| (value * scale) as f32).collect();
        Inputs { basis, means, scale, values }
    }

    /// This network on one-hot features.
    fn fold(&self, features: usize, mut layers: Vec<Linear>) -> Mlp {
        let steps = self.basis.steps();
        let first = &mut layers[0];
        let mut weight = Vec::with_capacity(first.bias.len() * features);
        for (row, bias) in first.weight.chunks_exact(steps).zip(&mut first.bias) {
            weight.extend(
                self.basis.fold(|step| f64::from(row[step]) * self.scale).into_iter().map(|value| value as f32),
            );
            let centre = row.iter().zip(&self.means).map(|(&weight, mean)| f64::from(weight) * self.scale * mean);
            *bias = (f64::from(*bias) - centre.sum::<f64>()) as f32;
        }
        first.weight = weight;
        Mlp::new(features, layers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Layout;
    use crate::testing::{sample, space};

    #[test]
    fn folding_keeps_the_network() {
        let space = space("mcu-cifar");
        let archs = sample(&space, 100, 1);
        let encoder = ArchEncoder::new(Layout::Blocks, &space, space.resolutions()).unwrap();
        let rows = encoder.encode(&archs).unwrap();
        let inputs = Inputs::new(Basis::new(&encoder), &rows);
        let steps = inputs.basis.steps();
        let layers = initial(steps, &[16], &mut ChaCha8Rng::seed_from_u64(1));
        let folded = inputs.fold(encoder.width(), layers.clone()).forward(&rows);
        for (row, output) in inputs.values.chunks_exact(steps).zip(folded) {
            let hidden = layers[0].weight.chunks_exact(steps).zip(&layers[0].bias).map(|(weights, bias)| {
                (bias + weights.iter().zip(row).map(|(weight, value)| weight * value).sum::<f32>()).max(0.0)
            });
            let expected: f32 = hidden.zip(&layers[1].weight).map(|(hidden, weight)| hidden * weight).sum();
            assert!((output - expected).abs() < 1e-5, "{output} is not {expected}");
        }
    }
}
