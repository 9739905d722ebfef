//! What a model fitted to whole networks counts in an operator.
//!
//! Counts are sums over the layers of an operator (an inverted bottleneck has two or three, and four more in its
//! squeeze-excite), so that a model of networks is a model of operators. There are two sets of them, chosen by how many
//! networks there are to fit to, about ten for a coefficient.
//!
//! [`BASIC`], for a few dozen networks:
//! - `macs_pointwise`: MACs of 1×1 convolutions, of convolutions without groups and of linear layers;
//! - `macs_depthwise`: MACs of depthwise convolutions;
//! - `elements`: outputs and weights of every layer, and what a pooling reads: memory traffic;
//! - `pixels`: positions of the output of every layer, whatever its width: the part of a layer that narrow channels do
//!   not fill. It lowers the leave-one-out error of energy on four of the five shipped boards, by a tenth to a third.
//!   Positions of a depthwise convolution count in proportion to its taps, 1 for the kernel 3 of all networks measured
//!   there: those networks leave open how its cost divides into MACs and positions, and no wider kernel may come free;
//! - `layers`: what every layer costs before it computes anything.
//!
//! [`DETAILED`], for hundreds of networks: `macs_pointwise`, `layers` and
//! - `dense_elements`: inputs and outputs of 1×1 and dense convolutions and of linear layers;
//! - `depthwise_outputs`, `…_5`, `…_7`: outputs of depthwise convolutions of stride 1; of those from kernel 5 on; of
//!   those from kernel 7 on, beyond 7 in proportion to the taps. What a wider kernel costs more is a coefficient of its
//!   own, because GPUs run kernels 3, 5 and 7 by different code, and it cannot be negative;
//! - `strided_outputs`, `…_5`, `…_7`: the same of those with a stride, which other code runs again;
//! - `depthwise_channels`: channels of depthwise convolutions: phones and server CPUs go through them one by one, and
//!   FBNet's maps are small;
//! - `squeeze_excites`, `squeeze_excite_weights`; `hswishes`, `hswish_elements`; `residuals`: runs of their own on a GPU;
//! - `grouped`, `grouped_elements`: 1×1 convolutions with groups, and what they read and write.
//!
//! Residuals count for blocks as well: in OFA's networks all blocks but five have one, so their number says the same.
//!
//! Each earns its place: on the first 2,000 networks of HELP's files, 1,400 to fit and 600 to judge, the geometric mean
//! error over 13 settings rises without it by 19 to 20 % (`depthwise_outputs_5`, `…_7`), 12 and 9 % (`strided_outputs_7`,
//! `…_5`), 11 % (`depthwise_channels`; on a server CPU it doubles), 8 % (`squeeze_excites`), 7 % (`grouped`), 3 %
//! (`dense_elements`, `strided_outputs`), 2 % (`depthwise_outputs`), 1.4 % (`macs_pointwise`, `hswishes`,
//! `hswish_elements`), 0.8 % (`squeeze_excite_weights`), 0.6 % (`residuals`), 0.3 % (`grouped_elements`). `layers` stay so
//! that nothing is free. What was tried and takes off less than half a per cent: weights, channels in groups of 64,
//! pixels, depthwise MACs, inputs, positions and layers, elements of squeeze-excites and of residuals.
//! `scripts/compare-network-latency --ablation` prints what each is worth on networks that none of this has seen.

use crate::model::features::hswish_elements;
use network::layers::{Layer, LayerKind, Weights};
use network::op::{Activation, Op, Workload};

macro_rules! counts {
    ($($(#[$doc:meta])* $count:ident = $name:literal),+ $(,)?) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Count { $($(#[$doc])* $count),+ }

        impl Count {
            /// Every count.
            pub const ALL: [Count; COUNTS] = [$(Count::$count),+];

            /// The name in files.
            pub fn name(self) -> &'static str {
                match self { $(Count::$count => $name),+ }
            }
        }

        const COUNTS: usize = [$($name),+].len();
    };
}

counts! {
    /// What every layer costs before it computes anything.
    Layers = "layers",
    /// MACs of all convolutions but depthwise ones, and of linear layers.
    MacsPointwise = "macs_pointwise",
    /// MACs of depthwise convolutions.
    MacsDepthwise = "macs_depthwise",
    /// Outputs and weights of every layer, and what a pooling reads.
    Elements = "elements",
    /// Positions of the output of every layer.
    Pixels = "pixels",
    /// Inputs and outputs of all convolutions but depthwise ones, and of linear layers.
    DenseElements = "dense_elements",
    /// Outputs of depthwise convolutions of stride 1.
    DepthwiseOutputs = "depthwise_outputs",
    /// Outputs of those from kernel 5 on.
    DepthwiseOutputs5 = "depthwise_outputs_5",
    /// Outputs of those from kernel 7 on.
    DepthwiseOutputs7 = "depthwise_outputs_7",
    /// Outputs of depthwise convolutions with a stride.
    StridedOutputs = "strided_outputs",
    /// Outputs of those from kernel 5 on.
    StridedOutputs5 = "strided_outputs_5",
    /// Outputs of those from kernel 7 on.
    StridedOutputs7 = "strided_outputs_7",
    /// Channels of depthwise convolutions.
    DepthwiseChannels = "depthwise_channels",
    /// Squeeze-excite modules.
    SqueezeExcites = "squeeze_excites",
    /// Their weights.
    SqueezeExciteWeights = "squeeze_excite_weights",
    /// Passes of h-swish.
    Hswishes = "hswishes",
    /// Elements that pass an h-swish.
    HswishElements = "hswish_elements",
    /// Sums of a block's input and output.
    Residuals = "residuals",
    /// 1×1 convolutions with groups.
    Grouped = "grouped",
    /// What those read and write.
    GroupedElements = "grouped_elements",
}

impl Count {
    /// Reads [`Count::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|count| count.name() == name)
    }
}

/// For a few dozen networks.
pub(crate) const BASIC: [Count; 5] =
    [Count::MacsPointwise, Count::MacsDepthwise, Count::Elements, Count::Pixels, Count::Layers];
/// For hundreds of networks.
pub const DETAILED: [Count; 17] = [
    Count::MacsPointwise,
    Count::DenseElements,
    Count::DepthwiseOutputs,
    Count::DepthwiseOutputs5,
    Count::DepthwiseOutputs7,
    Count::StridedOutputs,
    Count::StridedOutputs5,
    Count::StridedOutputs7,
    Count::DepthwiseChannels,
    Count::SqueezeExcites,
    Count::SqueezeExciteWeights,
    Count::Hswishes,
    Count::HswishElements,
    Count::Residuals,
    Count::Layers,
    Count::Grouped,
    Count::GroupedElements,
];

/// Taps of every depthwise convolution in the networks of few that [`BASIC`] is for.
const MEASURED_TAPS: f64 = 9.0;
/// Taps of the widest kernel of HELP's networks.
const WIDEST_TAPS: f64 = 49.0;

/// One value for each [`Count`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts([f64; COUNTS]);

impl Counts {
    fn count(&mut self, what: Count, count: f64) {
        self.0[what as usize] += count;
    }

    pub(crate) fn get(&self, what: Count) -> f64 {
        self.0[what as usize]
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, other)| *sum += other);
    }

    /// Every count with its value.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Count, f64)> + '_ {
        Count::ALL.into_iter().zip(self.0)
    }

    /// A convolution or linear layer of `weights` weights with outputs of `area` positions × `channels`, which reads
    /// `inputs` elements.
    fn dense(&mut self, inputs: f64, area: f64, channels: f64, weights: f64, groups: u32) {
        self.count(Count::MacsPointwise, area * weights);
        self.count(Count::Elements, area * channels + weights);
        self.count(Count::Pixels, area);
        self.count(Count::Layers, 1.0);
        self.count(Count::DenseElements, inputs + area * channels);
        if groups > 1 {
            self.count(Count::Grouped, 1.0);
            self.count(Count::GroupedElements, inputs + area * channels);
        }
    }

    fn depthwise(&mut self, area: f64, channels: f64, kernel: u32, stride: u32) {
        let (taps, outputs) = (f64::from(kernel).powi(2), area * channels);
        self.count(Count::MacsDepthwise, outputs * taps);
        self.count(Count::Elements, outputs + channels * taps);
        self.count(Count::Pixels, area * taps / MEASURED_TAPS);
        self.count(Count::Layers, 1.0);
        self.count(Count::DepthwiseChannels, channels);
        let names = match stride {
            1 => [Count::DepthwiseOutputs, Count::DepthwiseOutputs5, Count::DepthwiseOutputs7],
            _ => [Count::StridedOutputs, Count::StridedOutputs5, Count::StridedOutputs7],
        };
        self.count(names[0], outputs);
        if kernel >= 5 {
            self.count(names[1], outputs);
        }
        if kernel >= 7 {
            self.count(names[2], outputs * taps / WIDEST_TAPS);
        }
    }
}

/// Counts of an operator but for squeeze-excite and h-swish.
pub(crate) fn plain(op: &Op) -> Counts {
    let mut sum = Counts::default();
    for layer in op.layers().iter().filter(|layer| !is_squeeze_excite(layer)) {
        let (inputs, outputs) = (layer.input.elements() as f64, layer.output.elements() as f64);
        let (area, channels) = (layer.output.area() as f64, f64::from(layer.output.channels));
        match layer.kind {
            LayerKind::Conv(_, Weights { groups, .. }) | LayerKind::Linear(Weights { groups, .. }) => {
                sum.dense(inputs, area, channels, layer.weight_count() as f64, groups);
            }
            LayerKind::Depthwise(window, _) => sum.depthwise(area, channels, window.kernel, window.stride),
            LayerKind::Pool(..) | LayerKind::LocalResponse { .. } => {
                sum.count(Count::Elements, inputs);
                sum.count(Count::Pixels, area);
                sum.count(Count::Layers, 1.0);
            }
            LayerKind::Concat => sum.count(Count::Elements, outputs),
            LayerKind::Add => sum.count(Count::Residuals, 1.0),
            LayerKind::Scale | LayerKind::Activation(_) | LayerKind::BatchNorm => {}
        }
    }
    sum
}

fn is_squeeze_excite(layer: &Layer) -> bool {
    layer.part.starts_with("se.")
}

/// Squeeze-excite and h-swish of an operator by their own names.
pub(crate) fn extras(op: &Op) -> Counts {
    let mut sum = Counts::default();
    for layer in op.layers() {
        match layer.kind {
            LayerKind::Scale => sum.count(Count::SqueezeExcites, 1.0),
            LayerKind::Activation(Activation::HSwish) => {
                sum.count(Count::Hswishes, 1.0);
                sum.count(Count::HswishElements, layer.output.elements() as f64);
            }
            _ if is_squeeze_excite(&layer) => sum.count(Count::SqueezeExciteWeights, layer.weight_count() as f64),
            _ => {}
        }
    }
    sum
}

/// Sums over the operators of a network, in the order of [`DETAILED`].
pub fn detailed_counts(network: &Workload) -> Vec<f64> {
    let mut sum = Counts::default();
    for op in &network.ops {
        sum.add(&plain(op));
        sum.add(&extras(op));
    }
    DETAILED.iter().map(|count| sum.get(*count)).collect()
}

/// What stands for squeeze-excite and h-swish where no measured network has them: an h-swish is one more pass over its
/// elements; a squeeze-excite is a pooling of what the depthwise convolution wrote, two linear layers, and a pass that
/// scales it. A pass counts as `elements`, and as a 3×3 depthwise convolution, which reads and writes as much, where
/// those are not counted.
pub(crate) fn stand_ins(op: &Op, is_measured: impl Fn(Count) -> bool) -> Counts {
    let mut sum = Counts::default();
    let pass = |sum: &mut Counts, elements: f64| {
        sum.count(Count::Elements, elements);
        sum.count(Count::DepthwiseOutputs, elements);
    };
    if !is_measured(Count::Hswishes) {
        pass(&mut sum, hswish_elements(op));
    }
    if is_measured(Count::SqueezeExcites) {
        return sum;
    }
    for layer in op.layers().iter().filter(|layer| is_squeeze_excite(layer)) {
        match layer.kind {
            LayerKind::Scale => {
                pass(&mut sum, 2.0 * layer.output.elements() as f64);
                sum.count(Count::Layers, 2.0);
            }
            LayerKind::Conv(..) => {
                let (inputs, outputs) = (f64::from(layer.input.channels), f64::from(layer.output.channels));
                sum.dense(inputs, 1.0, outputs, layer.weight_count() as f64, 1);
            }
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table_op::TableOp;
    use crate::testing::{mobilenet_v1, mobilenet_v2};

    #[test]
    fn counts_agree_with_the_macs_of_the_operators() {
        for network in [mobilenet_v1(100, 224), mobilenet_v2(35, 96)] {
            let macs = |op: &Op| plain(op).get(Count::MacsPointwise) + plain(op).get(Count::MacsDepthwise);
            assert_eq!(network.ops.iter().map(macs).sum::<f64>(), network.macs().0 as f64);
        }
    }

    #[test]
    fn every_named_count_is_counted_once() {
        for (at, count) in Count::ALL.into_iter().enumerate() {
            assert_eq!((count as usize, Count::parse(count.name())), (at, Some(count)));
        }
        assert_eq!(Count::parse("flops"), None);
        let block = TableOp::of(&mobilenet_v2(100, 224).ops[4]).unwrap();
        let rich = TableOp {
            stride: 1,
            se_channels: 24,
            activation: Activation::HSwish,
            groups: 2,
            kernel: 7,
            residual: true,
            ..block
        };
        let mut sum = plain(&rich.op());
        sum.add(&extras(&rich.op()));
        sum.add(&plain(&TableOp { stride: 2, ..rich }.op()));
        assert!(sum.each().all(|(_, count)| count > 0.0), "{sum:?}");
        assert_eq!(sum.get(Count::SqueezeExciteWeights), 2.0 * f64::from(block.mid_channels) * 24.0);
    }

    #[test]
    fn a_wider_kernel_counts_no_less_of_anything() {
        let block = TableOp::of(&mobilenet_v2(100, 224).ops[4]).unwrap();
        let of = |kernel| plain(&TableOp { kernel, stride: 1, ..block }.op());
        for (narrow, wide) in [(3, 5), (5, 7), (7, 9), (9, 13)] {
            assert!(of(narrow).each().zip(of(wide).each()).all(|((_, a), (_, b))| a <= b), "{narrow} {wide}");
        }
        assert!(of(9).get(Count::DepthwiseOutputs7) > of(7).get(Count::DepthwiseOutputs7));
    }
}
