//! A whole network in int8: float operators between pairs that round to int8 and make real again (`QuantizeLinear`,
//! `DequantizeLinear`), which runtimes turn into int8 operators.

use network::integer::{IntegerNetwork, Numbers, Scale};
use network::op::Map;

use super::file::{BATCH, Graph};
use super::layer::{Filters, Part, Value};
use super::model::{INPUT, finished, inputs_of};

/// The bytes of an ONNX file (operator set 17) of `network`: it reads `input`, the bytes of pixels, uint8,
/// `[batch, channels, height, width]`, and makes `output` as float32. `facts` as of
/// [`network_model`](super::network_model).
pub fn int8_network_model(name: &str, network: &IntegerNetwork, facts: &[(String, String)]) -> Vec<u8> {
    model(name, network, facts, |_, _| None)
}

/// The same, with the filters of the layers, which `held` is asked about by place, in values of the graph that hold them
/// already.
pub(super) fn model(
    name: &str,
    network: &IntegerNetwork,
    facts: &[(String, String)],
    mut held: impl FnMut(&mut Graph, usize) -> Option<String>,
) -> Vec<u8> {
    let shape = |Map { size, channels }: Map| [BATCH, i64::from(channels), i64::from(size), i64::from(size)];
    let mut graph = Graph::of_bytes(name, &shape(network.input));
    let scale = graph.weights(format!("{INPUT}.scale"), &[], &[network.image.scale]);
    let zero = graph.byte(format!("{INPUT}.zero"), (network.image.zero_point + 128) as u8);
    let real = graph.conversion(format!("{INPUT}.real"), "DequantizeLinear", &[INPUT, &scale, &zero], Vec::new());
    let image = Value { name: real, is_vector: false };
    let mut made: Vec<Value> = Vec::new();
    for (at, layer) in network.layers.iter().enumerate() {
        let held = held(&mut graph, at);
        let inputs = inputs_of(&layer.layer, &image, &made);
        let filters = match &layer.numbers {
            Numbers::Plain => Filters::Float(&[], &[]),
            Numbers::Int8(weights) => {
                Filters::Int8(weights, network.scale_of(layer.layer.reads[0]).scale, held.as_deref())
            }
            Numbers::Float32 { weight, bias } => Filters::Float(weight, bias),
        };
        let part = Part { name: &layer.name, layer: &layer.layer, filters, activation: layer.activation };
        let Value { name, is_vector } = part.add(&mut graph, &inputs);
        made.push(Value { name: rounded(&mut graph, &layer.name, &name, layer.scale), is_vector });
    }
    let last = made.pop().unwrap_or(image);
    finished(graph, &last, shape(network.output()), facts)
}

/// The value `from` rounded to int8 and made real again.
fn rounded(graph: &mut Graph, layer: &str, from: &str, scale: Scale) -> String {
    let step = graph.weights(format!("{layer}.scale"), &[], &[scale.scale]);
    let zero = graph.zero_points(&[], &[scale.zero_point as i8]);
    let numbers = graph.conversion(format!("{layer}.int8"), "QuantizeLinear", &[from, &step, &zero], Vec::new());
    graph.conversion(format!("{layer}.real"), "DequantizeLinear", &[&numbers, &step, &zero], Vec::new())
}

#[cfg(test)]
mod tests {
    use super::super::file::walk;
    use crate::int8::tests::{network_of_pixels, shapes};

    use super::*;

    #[test]
    fn an_int8_model_has_the_shapes_of_its_network() {
        for (name, shape) in shapes() {
            let network = network_of_pixels(&shape);
            let (output, macs) = walk(&int8_network_model(name, &network, &[]));
            let expected: u64 = network.layers.iter().map(|layer| layer.layer.macs().0).sum();
            assert_eq!((output, macs), (vec![1, i64::from(shape.output().channels)], expected), "{name}");
        }
    }
}
