//! What the tests of this crate share: published data, and networks to cost.

use std::path::PathBuf;

use network::op::{Activation, Conv, InvertedBottleneck, Linear, Map, Op, Pool, Workload};
use network::published::{self, make_divisible};

/// The folder with published measurements and golden values, or a visible word that it is not there.
pub(crate) fn shared() -> Option<PathBuf> {
    shared_data::file("data/hw").and_then(|folder| Some(folder.parent()?.parent()?.to_path_buf()))
}

/// MobileNet v1 of `percent` of the full width, with the outputs of the published one: ImageNet's classes and background.
pub(crate) fn mobilenet_v1(percent: u32, resolution: u32) -> Workload {
    published::mobilenet_v1(percent, resolution, 1001).workload()
}

/// MobileNet v2 of `percent` of the full width, with as many outputs.
pub(crate) fn mobilenet_v2(percent: u32, resolution: u32) -> Workload {
    published::mobilenet_v2(percent, resolution, 1001).workload()
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

    /// A network of random inverted bottlenecks, with squeeze-excite and h-swish in some of them.
    pub(crate) fn network(&mut self, resolution: u32) -> Workload {
        use Activation::{HSwish, Relu};
        let stages = [(24, 2, Relu, false), (40, 2, Relu, true), (80, 2, HSwish, false), (160, 2, HSwish, true)];
        let mut at = Map::new(resolution.div_ceil(2), 16);
        let stem = Conv { kernel: 3, stride: 2, padding: 1, ..Conv::plain(Map::new(resolution, 3), at) };
        let mut ops = vec![Op::Conv(Conv { batch_norm: true, activation: HSwish, ..stem })];
        for (width, stride, activation, squeeze_excite) in stages {
            for index in 0..self.pick(&[2, 3, 4]) {
                let (kernel, stride) = (self.pick(&[3, 5, 7]), if index == 0 { stride } else { 1 });
                let output = Map::new(at.size.div_ceil(stride), width);
                let mid_channels = make_divisible(f64::from(at.channels * self.pick(&[3, 4, 6])));
                ops.push(Op::InvertedBottleneck(InvertedBottleneck {
                    input: at,
                    output,
                    mid_channels,
                    kernel,
                    stride,
                    padding: kernel / 2,
                    groups: 1,
                    expand_conv: true,
                    se_channels: squeeze_excite.then(|| make_divisible(f64::from(mid_channels / 4))),
                    activation,
                    output_activation: Activation::None,
                    residual: at == output,
                }));
                at = output;
            }
        }
        let wide = Map::new(at.size, 960);
        ops.push(Op::Conv(Conv { batch_norm: true, activation: HSwish, ..Conv::plain(at, wide) }));
        ops.push(Op::Pool(Pool::global(wide)));
        let (input, activation) = (Map::new(1, 960), Activation::None);
        ops.push(Op::Linear(Linear { input, outputs: 1000, bias: true, activation }));
        Workload { resolution, ops }
    }
}
