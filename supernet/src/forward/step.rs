//! One layer in LibTorch: run as it is deployed, or in training, by kernels of our own where there are some.

use network::integer::Scale;
use network::layers::{Layer, LayerKind, Window};
use network::op::{Activation, PoolKind};
use tch::{Kind, Tensor};

use crate::data::channels_last;
use crate::native::{self, Norm, Raw};

/// What a running mean keeps of a batch in training.
const MOMENTUM: f64 = 0.1;

/// How a pass treats batch norm and memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// With the statistics that are there; results are overwritten where nobody reads them afterwards.
    Run,
    /// With those of the batch, which the running ones follow; everything is kept for the gradients.
    Train,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) layer: Layer,
    /// Filters, bias, or γ, β, mean and variance, in the order of [`tensors_of`].
    pub(super) tensors: Vec<Tensor>,
    /// Which of what it reads nobody reads afterwards.
    pub(super) is_last_reader: Vec<bool>,
    /// Whether training leaves it as it is.
    pub(super) frozen: bool,
    /// Of a batch norm: the activation that alone reads it.
    pub(super) followed_by: Option<Activation>,
    /// Whether its filters are rounded to int8, each output with its own scale, before they are used.
    pub(super) rounds_weights: bool,
    /// What it makes is rounded to int8 so.
    pub(super) rounds_to: Option<Scale>,
}

/// A filter's scale where all of it is 0.
const LEAST_SCALE: f64 = 1e-12;

/// A layer's result on its way to its readers.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) map: Tensor,
    /// Each channel's mean and biased variance, `[2, C]`, where the convolution computed them along with the map.
    statistics: Option<Tensor>,
    /// Whether the activation that follows is done.
    activated: bool,
}

impl From<Tensor> for Made {
    fn from(map: Tensor) -> Self {
        Made { map, statistics: None, activated: false }
    }
}

impl From<Raw> for Made {
    fn from(raw: Raw) -> Self {
        Made { statistics: Some(raw.statistics), ..Made::from(raw.map) }
    }
}

impl Made {
    pub(super) fn share(&self) -> Made {
        let statistics = self.statistics.as_ref().map(Tensor::shallow_clone);
        Made { map: self.map.shallow_clone(), statistics, ..*self }
    }
}

impl Step {
    /// A layer without batch norm whose inputs others may read, too.
    pub(super) fn plain(layer: Layer, tensors: Vec<Tensor>) -> Step {
        let is_last_reader = vec![false; layer.reads.len()];
        let (frozen, followed_by, rounds_weights, rounds_to) = (false, None, false, None);
        Step { layer, tensors, is_last_reader, frozen, followed_by, rounds_weights, rounds_to }
    }

    /// Runs a layer without batch norm.
    pub(super) fn run_plain(&self, inputs: Vec<Tensor>) -> Tensor {
        self.run(inputs, 0.0, Pass::Run)
    }

    /// What it makes of `inputs`. Rounding passes gradients on to what was rounded, but for numbers beyond int8's ends
    /// (Jacob et al. 2018, arXiv:1712.05877, §3).
    pub(super) fn run(&self, inputs: Vec<Tensor>, eps: f64, pass: Pass) -> Tensor {
        let made = self.run_layer(inputs, eps, pass);
        match self.rounds_to {
            Some(Scale { scale, zero_point }) => {
                made.fake_quantize_per_tensor_affine(f64::from(scale), i64::from(zero_point), -128, 127)
            }
            None => made,
        }
    }

    /// The filters that it uses.
    fn weight(&self) -> Tensor {
        let weight = &self.tensors[0];
        if !self.rounds_weights {
            return weight.shallow_clone();
        }
        let scales = tch::no_grad(|| (weight.flatten(1, -1).abs().amax(1, false) / 127.0).clamp_min(LEAST_SCALE));
        let zeros = Tensor::zeros(scales.size(), (Kind::Int, weight.device()));
        weight.fake_quantize_per_channel_affine(&scales, &zeros, 0, -127, 127)
    }

    fn run_layer(&self, mut inputs: Vec<Tensor>, eps: f64, pass: Pass) -> Tensor {
        let layer = &self.layer;
        let trains = pass == Pass::Train;
        let owned = !trains && self.is_last_reader.first().copied().unwrap_or(false);
        match layer.kind {
            LayerKind::Conv(window, weights) => self.convolve(&inputs[0], window, weights.groups, trains),
            LayerKind::Depthwise(window, _) => self.convolve(&inputs[0], window, layer.input.channels, trains),
            LayerKind::Linear(_) => {
                inputs[0].flatten(1, -1).to_kind(Kind::Float).linear(&self.weight(), self.tensors.get(1))
            }
            LayerKind::Pool(kind, window) => pool(&inputs[0], kind, window, layer),
            LayerKind::Add => {
                let first = inputs.swap_remove(0);
                inputs.iter().fold(first, |sum, input| sum + input)
            }
            LayerKind::Concat => Tensor::cat(&inputs, 1),
            LayerKind::Scale if owned => {
                let gate = inputs.swap_remove(1);
                inputs[0].g_mul_(&gate)
            }
            LayerKind::Scale => &inputs[0] * &inputs[1],
            LayerKind::Activation(activation) => activate(inputs.swap_remove(0), activation, owned),
            LayerKind::BatchNorm => {
                let [weight, bias, mean, var] = &self.tensors[..] else { panic!("a batch norm has four tensors") };
                let trains = trains && !self.frozen;
                inputs[0].batch_norm(Some(weight), Some(bias), Some(mean), Some(var), trains, MOMENTUM, eps, false)
            }
            LayerKind::LocalResponse { window, scale, power, bias } => {
                let (before, x) = (i64::from(window) / 2, &inputs[0]);
                let squares = x.square().unsqueeze(1);
                let padded = squares.constant_pad_nd([0, 0, 0, 0, before, i64::from(window) - 1 - before]);
                let kernel = [i64::from(window), 1, 1];
                let mean =
                    padded.avg_pool3d(kernel, [1i64, 1, 1], [0i64, 0, 0], false, true, None::<i64>).squeeze_dim(1);
                x / (mean * scale.0 + bias.0).pow_tensor_scalar(power.0)
            }
        }
    }

    /// The same in training by the kernels of our own, where there is one; `None` for layers that LibTorch runs.
    pub(super) fn fused(&self, input: &Made, eps: f64) -> Option<Made> {
        let x = &input.map;
        match self.layer.kind {
            LayerKind::Conv(window, weights) => {
                let is_pointwise = window.kernel == 1 && window.padding == 0 && weights.groups == 1;
                if !is_pointwise || self.tensors.len() > 1 {
                    return None;
                }
                Some(native::pointwise(&every(x, window.stride), None, None, &self.tensors[0]).into())
            }
            LayerKind::Depthwise(window, _) => {
                let (input, output) = (self.layer.input, self.layer.output);
                let is_centred = window.kernel % 2 == 1 && window.padding == window.kernel / 2;
                let is_multiplied = input.channels != output.channels;
                if !is_centred || !window.is_even(input.size, output.size) || is_multiplied || self.tensors.len() > 1 {
                    return None;
                }
                Some(native::depthwise(x, None, &self.tensors[0], i64::from(window.stride)).into())
            }
            LayerKind::BatchNorm if !self.frozen => {
                let [gamma, beta, mean, var] = &self.tensors[..] else { panic!("a batch norm has four tensors") };
                let statistics = input.statistics.as_ref().map_or_else(|| native::statistics(x), Tensor::shallow_clone);
                follow([mean, var], &statistics, x.numel() as i64 / x.size()[1]);
                let activation = self.followed_by.unwrap_or(Activation::None);
                let norm = Norm { gamma, beta, statistics: &statistics, eps, activation };
                let map = native::normalise(x, &norm, None);
                Some(Made { activated: self.followed_by.is_some(), ..Made::from(map) })
            }
            LayerKind::Activation(_) if input.activated => Some(x.shallow_clone().into()),
            _ => None,
        }
    }

    fn convolve(&self, x: &Tensor, window: Window, groups: u32, trains: bool) -> Tensor {
        let (mut x, padding) = padded(x, window, &self.layer, 0.0);
        let mut stride = i64::from(window.stride);
        // LibTorch 2.11's gradient of such a kernel's weight, channels last and with fewer than 16 input channels, writes
        // beyond its memory on three threads and more. What the stride skips can as well be left out beforehand.
        if trains && window.kernel == 1 && stride > 1 && padding == 0 {
            x = every(&x, window.stride);
            stride = 1;
        }
        let weight = self.weight().to_kind(x.kind());
        let bias = self.tensors.get(1).map(|bias| bias.to_kind(x.kind()));
        x.conv2d(&weight, bias.as_ref(), [stride; 2], [padding; 2], [1i64, 1], i64::from(groups))
    }
}

/// Every so many rows and columns, from the first.
fn every(x: &Tensor, stride: u32) -> Tensor {
    if stride == 1 {
        return x.shallow_clone();
    }
    let stride = i64::from(stride);
    channels_last(&x.slice(2, None, None, stride).slice(3, None, None, stride))
}

/// Moves the running mean and variance towards a batch's, of `count` values a channel; the running variance is an unbiased
/// one.
fn follow([mean, var]: [&Tensor; 2], statistics: &Tensor, count: i64) {
    tch::no_grad(|| {
        let unbiased = count as f64 / (count - 1).max(1) as f64;
        let _ = mean.shallow_clone().lerp_(&statistics.get(0), MOMENTUM);
        let _ = var.shallow_clone().lerp_(&(statistics.get(1) * unbiased), MOMENTUM);
    });
}

/// The map with rows and columns of `value` where padding on both sides alike does not give the output's size, and the
/// padding on both sides that is left to do.
fn padded(x: &Tensor, window: Window, layer: &Layer, value: f64) -> (Tensor, i64) {
    let (input, output) = (layer.input.size, layer.output.size);
    let above = i64::from(window.padding);
    if value == 0.0 && window.is_even(input, output) {
        return (x.shallow_clone(), above);
    }
    let below = window.below(input, output).max(0);
    if above == 0 && below == 0 {
        return (x.shallow_clone(), 0);
    }
    (x.pad([above, below, above, below], "constant", value), 0)
}

fn pool(x: &Tensor, kind: PoolKind, window: Window, layer: &Layer) -> Tensor {
    let (kernel, stride) = ([i64::from(window.kernel); 2], [i64::from(window.stride); 2]);
    match kind {
        PoolKind::Average if window.kernel == 1 && window.stride == 1 => x.shallow_clone(),
        PoolKind::Average if layer.output.size == 1 && window.padding == 0 && window.kernel >= layer.input.size => {
            x.mean_dim(&[2i64, 3][..], true, x.kind())
        }
        PoolKind::Average => {
            let sums = |x: &Tensor| {
                let (x, padding) = padded(x, window, layer, 0.0);
                x.avg_pool2d(kernel, stride, [padding; 2], false, true, Some(1))
            };
            // Over what lies inside the map.
            sums(x) / sums(&x.narrow(0, 0, 1).narrow(1, 0, 1).ones_like())
        }
        PoolKind::Max => {
            let (x, _) = padded(x, window, layer, f64::NEG_INFINITY);
            x.max_pool2d(kernel, stride, [0i64, 0], [1i64, 1], false)
        }
    }
}

pub(super) fn activate(mut x: Tensor, activation: Activation, owned: bool) -> Tensor {
    match (activation, owned) {
        (Activation::None, _) => x,
        (Activation::Relu, true) => x.relu_(),
        (Activation::Relu6, true) => x.relu6_(),
        (Activation::HSwish, true) => x.hardswish_(),
        (Activation::HSigmoid, true) => x.hardsigmoid_(),
        (Activation::Relu, false) => x.relu(),
        (Activation::Relu6, false) => x.relu6(),
        (Activation::HSwish, false) => x.hardswish(),
        (Activation::HSigmoid, false) => x.hardsigmoid(),
    }
}
