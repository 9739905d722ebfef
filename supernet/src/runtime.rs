//! Operators as LibTorch runs them once deployed, to be timed: batch norm folded, channels innermost, batch 1.
//!
//! Weights are random, since no operator's time depends on them.

use network::workload::{Activation, Op, OpKind};
use tch::{Device, Kind, Tensor};

/// Some operators in a row with an input for the first: one operator, or a whole network.
#[derive(Debug)]
pub struct Runnable {
    layers: Vec<Layer>,
    input: Tensor,
}

#[derive(Debug)]
enum Layer {
    Conv(Conv),
    MbConv {
        expand: Option<Conv>,
        depthwise: Conv,
        squeeze_excite: Option<(Conv, Conv)>,
        project: Conv,
        residual: bool,
    },
    AvgPool,
    Linear {
        weight: Tensor,
        bias: Tensor,
    },
}

#[derive(Debug)]
struct Conv {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
    groups: i64,
    activation: Activation,
}

impl Runnable {
    /// `ops` in order of execution; the input is one image of the first one's shape.
    ///
    /// # Panics
    /// If there is no operator.
    pub fn new(ops: &[Op], device: Device) -> Runnable {
        let first = ops.first().expect("at least one operator");
        let size = i64::from(first.in_size);
        let shape = [1, i64::from(first.in_channels), size, size];
        let input = Tensor::rand(shape, (Kind::Float, device));
        let input = if first.kind == OpKind::Linear { input } else { crate::subnet::channels_last(&input) };
        Runnable { layers: ops.iter().map(|op| Layer::new(op, device)).collect(), input }
    }

    /// Runs it once, to the end: on a GPU too nothing is left to do afterwards.
    pub fn run(&self) {
        let _guard = tch::no_grad_guard();
        let mut layers = self.layers.iter();
        let mut x = match layers.next() {
            Some(layer) => layer.forward(&self.input),
            None => return,
        };
        for layer in layers {
            x = layer.forward(&x);
        }
        if let Device::Cuda(index) = x.device() {
            tch::Cuda::synchronize(index as i64);
        }
    }
}

impl Layer {
    fn new(op: &Op, device: Device) -> Layer {
        let wide = i64::from;
        let (input, mid, output) = (wide(op.in_channels), wide(op.mid_channels), wide(op.out_channels));
        let (kernel, stride, groups) = (wide(op.kernel), wide(op.stride), wide(op.groups));
        let conv = |input, output, kernel, stride, groups, activation| {
            Conv::new([output, input / groups, kernel, kernel], stride, groups, activation, device)
        };
        match op.kind {
            OpKind::Conv => Layer::Conv(conv(input, output, kernel, stride, groups, op.activation)),
            OpKind::MbConv => Layer::MbConv {
                expand: op.expand_conv.then(|| conv(input, mid, 1, 1, groups, op.activation)),
                depthwise: conv(mid, mid, kernel, stride, mid, op.activation),
                squeeze_excite: (op.se_channels > 0).then(|| {
                    let narrow = wide(op.se_channels);
                    (conv(mid, narrow, 1, 1, 1, Activation::Relu), conv(narrow, mid, 1, 1, 1, Activation::None))
                }),
                project: conv(mid, output, 1, 1, groups, Activation::None),
                residual: op.residual,
            },
            OpKind::AvgPool => Layer::AvgPool,
            OpKind::Linear => Layer::Linear {
                weight: Tensor::rand([output, input], (Kind::Float, device)),
                bias: Tensor::rand([output], (Kind::Float, device)),
            },
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Layer::Conv(conv) => conv.forward(x),
            Layer::MbConv { expand, depthwise, squeeze_excite, project, residual } => {
                let expanded = expand.as_ref().map(|expand| expand.forward(x));
                let mut inner = depthwise.forward(expanded.as_ref().unwrap_or(x));
                if let Some((reduce, expand)) = squeeze_excite {
                    let pooled = inner.mean_dim(&[2i64, 3][..], true, inner.kind());
                    inner *= expand.forward(&reduce.forward(&pooled)).hardsigmoid();
                }
                let output = project.forward(&inner);
                if *residual { output + x } else { output }
            }
            Layer::AvgPool => x.mean_dim(&[2i64, 3][..], true, x.kind()),
            Layer::Linear { weight, bias } => x.flatten(1, -1).linear(weight, Some(bias)),
        }
    }
}

impl Conv {
    /// `shape` is that of the weight: outputs, inputs of a group, height and width of the kernel.
    fn new(shape: [i64; 4], stride: i64, groups: i64, activation: Activation, device: Device) -> Conv {
        let fan_in = (shape[1] * shape[2] * shape[3]) as f64;
        let weight = Tensor::randn(shape, (Kind::Float, device)) / fan_in.sqrt();
        let weight = crate::subnet::channels_last(&weight);
        let bias = Tensor::zeros([shape[0]], (Kind::Float, device));
        Conv { weight, bias, stride, padding: shape[2] / 2, groups, activation }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        let mut x = x.conv2d(&self.weight, Some(&self.bias), stride, padding, [1i64, 1], self.groups);
        match self.activation {
            Activation::None => x,
            Activation::Relu => x.relu_(),
            Activation::Relu6 => x.relu6_(),
            Activation::HSwish => x.hardswish_(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use search::space::SearchSpace;

    use super::*;

    #[test]
    fn networks_of_every_space_run_and_each_operator_has_the_shape_it_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for name in ["mcu-cifar", "fbnet-cifar", "mbv3-w1.0", "proxyless-w1.3"] {
            let space = SearchSpace::builtin(name).unwrap();
            let workload = space.lower(&space.sample_at(space.resolutions()[0], &mut rng));
            Runnable::new(&workload.ops, Device::Cpu).run();
            let _guard = tch::no_grad_guard();
            for op in &workload.ops {
                let runnable = Runnable::new(std::slice::from_ref(op), Device::Cpu);
                let output = runnable.layers[0].forward(&runnable.input);
                let (channels, size) = (i64::from(op.out_channels), i64::from(op.out_size));
                match op.kind {
                    OpKind::Linear => assert_eq!(output.size(), [1, channels], "{op}"),
                    _ => assert_eq!(output.size(), [1, channels, size, size], "{op}"),
                }
            }
        }
    }
}
