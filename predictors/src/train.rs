//! Training of an ensemble of MLPs in LibTorch, all members at once.
//!
//! Every member has its own initial weights and its own order of batches; they share each step as one batched matrix
//! product, `[members, batch, inputs] × [members, inputs, outputs]`, and none sees another's gradient. Mean squared
//! error, AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) written on tensors, learning rate falling along a cosine.
//! Randomness comes from the caller's generator, and LibTorch runs on one thread meanwhile, so that a fit repeats itself
//! on machines with any number of cores.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use crate::mlp::Linear;
use crate::settings::FitSettings;

/// AdamW's decay of the first moment.
const BETA_1: f64 = 0.9;
/// AdamW's decay of the second moment.
const BETA_2: f64 = 0.999;
/// Added to the root of the second moment.
const EPSILON: f64 = 1e-8;

/// Trains from `start` (layers of each member) on `inputs` (`[targets, inputs]`, row-major); calls `epoch` after each.
pub(crate) fn train(
    start: Vec<Vec<Linear>>,
    inputs: &[f32],
    targets: &[f32],
    settings: &FitSettings,
    rng: &mut ChaCha8Rng,
    epoch: &mut dyn FnMut(),
) -> Vec<Vec<Linear>> {
    let _one_thread = OneThread::new();
    let (members, rows) = (start.len(), targets.len());
    let width = inputs.len() / rows;
    let inputs = Tensor::from_slice(inputs).view([rows as i64, width as i64]);
    let targets = Tensor::from_slice(targets);
    let mut layers: Vec<Layer> = (0..start[0].len()).map(|place| Layer::new(&start, place)).collect();
    let mut adam = AdamW::new(layers.iter().flat_map(Layer::tensors), settings.weight_decay);
    let batches = rows.div_ceil(settings.batch);
    let mut orders: Vec<Vec<i64>> = vec![(0..rows as i64).collect(); members];
    for step in 0..settings.epochs * batches {
        let batch = step % batches;
        if batch == 0 {
            orders.iter_mut().for_each(|order| order.shuffle(rng));
        }
        let chosen = batch * settings.batch..rows.min((batch + 1) * settings.batch);
        let picks: Vec<i64> = orders.iter().flat_map(|order| &order[chosen.clone()]).copied().collect();
        let picks = Tensor::from_slice(&picks);
        let shape = [members as i64, chosen.len() as i64, -1];
        let outputs = forward(&layers, &inputs.index_select(0, &picks).view(shape));
        let errors = outputs - targets.index_select(0, &picks).view(shape);
        // The mean over the batch, summed over members, which do not meet.
        let loss = errors.square().sum(Kind::Float) / chosen.len() as f64;
        let progress = step as f64 / (settings.epochs * batches) as f64;
        let rate = settings.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        let parameters: Vec<&Tensor> = layers.iter().flat_map(Layer::tensors).collect();
        let gradients = Tensor::run_backward(&[loss], &parameters, false, false);
        adam.step(layers.iter_mut().flat_map(Layer::tensors_mut), &gradients, rate);
        if batch + 1 == batches {
            epoch();
        }
    }
    (0..members).map(|member| layers.iter().map(|layer| layer.linear(member)).collect()).collect()
}

fn forward(layers: &[Layer], inputs: &Tensor) -> Tensor {
    let mut values = inputs.shallow_clone();
    for (place, layer) in layers.iter().enumerate() {
        values = if place == 0 { values } else { values.relu() };
        values = layer.bias.baddbmm(&values, &layer.weight, 1.0, 1.0);
    }
    values
}

/// One layer of every member.
struct Layer {
    /// `[members, inputs, outputs]`.
    weight: Tensor,
    /// `[members, 1, outputs]`.
    bias: Tensor,
}

impl Layer {
    fn new(members: &[Vec<Linear>], place: usize) -> Layer {
        let count = members.len() as i64;
        let outputs = members[0][place].bias.len() as i64;
        let weight: Vec<f32> = members.iter().flat_map(|layers| &layers[place].weight).copied().collect();
        let bias: Vec<f32> = members.iter().flat_map(|layers| &layers[place].bias).copied().collect();
        let weight = Tensor::from_slice(&weight).view([count, outputs, -1]).transpose(1, 2).contiguous();
        let bias = Tensor::from_slice(&bias).view([count, 1, outputs]).contiguous();
        Layer { weight: weight.set_requires_grad(true), bias: bias.set_requires_grad(true) }
    }

    fn tensors(&self) -> [&Tensor; 2] {
        [&self.weight, &self.bias]
    }

    fn tensors_mut(&mut self) -> [&mut Tensor; 2] {
        [&mut self.weight, &mut self.bias]
    }

    fn linear(&self, member: usize) -> Linear {
        let values = |tensor: Tensor| {
            let tensor = tensor.contiguous().to_device(Device::Cpu);
            let mut values = vec![0.0_f32; tensor.numel()];
            tensor.copy_data(&mut values, tensor.numel());
            values
        };
        let weight = self.weight.detach().select(0, member as i64).transpose(0, 1);
        Linear { weight: values(weight), bias: values(self.bias.detach().select(0, member as i64)) }
    }
}

/// AdamW's moments.
struct AdamW {
    weight_decay: f64,
    steps: i32,
    moments: Vec<(Tensor, Tensor)>,
}

impl AdamW {
    fn new<'a>(parameters: impl Iterator<Item = &'a Tensor>, weight_decay: f64) -> AdamW {
        let zeros = |tensor: &Tensor| tensor.detach().zeros_like();
        AdamW { weight_decay, steps: 0, moments: parameters.map(|tensor| (zeros(tensor), zeros(tensor))).collect() }
    }

    fn step<'a>(&mut self, parameters: impl Iterator<Item = &'a mut Tensor>, gradients: &[Tensor], rate: f64) {
        let _no_gradients = tch::no_grad_guard();
        self.steps += 1;
        let correction_1 = 1.0 - BETA_1.powi(self.steps);
        let correction_2 = (1.0 - BETA_2.powi(self.steps)).sqrt();
        for ((parameter, gradient), (first, second)) in parameters.zip(gradients).zip(&mut self.moments) {
            let _ = parameter.g_mul_scalar_(1.0 - rate * self.weight_decay);
            let _ = first.lerp_(gradient, 1.0 - BETA_1);
            let _ = second.lerp_(&gradient.square(), 1.0 - BETA_2);
            let root = (second.sqrt() / correction_2).g_add_scalar_(EPSILON);
            let _ = parameter.addcdiv_(&(&*first * (-rate / correction_1)), &root);
        }
    }
}

/// LibTorch on one thread for as long as this lives.
struct OneThread {
    before: i32,
}

impl OneThread {
    fn new() -> OneThread {
        let before = tch::get_num_threads();
        tch::set_num_threads(1);
        OneThread { before }
    }
}

impl Drop for OneThread {
    fn drop(&mut self) {
        tch::set_num_threads(self.before);
    }
}
