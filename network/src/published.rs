//! Published networks, layer by layer: yardsticks for what counts, costs and runs them, and starting points for whoever
//! adapts or compresses them.

use storage::failure::{Failure, FailureKind};
use storage::names::nearest;

use crate::op::{
    Activation, Conv, Fire, InvertedBottleneck, Linear, LocalResponse, Map, Op, Pool, PoolKind, Real, Residual,
};
use crate::shape::NetworkShape;

/// Names that [`network`] knows, with what they are.
pub const NETWORKS: [(&str, &str); 5] = [
    ("alexnet", "AlexNet in two groups with local response normalisation (Krizhevsky et al. 2012), 227 px"),
    ("mobilenet-v1", "MobileNet v1, 224 px (Howard et al. 2017, arXiv:1704.04861)"),
    ("mobilenet-v2", "MobileNet v2, 224 px (Sandler et al. 2018, arXiv:1801.04381)"),
    ("resnet8", "ResNet-8 of MLPerf Tiny for CIFAR-10, 32 px (Banbury et al. 2021, arXiv:2106.07597)"),
    ("squeezenet-1.1", "SqueezeNet 1.1, 224 px (Iandola et al. 2016, arXiv:1602.07360; 1.1 by its authors)"),
];

/// A name that no published network here has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no published network {name:?}")]
pub struct UnknownNetwork {
    /// What was asked.
    pub name: String,
}

impl Failure for UnknownNetwork {
    fn kind(&self) -> FailureKind {
        FailureKind::Usage
    }

    fn hint(&self) -> Option<String> {
        let known = NETWORKS.map(|(name, _)| name);
        Some(match nearest(&self.name, known).first() {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known networks: {}", known.join(", ")),
        })
    }
}

/// The published network of this name, with as many classes as published unless others are wanted.
///
/// # Errors
/// [`UnknownNetwork`].
pub fn network(name: &str, classes: Option<u32>) -> Result<NetworkShape, UnknownNetwork> {
    Ok(match name {
        "alexnet" => alexnet(classes.unwrap_or(1000)),
        "mobilenet-v1" => mobilenet_v1(100, 224, classes.unwrap_or(1000)),
        "mobilenet-v2" => mobilenet_v2(100, 224, classes.unwrap_or(1000)),
        "resnet8" => resnet8(classes.unwrap_or(10)),
        "squeezenet-1.1" => squeezenet(classes.unwrap_or(1000)),
        _ => return Err(UnknownNetwork { name: name.into() }),
    })
}

/// The nearest multiple of 8 that is not more than a tenth below `width` (the MobileNets' rounding).
pub fn make_divisible(width: f64) -> u32 {
    let rounded = ((width + 4.0) / 8.0).floor().max(1.0) * 8.0;
    (if rounded < 0.9 * width { rounded + 8.0 } else { rounded }) as u32
}

/// Operators one after the other.
struct Chain {
    input: Map,
    at: Map,
    ops: Vec<(String, Op)>,
}

impl Chain {
    fn new(size: u32) -> Self {
        let input = Map::new(size, 3);
        Self { input, at: input, ops: Vec::new() }
    }

    fn push(&mut self, name: impl Into<String>, op: Op) {
        self.at = op.output();
        self.ops.push((name.into(), op));
    }

    /// A convolution from here with padding that keeps the size but for the stride, more of it at the end
    /// (TensorFlow's `SAME`).
    fn same(&self, channels: u32, kernel: u32, stride: u32) -> Conv {
        let size = self.at.size.div_ceil(stride);
        let covered = (size - 1) * stride + kernel;
        let padding = covered.saturating_sub(self.at.size) / 2;
        Conv { kernel, stride, padding, ..Conv::plain(self.at, Map::new(size, channels)) }
    }

    fn max_pool(&mut self, name: &str) {
        let output = Map::new((self.at.size - 3) / 2 + 1, self.at.channels);
        let pool = Pool { kind: PoolKind::Max, input: self.at, output, kernel: 3, stride: 2, padding: 0 };
        self.push(name, Op::Pool(pool));
    }

    fn global_pool(&mut self) {
        self.push("pool", Op::Pool(Pool::global(self.at)));
    }

    fn linear(&mut self, name: &str, outputs: u32, activation: Activation) {
        self.push(name, Op::Linear(Linear { input: self.at, outputs, bias: true, activation }));
    }

    fn done(self, batch_norm_eps: f64) -> NetworkShape {
        NetworkShape::chain(self.input, self.ops, batch_norm_eps).expect("a published network meets")
    }
}

/// AlexNet as first published: conv 2, 4 and 5 in two groups, normalisation over five channels after conv 1 and 2.
pub fn alexnet(classes: u32) -> NetworkShape {
    let mut chain = Chain::new(227);
    let normalise = |chain: &mut Chain, name: &str| {
        // The paper's α = 1e-4 is not divided by the window of 5.
        let [scale, power, bias] = [5e-4, 0.75, 2.0].map(Real);
        chain.push(name, Op::LocalResponse(LocalResponse { map: chain.at, window: 5, scale, power, bias }));
    };
    let conv = |chain: &mut Chain, name: &str, channels, kernel: u32, stride, groups| {
        let padding = if stride > 1 { 0 } else { kernel / 2 };
        let size = (chain.at.size + 2 * padding - kernel) / stride + 1;
        let plain = Conv::plain(chain.at, Map::new(size, channels));
        let activation = Activation::Relu;
        chain.push(name, Op::Conv(Conv { kernel, stride, padding, groups, bias: true, activation, ..plain }));
    };
    conv(&mut chain, "conv1", 96, 11, 4, 1);
    normalise(&mut chain, "norm1");
    chain.max_pool("pool1");
    conv(&mut chain, "conv2", 256, 5, 1, 2);
    normalise(&mut chain, "norm2");
    chain.max_pool("pool2");
    conv(&mut chain, "conv3", 384, 3, 1, 1);
    conv(&mut chain, "conv4", 384, 3, 1, 2);
    conv(&mut chain, "conv5", 256, 3, 1, 2);
    chain.max_pool("pool5");
    chain.linear("fc6", 4096, Activation::Relu);
    chain.linear("fc7", 4096, Activation::Relu);
    chain.linear("fc8", classes, Activation::None);
    chain.done(1e-5)
}

/// SqueezeNet 1.1: pooling after conv 1, fire 3 and fire 5, no padding but in the 3×3 convolutions of the fire modules.
pub fn squeezenet(classes: u32) -> NetworkShape {
    let mut chain = Chain::new(224);
    let relu = |conv: Conv| Conv { bias: true, activation: Activation::Relu, ..conv };
    let stem = Conv { kernel: 3, stride: 2, ..Conv::plain(chain.at, Map::new(111, 64)) };
    chain.push("conv1", Op::Conv(relu(stem)));
    let modules = [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)];
    for (index, (narrow, half)) in modules.into_iter().enumerate() {
        let number = index + 2;
        if matches!(number, 2 | 4 | 6) {
            chain.max_pool(&format!("pool{}", number - 1));
        }
        let squeeze = relu(Conv::plain(chain.at, Map::new(chain.at.size, narrow)));
        let expand_1x1 = relu(Conv::plain(squeeze.output, Map::new(chain.at.size, half)));
        let expand_3x3 = Conv { kernel: 3, padding: 1, ..expand_1x1 };
        chain.push(format!("fire{number}"), Op::Fire(Fire { squeeze, expand_1x1, expand_3x3 }));
    }
    let last = Conv::plain(chain.at, Map::new(chain.at.size, classes));
    chain.push("conv10", Op::Conv(relu(last)));
    chain.global_pool();
    chain.done(1e-5)
}

/// MobileNet v1 of `percent` of the full width: a depthwise convolution and the 1×1 convolution after it are one block.
pub fn mobilenet_v1(percent: u32, resolution: u32, classes: u32) -> NetworkShape {
    let widths = [64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024];
    let strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1];
    // No width is below 8 (depth_multiplier's min_depth).
    let scaled = |width: u32| (width * percent / 100).max(8);
    let mut chain = Chain::new(resolution);
    let activation = Activation::Relu6;
    let stem = Conv { batch_norm: true, activation, ..chain.same(scaled(32), 3, 2) };
    chain.push("stem", Op::Conv(stem));
    for (index, (width, stride)) in widths.into_iter().zip(strides).enumerate() {
        let block = bottleneck(&chain, scaled(width), chain.at.channels, stride, false);
        let block = InvertedBottleneck { output_activation: activation, residual: false, ..block };
        chain.push(format!("blocks.{index}"), Op::InvertedBottleneck(block));
    }
    chain.global_pool();
    chain.linear("classifier", classes, Activation::None);
    chain.done(1e-3)
}

/// MobileNet v2 of `percent` of the full width; the last convolution is never narrower than 1280.
pub fn mobilenet_v2(percent: u32, resolution: u32, classes: u32) -> NetworkShape {
    let stages =
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
    let scaled = |width: u32| make_divisible(f64::from(width * percent) / 100.0);
    let mut chain = Chain::new(resolution);
    let normed = |conv: Conv| Op::Conv(Conv { batch_norm: true, activation: Activation::Relu6, ..conv });
    let stem = normed(chain.same(scaled(32), 3, 2));
    chain.push("stem", stem);
    let mut index = 0;
    for (expand, width, depth, stride) in stages {
        for at in 0..depth {
            let stride = if at == 0 { stride } else { 1 };
            let block = bottleneck(&chain, scaled(width), chain.at.channels * expand, stride, expand > 1);
            chain.push(format!("blocks.{index}"), Op::InvertedBottleneck(block));
            index += 1;
        }
    }
    let head = normed(chain.same(scaled(1280).max(1280), 1, 1));
    chain.push("head", head);
    chain.global_pool();
    chain.linear("classifier", classes, Activation::None);
    chain.done(1e-3)
}

fn bottleneck(chain: &Chain, width: u32, mid_channels: u32, stride: u32, expand_conv: bool) -> InvertedBottleneck {
    let conv = chain.same(width, 3, stride);
    InvertedBottleneck {
        input: conv.input,
        output: conv.output,
        mid_channels,
        kernel: 3,
        stride,
        padding: conv.padding,
        groups: 1,
        expand_conv,
        se_channels: None,
        activation: Activation::Relu6,
        output_activation: Activation::None,
        residual: conv.input == conv.output,
    }
}

/// ResNet-8 of MLPerf Tiny: three residual blocks of 16, 32 and 64 channels; every convolution has a bias, those of the
/// shortcuts no batch norm.
pub fn resnet8(classes: u32) -> NetworkShape {
    let mut chain = Chain::new(32);
    let normed = |conv: Conv, activation| Conv { bias: true, batch_norm: true, activation, ..conv };
    let stem = normed(chain.same(16, 3, 1), Activation::Relu);
    chain.push("stem", Op::Conv(stem));
    for (index, (width, stride)) in [(16, 1), (32, 2), (64, 2)].into_iter().enumerate() {
        let first = normed(chain.same(width, 3, stride), Activation::Relu);
        let same = Conv { kernel: 3, padding: 1, ..Conv::plain(first.output, first.output) };
        let second = normed(same, Activation::None);
        let shortcut = (stride > 1).then(|| Conv { bias: true, ..chain.same(width, 1, stride) });
        let block = Residual { branch: vec![first, second], shortcut, activation: Activation::Relu };
        chain.push(format!("blocks.{index}"), Op::Residual(block));
    }
    chain.global_pool();
    chain.linear("classifier", classes, Activation::None);
    chain.done(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(network: &NetworkShape) -> u64 {
        network.layers().iter().map(|named| named.layer.weight_count()).sum()
    }

    #[test]
    fn every_name_is_a_network_and_others_are_refused() {
        for (name, _) in NETWORKS {
            assert_eq!(network(name, Some(7)).unwrap().output(), Map::new(1, 7), "{name}");
        }
        let error = network("alexnt", None).unwrap_err();
        assert_eq!((error.kind().exit_code(), error.hint().unwrap().as_str()), (2, "did you mean alexnet?"));
    }

    /// Krizhevsky et al. 2012 in Caffe's layer list: 60.95 M weights, 724.4 M MACs (665.8 M in the convolutions).
    #[test]
    fn alexnet_counts_the_published_weights_and_macs() {
        let network = alexnet(1000);
        assert_eq!(weights(&network), 60_954_656);
        assert_eq!(network.macs().0, 724_406_816);
        // And a bias for each of 10,568 outputs.
        assert_eq!(network.params().0, 60_954_656 + 10_568);
    }

    /// Parameters as in the authors' release and its port to PyTorch; fire modules alone 722,496 of them.
    #[test]
    fn squeezenet_counts_the_published_parameters() {
        let network = squeezenet(1000);
        assert_eq!(network.params().0, 1_235_496);
        assert_eq!(network.macs().0 / 1_000_000, 349);
    }

    /// 78,666 parameters in the published model, of which 480 are running statistics; 12.5 M MACs.
    #[test]
    fn resnet8_counts_the_published_parameters_and_macs() {
        let network = resnet8(10);
        assert_eq!(network.params().0, 78_666 - 480);
        assert_eq!(network.macs().0, 12_501_632);
    }

    /// Millions of MACs as published for 1000 classes (arXiv:1704.04861, Tables 6 and 7; arXiv:1801.04381, Table 4 and
    /// the model list of its authors), and parameters of the full width (4.2 M; 3.5 M with the authors' counting).
    #[test]
    fn mobilenets_count_the_published_macs() {
        let published = [
            (mobilenet_v1(100, 224, 1000), 569.0),
            (mobilenet_v1(75, 224, 1000), 325.0),
            (mobilenet_v1(50, 160, 1000), 76.0),
            (mobilenet_v1(25, 128, 1000), 14.0),
            (mobilenet_v2(100, 224, 1000), 300.0),
            (mobilenet_v2(140, 224, 1000), 582.0),
            (mobilenet_v2(75, 160, 1000), 107.0),
            (mobilenet_v2(35, 224, 1000), 59.0),
        ];
        for (network, millions) in published {
            let macs = network.macs().0 as f64 / 1e6;
            assert!((macs - millions).abs() <= 0.6 + 0.005 * millions, "{macs} {millions}");
        }
        assert_eq!(mobilenet_v1(100, 224, 1000).params().0, 4_231_976);
        assert_eq!(mobilenet_v2(100, 224, 1000).params().0, 3_504_872);
    }
}
