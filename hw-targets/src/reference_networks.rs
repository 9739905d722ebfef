//! Networks that published measurements are of, operator by operator.
//!
//! OFA's MobileNetV3 (`once-for-all` §1.1), to fit to whole networks of width 1.0 and, at width 1.2, to compare sums over
//! a table with sums over its fit; FBNet (Wu et al. 2019, as in HW-NAS-Bench) for both, as lists of operators and in its
//! elastic form; MobileNet v1 (arXiv:1704.04861, Table 1) and v2
//! (arXiv:1801.04381, Table 2) at any width and resolution, to fit to whole networks. The general way from a search
//! space to operators is not this crate's; where both lower the same networks, a test of `search` compares them.

use crate::table_op::{TableKind, TableOp, workload};
use network::op::{Activation, Workload};

/// Choices of one network: depth of every stage; kernel and expand ratio of every block, four blocks to a stage (FBNet's
/// first and last stage have one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Genome {
    pub(crate) kernels: Vec<u32>,
    pub(crate) expands: Vec<u32>,
    pub(crate) depths: Vec<u32>,
}

struct Stage {
    width: u32,
    stride: u32,
    max_depth: usize,
    activation: Activation,
    squeeze_excite: bool,
}

pub(crate) fn make_divisible(width: u32) -> u32 {
    let rounded = ((width + 4) / 8 * 8).max(8);
    if 10 * rounded < 9 * width { rounded + 8 } else { rounded }
}

/// [`make_divisible`] of width × percent / 100, in hundredths so that no fraction is lost.
fn scaled(width: u32, percent: u32) -> u32 {
    let hundredths = width * percent;
    let rounded = ((hundredths + 400) / 800 * 8).max(8);
    if 1000 * rounded < 9 * hundredths { rounded + 8 } else { rounded }
}

/// A network growing operator by operator.
struct Chain {
    ops: Vec<TableOp>,
    size: u32,
    channels: u32,
}

impl Chain {
    fn conv(&mut self, kernel: u32, stride: u32, width: u32, activation: Activation, batch_norm: bool) {
        let out_size = (self.size - 1) / stride + 1;
        self.ops.push(TableOp {
            kind: TableKind::Conv,
            in_size: self.size,
            in_channels: self.channels,
            out_size,
            out_channels: width,
            kernel,
            stride,
            groups: 1,
            mid_channels: 0,
            expand_conv: false,
            se_channels: 0,
            activation,
            residual: false,
            batch_norm,
        });
        (self.size, self.channels) = (out_size, width);
    }

    fn block(&mut self, stage: &Stage, stride: u32, kernel: u32, expand: u32, expand_conv_at_one: bool) {
        let mid_channels = make_divisible(self.channels * expand);
        self.conv(kernel, stride, stage.width, stage.activation, true);
        let op = self.ops.last_mut().expect("conv pushed one");
        op.kind = TableKind::MbConv;
        op.mid_channels = mid_channels;
        op.expand_conv = expand != 1 || expand_conv_at_one;
        op.se_channels = if stage.squeeze_excite { make_divisible(mid_channels / 4) } else { 0 };
        op.residual = stride == 1 && op.in_channels == op.out_channels;
    }

    fn stages(&mut self, stages: &[Stage], genome: &Genome, expand_conv_at_one: bool) {
        let mut gene = 0;
        for (stage, depth) in stages.iter().zip(&genome.depths) {
            for index in 0..*depth as usize {
                let stride = if index == 0 { stage.stride } else { 1 };
                let (kernel, expand) = (genome.kernels[gene + index], genome.expands[gene + index]);
                self.block(stage, stride, kernel, expand, expand_conv_at_one);
            }
            gene += stage.max_depth;
        }
    }

    fn pool(&mut self) {
        self.conv(1, 1, self.channels, Activation::None, false);
        let op = self.ops.last_mut().expect("conv pushed one");
        (op.kind, op.out_size) = (TableKind::AvgPool, 1);
        self.size = 1;
    }

    fn classifier(&mut self, classes: u32) {
        self.conv(1, 1, classes, Activation::None, false);
        self.ops.last_mut().expect("conv pushed one").kind = TableKind::Linear;
    }
}

/// OFA's MobileNetV3 of `percent` of the full width, with 1000 classes.
pub(crate) fn mbv3(genome: &Genome, resolution: u32, percent: u32) -> Workload {
    use Activation::{HSwish, Relu};
    let scaled = |width| scaled(width, percent);
    let stage = |width, stride, activation, squeeze_excite| Stage {
        width: scaled(width),
        stride,
        max_depth: 4,
        activation,
        squeeze_excite,
    };
    let stages = [
        stage(24, 2, Relu, false),
        stage(40, 2, Relu, true),
        stage(80, 2, HSwish, false),
        stage(112, 1, HSwish, true),
        stage(160, 2, HSwish, true),
    ];
    let mut chain = Chain { ops: Vec::new(), size: resolution, channels: 3 };
    chain.conv(3, 2, scaled(16), HSwish, true);
    chain.block(&stage(16, 1, Relu, false), 1, 3, 1, false);
    chain.stages(&stages, genome, false);
    chain.conv(1, 1, scaled(960), HSwish, true);
    chain.pool();
    chain.conv(1, 1, scaled(1280), HSwish, false);
    chain.classifier(1000);
    workload(resolution, &chain.ops)
}

/// Stages of FBNet in its ImageNet or its CIFAR form.
fn fbnet_stages(imagenet: bool) -> Vec<Stage> {
    let widths = [16, 24, 32, 64, 112, 184, 352];
    let strides = if imagenet { [1, 2, 2, 2, 1, 2, 1] } else { [1, 1, 2, 2, 1, 2, 1] };
    let stage = |(at, (width, stride))| Stage {
        width,
        stride,
        max_depth: if at == 0 || at == 6 { 1 } else { 4 },
        activation: Activation::Relu,
        squeeze_excite: false,
    };
    widths.into_iter().zip(strides).enumerate().map(stage).collect()
}

/// FBNet around its blocks: the ImageNet form (stem of stride 2, head of 1984) or the CIFAR form (stride 1, 1504).
fn fbnet_around(blocks: impl FnOnce(&mut Chain), resolution: u32, imagenet: bool, classes: u32) -> Workload {
    let mut chain = Chain { ops: Vec::new(), size: resolution, channels: 3 };
    chain.conv(3, if imagenet { 2 } else { 1 }, 16, Activation::Relu, true);
    blocks(&mut chain);
    chain.conv(1, 1, if imagenet { 1984 } else { 1504 }, Activation::Relu, true);
    chain.pool();
    chain.classifier(classes);
    workload(resolution, &chain.ops)
}

/// FBNet in elastic form.
pub(crate) fn fbnet(genome: &Genome, resolution: u32, imagenet: bool, classes: u32) -> Workload {
    fbnet_around(|chain| chain.stages(&fbnet_stages(imagenet), genome, true), resolution, imagenet, classes)
}

/// ProxylessNAS's network for mobile phones at 224 px (arXiv:1812.00332, as its latency table has it): pooling is in
/// the classifier.
pub(crate) fn proxyless(genome: &Genome) -> Workload {
    let stage = |width, stride, max_depth| Stage {
        width,
        stride,
        max_depth,
        activation: Activation::Relu6,
        squeeze_excite: false,
    };
    let stages = [(16, 1, 1), (24, 2, 4), (40, 2, 4), (80, 2, 4), (96, 1, 4), (192, 2, 4), (320, 1, 1)]
        .map(|(w, s, d)| stage(w, s, d));
    let mut chain = Chain { ops: Vec::new(), size: 224, channels: 3 };
    chain.conv(3, 2, 32, Activation::Relu6, true);
    chain.stages(&stages, genome, false);
    chain.conv(1, 1, 1280, Activation::Relu6, true);
    chain.size = 1;
    chain.classifier(1000);
    workload(224, &chain.ops)
}

/// FBNet of 22 operator numbers in the CIFAR form: 0…8 = k3e1, k3e1 with two groups, k3e3, k3e6, k5e1, k5e1 with two
/// groups, k5e3, k5e6, skip. A skip is an identity (an average pooling over single positions), or, where it must change
/// width or size, a 1×1 convolution.
pub(crate) fn fbnet_operators(numbers: &[u32], resolution: u32, classes: u32) -> Workload {
    let choices = [(3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1)];
    let blocks = |chain: &mut Chain| {
        let stages = fbnet_stages(false);
        let places = stages.iter().flat_map(|stage| (0..stage.max_depth).map(move |index| (stage, index)));
        for ((stage, index), number) in places.zip(numbers) {
            let stride = if index == 0 { stage.stride } else { 1 };
            match choices.get(*number as usize) {
                Some(&(kernel, expand, groups)) => {
                    chain.block(stage, stride, kernel, expand, true);
                    chain.ops.last_mut().expect("block pushed one").groups = groups;
                }
                None if stride == 1 && chain.channels == stage.width => {
                    let (size, channels) = (chain.size, chain.channels);
                    chain.ops.push(TableOp::plain(TableKind::AvgPool, size, channels, size, channels));
                }
                None => chain.conv(1, stride, stage.width, Activation::Relu, true),
            }
        }
    };
    fbnet_around(blocks, resolution, false, classes)
}

fn plain_stage(width: u32, activation: Activation) -> Stage {
    Stage { width, stride: 1, max_depth: 1, activation, squeeze_excite: false }
}

/// Outputs of the published MobileNets: ImageNet's classes and background.
const MOBILENET_CLASSES: u32 = 1001;

/// MobileNet v1 of `percent` of the full width. A depthwise convolution and the 1×1 convolution after it are one block.
pub(crate) fn mobilenet_v1(percent: u32, resolution: u32) -> Workload {
    mobilenet_v1_with(percent, resolution, MOBILENET_CLASSES)
}

/// The same with another number of outputs.
pub(crate) fn mobilenet_v1_with(percent: u32, resolution: u32, classes: u32) -> Workload {
    let widths = [64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024];
    let strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1];
    // No width is below 8 (depth_multiplier's min_depth).
    let scaled = |width: u32| (width * percent / 100).max(8);
    let mut chain = Chain { ops: Vec::new(), size: resolution, channels: 3 };
    chain.conv(3, 2, scaled(32), Activation::Relu6, true);
    for (width, stride) in widths.into_iter().zip(strides) {
        let inside = chain.channels;
        chain.block(&plain_stage(scaled(width), Activation::Relu6), stride, 3, 1, false);
        if let Some(op) = chain.ops.last_mut() {
            (op.mid_channels, op.residual) = (inside, false);
        }
    }
    chain.pool();
    chain.classifier(classes);
    workload(resolution, &chain.ops)
}

/// MobileNet v2 of `percent` of the full width; the last convolution is never narrower than 1280.
pub(crate) fn mobilenet_v2(percent: u32, resolution: u32) -> Workload {
    let stages =
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
    let scaled = |width| scaled(width, percent);
    let mut chain = Chain { ops: Vec::new(), size: resolution, channels: 3 };
    chain.conv(3, 2, scaled(32), Activation::Relu6, true);
    for (expand, width, depth, stride) in stages {
        for at in 0..depth {
            let stage = plain_stage(scaled(width), Activation::Relu6);
            chain.block(&stage, if at == 0 { stride } else { 1 }, 3, expand, false);
        }
    }
    chain.conv(1, 1, scaled(1280).max(1280), Activation::Relu6, true);
    chain.pool();
    chain.classifier(MOBILENET_CLASSES);
    workload(resolution, &chain.ops)
}

/// SplitMix64 (Steele, Lea & Flood 2014): enough to pick networks, the same everywhere.
pub(crate) struct Picker(pub(crate) u64);

impl Picker {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.next() % from.len() as u64) as usize]
    }

    /// A random genome of [`mbv3`].
    pub(crate) fn mbv3(&mut self) -> Genome {
        Genome {
            kernels: (0..20).map(|_| self.pick(&[3, 5, 7])).collect(),
            expands: (0..20).map(|_| self.pick(&[3, 4, 6])).collect(),
            depths: (0..5).map(|_| self.pick(&[2, 3, 4])).collect(),
        }
    }

    /// A random genome of [`proxyless`].
    pub(crate) fn proxyless(&mut self) -> Genome {
        Genome {
            kernels: (0..22).map(|_| self.pick(&[3, 5, 7])).collect(),
            expands: (0..22).map(|at| if at == 0 { 1 } else { self.pick(&[3, 6]) }).collect(),
            depths: (0..7).map(|at| if at == 0 || at == 6 { 1 } else { self.pick(&[1, 2, 3, 4]) }).collect(),
        }
    }

    /// A random genome of [`fbnet`].
    pub(crate) fn fbnet(&mut self) -> Genome {
        Genome {
            kernels: (0..22).map(|_| self.pick(&[3, 5])).collect(),
            expands: (0..22).map(|_| self.pick(&[1, 3, 6])).collect(),
            depths: (0..7).map(|at| if at == 0 || at == 6 { 1 } else { self.pick(&[1, 2, 3, 4]) }).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Millions of MACs as published for 1000 classes (arXiv:1704.04861, Tables 6 and 7; arXiv:1801.04381, Table 4 and
    /// the model list of its authors).
    #[test]
    fn mobilenets_count_the_published_macs() {
        let published = [
            (mobilenet_v1(100, 224), 569.0),
            (mobilenet_v1(75, 224), 325.0),
            (mobilenet_v1(50, 160), 76.0),
            (mobilenet_v1(25, 128), 14.0),
            (mobilenet_v2(100, 224), 300.0),
            (mobilenet_v2(140, 224), 582.0),
            (mobilenet_v2(75, 160), 107.0),
            (mobilenet_v2(35, 224), 59.0),
        ];
        for (network, millions) in published {
            let macs = network.macs().0 as f64 / 1e6;
            assert!((macs - millions).abs() <= 0.6 + 0.005 * millions, "{macs} {millions}");
        }
    }
}
