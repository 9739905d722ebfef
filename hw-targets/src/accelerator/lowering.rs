//! One of our own networks as layers of an accelerator.

use super::layer::{Layer, LayerShape, TensorShape};
use crate::error::HwError;
use network::layers::{Format, LayerKind, Window};
use network::op::{Op, Workload};

/// Bits of every entry: what the published figures use.
const BITS: u64 = 16;

/// The convolutions and fully connected layers of a network: 16-bit, without zeros, `images` computed together.
///
/// An inverted bottleneck becomes expand, depthwise and project convolutions, with the two layers of squeeze-excite
/// between the latter. Pooling, activations, additions and the scaling of squeeze-excite have no weights and are not
/// counted. Zeros depend on images and training, which operators do not know; so this is an upper bound where zeros are
/// skipped.
///
/// # Errors
/// [`HwError::NotALayer`] for an operator whose shape makes no sense.
pub fn layers_of(workload: &Workload, images: u64) -> Result<Vec<Layer>, HwError> {
    let mut layers = Vec::new();
    for (at, op) in workload.ops.iter().enumerate() {
        for part in op.layers().iter().filter(|layer| layer.is_weighted()) {
            layers.push(layer(at, op, part, images)?);
        }
    }
    Ok(layers)
}

/// What a weighted layer is called in a list: the name of the operator's kind where it is all there is.
fn name(op: &Op, part: &network::layers::Layer) -> String {
    match part.role() {
        "" => op.word().to_owned(),
        "se.reduce" => "squeeze".to_owned(),
        "se.expand" => "excite".to_owned(),
        role => role.to_owned(),
    }
}

fn layer(at: usize, op: &Op, part: &network::layers::Layer, images: u64) -> Result<Layer, HwError> {
    let u = u64::from;
    let (window, groups) = match part.kind {
        LayerKind::Conv(window, weights) => (window, u(weights.groups)),
        LayerKind::Depthwise(window, _) => (window, u(part.input.channels)),
        _ => (Window { kernel: part.input.size, stride: 1, padding: 0 }, 1),
    };
    let wrong = |problem: String| HwError::NotALayer { op: op.to_string(), problem };
    let (inputs, outputs) = (u(part.input.channels), u(part.output.channels));
    if groups == 0 || !inputs.is_multiple_of(groups) {
        return Err(wrong(format!("{inputs} channels cannot be shared out to {groups} groups")));
    }
    // The rows below that give the output its size.
    let below = window.below(part.input.size, part.output.size).max(0).unsigned_abs();
    let map = |size: u32, channels: u64, count: u64, format: Format| {
        let entries = (u(size) * u(size) * channels * count) as f64;
        let zeros = ((1.0 - format.density) * entries).round() as u64;
        let bits = format.bits.map_or(BITS, u);
        TensorShape { height: u(size), width: u(size), channels, count, zeros, bits }
    };
    let shape = LayerShape {
        ifmap: map(part.input.size, inputs, images, part.inputs),
        filter: map(window.kernel, inputs / groups, outputs, part.weights),
        ofmap: map(part.output.size, outputs, images, Format::DENSE),
        stride: [u(window.stride); 2],
        padding: [u(window.padding), below, u(window.padding), below],
    };
    Layer::new(format!("{} {}", at + 1, name(op, part)), &shape)
        .map_err(|problem| wrong(format!("{}: {}", problem.field, problem.problem)))
}

#[cfg(test)]
mod tests {
    use super::super::{Accelerator, estimate_network};
    use super::*;
    use crate::testing::Picker;

    #[test]
    fn lowered_networks_keep_their_macs_and_map() {
        let mut picker = Picker(3);
        let networks = [picker.network(224), picker.network(160), picker.network(32)];
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
        let layers = layers_of(&picker.network(224), 1).unwrap();
        let depthwise = layers.iter().find(|layer| layer.name().ends_with("depthwise")).unwrap();
        assert_eq!((depthwise.channels, depthwise.filters), (1, 1));
        let energy = super::super::estimate(depthwise, &Accelerator::builtin("eyeriss").unwrap()).unwrap();
        assert_eq!(energy.ofmap.global_buffer, 0.0);
    }
}
