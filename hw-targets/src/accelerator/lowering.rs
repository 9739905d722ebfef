//! One of our own networks as layers of an accelerator.

use super::layer::{Layer, LayerShape, TensorShape};
use crate::error::HwError;
use network::workload::{Op, OpKind, Workload};

/// Bits of every entry: what the published figures use.
const BITS: u64 = 16;

/// A convolution before padding is worked out.
struct Conv {
    part: &'static str,
    in_size: u32,
    in_channels: u32,
    out_size: u32,
    out_channels: u32,
    kernel: u32,
    stride: u32,
    groups: u32,
}

/// The convolutions and fully connected layers of a network: 16-bit, without zeros, `images` computed together.
///
/// An inverted bottleneck becomes expand, depthwise and project convolutions, with the two layers of squeeze-excite
/// between the latter. Pooling, activations, additions and the scaling of squeeze-excite have no weights and are not
/// counted. Zeros depend on images and training, which a shape does not know; so this is an upper bound where zeros are
/// skipped.
///
/// # Errors
/// [`HwError::NotALayer`] for an operator whose shape makes no sense.
pub fn layers_of(workload: &Workload, images: u64) -> Result<Vec<Layer>, HwError> {
    let parts = |(at, op)| convs(op).into_iter().map(move |conv| (at, op, conv));
    workload.ops.iter().enumerate().flat_map(parts).map(|(at, op, conv)| layer(at, op, &conv, images)).collect()
}

fn convs(op: &Op) -> Vec<Conv> {
    let point = |part, size, in_channels, out_channels, groups| Conv {
        part,
        in_size: size,
        in_channels,
        out_size: size,
        out_channels,
        kernel: 1,
        stride: 1,
        groups,
    };
    match op.kind {
        OpKind::AvgPool => Vec::new(),
        OpKind::Linear => vec![point("linear", 1, op.in_channels, op.out_channels, 1)],
        OpKind::Conv => vec![Conv {
            part: "conv",
            in_size: op.in_size,
            in_channels: op.in_channels,
            out_size: op.out_size,
            out_channels: op.out_channels,
            kernel: op.kernel,
            stride: op.stride,
            groups: op.groups,
        }],
        OpKind::MbConv => {
            let mid = op.mid_channels;
            let mut convs = Vec::new();
            if op.expand_conv {
                convs.push(point("expand", op.in_size, op.in_channels, mid, op.groups));
            }
            convs.push(Conv {
                part: "depthwise",
                in_size: op.in_size,
                in_channels: mid,
                out_size: op.out_size,
                out_channels: mid,
                kernel: op.kernel,
                stride: op.stride,
                groups: mid,
            });
            if op.se_channels > 0 {
                convs.push(point("squeeze", 1, mid, op.se_channels, 1));
                convs.push(point("excite", 1, op.se_channels, mid, 1));
            }
            convs.push(point("project", op.out_size, mid, op.out_channels, op.groups));
            convs
        }
    }
}

fn layer(at: usize, op: &Op, conv: &Conv, images: u64) -> Result<Layer, HwError> {
    let u = u64::from;
    // Padding that gives the output its size, the odd row and column at the end.
    let covered = (u(conv.out_size).max(1) - 1) * u(conv.stride) + u(conv.kernel);
    let padding = covered.saturating_sub(u(conv.in_size));
    let map = |size: u32, channels: u32| TensorShape {
        height: u(size),
        width: u(size),
        channels: u(channels),
        count: images,
        zeros: 0,
        bits: BITS,
    };
    let wrong = |problem: String| HwError::NotALayer { op: op.to_string(), problem };
    if conv.groups == 0 || !conv.in_channels.is_multiple_of(conv.groups) {
        return Err(wrong(format!("{} channels cannot be shared out to {} groups", conv.in_channels, conv.groups)));
    }
    let kernel = TensorShape {
        count: u(conv.out_channels),
        ..TensorShape { channels: u(conv.in_channels / conv.groups), ..map(conv.kernel, 1) }
    };
    let shape = LayerShape {
        ifmap: map(conv.in_size, conv.in_channels),
        filter: kernel,
        ofmap: map(conv.out_size, conv.out_channels),
        stride: [u(conv.stride); 2],
        padding: [padding / 2, padding.div_ceil(2), padding / 2, padding.div_ceil(2)],
    };
    Layer::new(format!("{} {}", at + 1, conv.part), &shape)
        .map_err(|problem| wrong(format!("{}: {}", problem.field, problem.problem)))
}

#[cfg(test)]
mod tests {
    use super::super::{Accelerator, estimate_network};
    use super::*;
    use crate::reference_networks::Picker;
    use crate::reference_networks::{fbnet, mbv3};

    #[test]
    fn lowered_networks_keep_their_macs_and_map() {
        let mut picker = Picker(3);
        let networks =
            [mbv3(&picker.mbv3(), 224, 120), mbv3(&picker.mbv3(), 160, 120), fbnet(&picker.fbnet(), 32, false, 100)];
        for workload in networks {
            let layers = layers_of(&workload, 1).unwrap();
            let energy = estimate_network(&layers, &Accelerator::builtin("eyeriss").unwrap()).unwrap();
            assert_eq!(energy.sum(|layer| layer.macs), workload.macs().0 as f64);
            assert!(energy.total() > 5.0 * energy.sum(|layer| layer.macs));
        }
    }

    #[test]
    fn a_depthwise_layer_has_no_partial_sums_between_channels() {
        let mut picker = Picker(3);
        let layers = layers_of(&mbv3(&picker.mbv3(), 224, 120), 1).unwrap();
        let depthwise = layers.iter().find(|layer| layer.name().ends_with("depthwise")).unwrap();
        assert_eq!((depthwise.channels, depthwise.filters), (1, 1));
        let energy = super::super::estimate(depthwise, &Accelerator::builtin("eyeriss").unwrap()).unwrap();
        assert_eq!(energy.ofmap.global_buffer, 0.0);
    }
}
