//! Networks of any shape in LibTorch, layer by layer: those that no search space offers, and operators to be timed as a
//! deployed network runs them.
//!
//! A subnet of a supernet runs by [`crate::forward::subnet::Subnet`]. A network can be trained on by itself, too
//! ([`Network::to_train`]).

use std::collections::BTreeMap;

use network::layers::{Layer, LayerKind, Read, Window, chain};
use network::op::{Activation, Map, Op, PoolKind};
use network::shape::{NamedLayer, NetworkShape};
use network::weights::{Weights, tensors_of};
use storage::names::nearest;
use tch::{Device, Kind, Tensor};

use crate::data::channels_last;
use crate::error::SupernetError;
use crate::native::{self, Norm, Raw};
use crate::weights::{Init, NamedWeight, Role, WeightBuilder};

/// A network ready to run.
#[derive(Debug)]
pub struct Network {
    input: Map,
    steps: Vec<Step>,
    eps: f64,
    weights: Vec<NamedWeight>,
}

/// What a running mean keeps of a batch in training.
const MOMENTUM: f64 = 0.1;

/// How a pass treats batch norm and memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// With the statistics that are there; results are overwritten where nobody reads them afterwards.
    Run,
    /// With those of the batch, which the running ones follow; everything is kept for the gradients.
    Train,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) layer: Layer,
    /// Filters, bias, or γ, β, mean and variance, in the order of [`tensors_of`].
    tensors: Vec<Tensor>,
    /// Which of what it reads nobody reads afterwards.
    is_last_reader: Vec<bool>,
    /// Whether training leaves it as it is.
    frozen: bool,
    /// Of a batch norm: the activation that alone reads it.
    followed_by: Option<Activation>,
}

/// A layer's result on its way to its readers.
#[derive(Debug)]
struct Made {
    map: Tensor,
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
    fn share(&self) -> Made {
        let statistics = self.statistics.as_ref().map(Tensor::shallow_clone);
        Made { map: self.map.shallow_clone(), statistics, ..*self }
    }
}

impl Network {
    /// A network with these weights.
    ///
    /// # Errors
    /// A missing, superfluous, misshapen or non-finite tensor.
    pub fn from_tensors(
        shape: &NetworkShape,
        tensors: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self, SupernetError> {
        let layers = shape.layers();
        let mut builder = WeightBuilder::from_tensors(tensors, device);
        let mut all = Vec::new();
        for named in &layers {
            let tensors = tensors_with(&mut builder, named, |_| Role::Statistic)?;
            let as_run = |tensor: Tensor| if tensor.dim() == 4 { channels_last(&tensor) } else { tensor };
            all.push(tensors.into_iter().map(as_run).collect());
        }
        builder.finish()?;
        let layers = layers.into_iter().map(|named| named.layer).collect();
        Ok(Self::new(shape.input(), layers, all, shape.batch_norm_eps()))
    }

    /// A network with these weights whose weights can be trained but for those of the layers `frozen`: layers of these
    /// names, and those whose names begin so before a dot.
    ///
    /// # Errors
    /// As [`Network::from_tensors`]; [`SupernetError::UnknownLayer`].
    pub fn to_train(
        shape: &NetworkShape,
        tensors: BTreeMap<String, Tensor>,
        device: Device,
        frozen: &[String],
    ) -> Result<Self, SupernetError> {
        Self::check_frozen(shape, frozen)?;
        let layers = shape.layers();
        let mut builder = WeightBuilder::from_tensors(tensors, device);
        let (mut all, mut stays) = (Vec::new(), Vec::new());
        for named in &layers {
            let is_frozen = frozen.iter().any(|name| is_in(&named.name, name));
            let role = |tensor: &str| match tensor.rsplit('.').next() {
                _ if is_frozen => Role::Statistic,
                Some("running_mean" | "running_var") => Role::Statistic,
                Some("weight") if named.layer.is_weighted() => Role::Decayed,
                _ => Role::NotDecayed,
            };
            all.push(tensors_with(&mut builder, named, role)?);
            stays.push(is_frozen);
        }
        let weights = builder.finish()?;
        let layers = layers.into_iter().map(|named| named.layer).collect();
        let mut network = Self { weights, ..Self::new(shape.input(), layers, all, shape.batch_norm_eps()) };
        network.steps.iter_mut().zip(stays).for_each(|(step, frozen)| step.frozen = frozen);
        Ok(network)
    }

    /// Whether `shape` has all these layers to freeze.
    ///
    /// # Errors
    /// [`SupernetError::UnknownLayer`].
    pub fn check_frozen(shape: &NetworkShape, frozen: &[String]) -> Result<(), SupernetError> {
        let layers = shape.layers();
        let Some(name) = frozen.iter().find(|name| !layers.iter().any(|layer| is_in(&layer.name, name))) else {
            return Ok(());
        };
        let known = shape.nodes().iter().map(|node| node.name.as_str());
        let nearest = nearest(name, known.chain(layers.iter().map(|layer| layer.name.as_str())));
        Err(SupernetError::UnknownLayer { name: name.clone(), nearest })
    }

    /// The weights, where the network was made to be trained.
    pub(crate) fn weights(&self) -> &[NamedWeight] {
        &self.weights
    }

    /// All tensors by name, where the network was made to be trained.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.weights.iter().map(|weight| (weight.name.clone(), weight.tensor.detach())).collect()
    }

    /// A network with weights of the host.
    ///
    /// # Errors
    /// As [`Network::from_tensors`].
    pub fn from_weights(shape: &NetworkShape, weights: &Weights, device: Device) -> Result<Self, SupernetError> {
        let tensor = |array: &network::weights::Array| {
            let size: Vec<i64> = array.shape.iter().map(|length| *length as i64).collect();
            Tensor::from_slice(&array.values).reshape(size)
        };
        let tensors = weights.arrays().iter().map(|(name, array)| (name.clone(), tensor(array))).collect();
        Self::from_tensors(shape, tensors, device)
    }

    /// Operators that follow on each other as a deployed network runs them: batch norm folded into the convolutions.
    /// Weights are random, since no operator's time depends on them.
    ///
    /// # Panics
    /// If there is no operator.
    pub fn deployed(ops: &[Op], device: Device) -> Self {
        let input = ops.first().expect("at least one operator").input();
        let mut layers = Vec::new();
        // Where each layer of the chain went, so that readers of a batch norm read the convolution before it.
        let mut places: Vec<Read> = Vec::new();
        for mut layer in chain(ops) {
            for read in &mut layer.reads {
                if let Read::Layer(at) = *read {
                    *read = places[at];
                }
            }
            match &mut layer.kind {
                LayerKind::BatchNorm => {
                    places.push(layer.reads[0]);
                    continue;
                }
                LayerKind::Conv(_, weights) | LayerKind::Depthwise(_, weights) | LayerKind::Linear(weights) => {
                    weights.bias = true;
                }
                _ => {}
            }
            places.push(Read::Layer(layers.len()));
            layers.push(layer);
        }
        let tensors = |layer: &Layer| {
            let random = |(name, size): (String, Vec<usize>)| {
                let size: Vec<i64> = size.into_iter().map(|length| length as i64).collect();
                if name.ends_with("bias") {
                    return Tensor::zeros(size, (Kind::Float, device));
                }
                let fan_in: i64 = size[1..].iter().product();
                let weight = Tensor::randn(&size, (Kind::Float, device)) / (fan_in as f64).sqrt();
                if size.len() == 4 { channels_last(&weight) } else { weight }
            };
            tensors_of("", layer).into_iter().map(random).collect()
        };
        let tensors = layers.iter().map(tensors).collect();
        Self::new(input, layers, tensors, 0.0)
    }

    fn new(input: Map, layers: Vec<Layer>, tensors: Vec<Vec<Tensor>>, eps: f64) -> Self {
        let (mut last, mut readers) = (BTreeMap::new(), BTreeMap::new());
        for (at, layer) in layers.iter().enumerate() {
            for read in &layer.reads {
                last.insert(place(*read), at);
                *readers.entry(place(*read)).or_insert(0) += 1;
            }
        }
        let activations: Vec<Option<Activation>> = (0..layers.len())
            .map(|at| match last.get(&(at + 1)).map(|&reader| &layers[reader].kind) {
                // A gate's activation is no part of what batch norm is fused with.
                Some(LayerKind::Activation(Activation::HSigmoid)) => None,
                Some(LayerKind::Activation(activation)) if readers[&(at + 1)] == 1 => Some(*activation),
                _ => None,
            })
            .collect();
        let step = |(at, (layer, tensors)): (usize, (Layer, Vec<Tensor>))| {
            // The image belongs to the caller.
            let is_last = |read: &Read| place(*read) > 0 && last[&place(*read)] == at;
            let is_last_reader = layer.reads.iter().map(is_last).collect();
            Step { layer, tensors, is_last_reader, frozen: false, followed_by: activations[at] }
        };
        let steps = layers.into_iter().zip(tensors).enumerate().map(step).collect();
        Self { input, steps, eps, weights: Vec::new() }
    }

    /// Size and channels of the images.
    pub fn input(&self) -> Map {
        self.input
    }

    /// A random image on the network's device.
    pub fn image(&self) -> Tensor {
        let Map { size, channels } = self.input;
        let device = self.steps.iter().flat_map(|step| &step.tensors).map(Tensor::device).next();
        let shape = [1, i64::from(channels), i64::from(size), i64::from(size)];
        channels_last(&Tensor::rand(shape, (Kind::Float, device.unwrap_or(Device::Cpu))))
    }

    /// Runs it: `images` is `[N, C, S, S]`; the result is `[N, outputs]` for a classifier, else a feature map.
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        self.pass(images, Pass::Run, false)
    }

    /// The same in training: batch norm by the batch, whose statistics the running ones follow. Feature maps have the
    /// number format of the images, batch norm's statistics and the result are float32 in any case.
    pub(crate) fn forward_to_train(&self, images: &Tensor) -> Tensor {
        self.pass(images, Pass::Train, images.device() == Device::Cpu)
    }

    fn pass(&self, images: &Tensor, pass: Pass, may_fuse: bool) -> Tensor {
        let image = channels_last(images);
        let mut made: Vec<Option<Made>> = vec![Some(image.into())];
        for step in &self.steps {
            let take = |(read, last): (&Read, &bool), made: &mut Vec<Option<Made>>| {
                let slot = &mut made[place(*read)];
                let result = if *last { slot.take() } else { slot.as_ref().map(Made::share) };
                result.expect("a layer's result is kept until its last reader")
            };
            let reads = step.layer.reads.iter().zip(&step.is_last_reader);
            let inputs: Vec<Made> = reads.map(|read| take(read, &mut made)).collect();
            let fused = if may_fuse { step.fused(&inputs[0], self.eps) } else { None };
            let result = fused.unwrap_or_else(|| {
                let maps = inputs.into_iter().map(|input| input.map).collect();
                step.run(maps, self.eps, pass).into()
            });
            made.push(Some(result));
        }
        let output = made.pop().flatten().expect("a network has a last layer").map.to_kind(Kind::Float);
        match self.steps.last() {
            Some(step) if step.layer.output.size == 1 => output.flatten(1, -1),
            _ => output,
        }
    }

    /// Runs it once on `images`, to the end: on a GPU too nothing is left to do afterwards.
    pub fn run(&self, images: &Tensor) {
        let output = self.forward(images);
        if let Device::Cuda(index) = output.device() {
            tch::Cuda::synchronize(index as i64);
        }
    }
}

/// Whether `layer` is `name` or a part of it.
fn is_in(layer: &str, name: &str) -> bool {
    layer.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The tensors of a layer, in the order of [`tensors_of`].
fn tensors_with(
    builder: &mut WeightBuilder,
    named: &NamedLayer,
    role: impl Fn(&str) -> Role,
) -> Result<Vec<Tensor>, SupernetError> {
    let tensor = |(name, size): (String, Vec<usize>)| {
        let size: Vec<i64> = size.into_iter().map(|length| length as i64).collect();
        builder.weight(&name, &size, Init::Constant(0.0), role(&name))
    };
    tensors_of(&named.name, &named.layer).into_iter().map(tensor).collect()
}

/// The image first, then the layers.
fn place(read: Read) -> usize {
    match read {
        Read::Input(_) => 0,
        Read::Layer(at) => at + 1,
    }
}

impl Step {
    /// A layer without batch norm whose inputs others may read, too.
    pub(super) fn plain(layer: Layer, tensors: Vec<Tensor>) -> Step {
        let is_last_reader = vec![false; layer.reads.len()];
        Step { layer, tensors, is_last_reader, frozen: false, followed_by: None }
    }

    /// Runs a layer without batch norm.
    pub(super) fn run_plain(&self, inputs: Vec<Tensor>) -> Tensor {
        self.run(inputs, 0.0, Pass::Run)
    }

    fn run(&self, mut inputs: Vec<Tensor>, eps: f64, pass: Pass) -> Tensor {
        let layer = &self.layer;
        let trains = pass == Pass::Train;
        let owned = !trains && self.is_last_reader.first().copied().unwrap_or(false);
        match layer.kind {
            LayerKind::Conv(window, weights) => self.convolve(&inputs[0], window, weights.groups, trains),
            LayerKind::Depthwise(window, _) => self.convolve(&inputs[0], window, layer.input.channels, trains),
            LayerKind::Linear(_) => {
                inputs[0].flatten(1, -1).to_kind(Kind::Float).linear(&self.tensors[0], self.tensors.get(1))
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
    fn fused(&self, input: &Made, eps: f64) -> Option<Made> {
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
        let [weight, bias] = [0, 1].map(|at| self.tensors.get(at).map(|tensor| tensor.to_kind(x.kind())));
        let weight = weight.expect("a convolution has filters");
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

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
