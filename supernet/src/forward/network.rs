//! Networks of any shape in LibTorch, layer by layer: those that no search space offers, and operators to be timed as a
//! deployed network runs them.
//!
//! A subnet of a supernet runs by [`crate::forward::subnet::Subnet`]. A network can be trained on by itself, too
//! ([`Network::to_train`]).

use std::collections::BTreeMap;

use network::integer::Scale;
use network::layers::{Layer, LayerKind, Read, chain};
use network::op::{Activation, Map, Op};
use network::shape::{NamedLayer, NetworkShape};
use network::weights::{Weights, tensors_of};
use storage::names::nearest;
use tch::{Device, Kind, Tensor};

use super::step::{Made, Pass, Step};
use crate::data::channels_last;
use crate::error::SupernetError;
use crate::weights::{Init, NamedWeight, Role, WeightBuilder, is_in};

/// A network ready to run.
#[derive(Debug)]
pub struct Network {
    input: Map,
    steps: Vec<Step>,
    eps: f64,
    weights: Vec<NamedWeight>,
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

    /// This network with filters rounded to int8, and with what each layer makes rounded to `scales`, one for each layer in
    /// order, where there is one. Batch norm keeps its statistics in training, too, as it will be folded.
    ///
    /// # Panics
    /// If there are not as many scales as layers.
    pub fn rounded(mut self, scales: &[Option<Scale>]) -> Self {
        assert_eq!(scales.len(), self.steps.len());
        for (step, scale) in self.steps.iter_mut().zip(scales) {
            step.rounds_weights = step.layer.is_weighted();
            step.rounds_to = *scale;
            step.frozen |= step.layer.kind == LayerKind::BatchNorm;
        }
        self
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
            // Of a map that a layer reads twice, the second time.
            let again = |input: usize, read: &Read| layer.reads[input + 1..].contains(read);
            let reads = layer.reads.iter().enumerate();
            let is_last_reader = reads.map(|(input, read)| is_last(read) && !again(input, read)).collect();
            Step { is_last_reader, followed_by: activations[at], ..Step::plain(layer, tensors) }
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
        let may_fuse = may_fuse && !self.steps.iter().any(|step| step.rounds_weights || step.rounds_to.is_some());
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

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
