//! One operator as a model: batch norm folded, fp32, batch 1, random weights, since no operator's time depends on them.

use network::layers::{Layer, LayerKind, Read};
use network::op::{Activation, Map, Op};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::file::Graph;
use super::layer::{Filters, Part, Value};

/// The bytes of an ONNX file that computes `op` of the tensor `input`; what the operator reads beside its first input is
/// that tensor again.
pub fn operator_model(name: &str, op: &Op) -> Vec<u8> {
    let layers = op.layers();
    let map = |Map { size, channels }: Map| [1, i64::from(channels), i64::from(size), i64::from(size)];
    let (input, output) = (map(op.input()), map(op.output()));
    // A fully connected layer of a vector takes and gives `[N, C]`.
    let is_vector = matches!(op, Op::Linear(linear) if linear.input.size == 1);
    let mut graph = Graph::new(name, if is_vector { &input[..2] } else { &input });
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let input = Value { name: "input".to_owned(), is_vector };
    let mut made: Vec<Value> = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        let of = |read: &Read| match read {
            Read::Input(_) => input.clone(),
            Read::Layer(at) => made[*at].clone(),
        };
        let inputs: Vec<Value> = layer.reads.iter().map(of).collect();
        let [weight, bias] = weights(layer, &mut rng);
        let part = Part {
            name: &format!("layer{at}"),
            layer,
            filters: Filters::Float(&weight, &bias),
            activation: Activation::None,
        };
        made.push(part.add(&mut graph, &inputs));
    }
    let result = made.pop().unwrap_or(input);
    graph.finish(&result.name, if result.is_vector { &output[..2] } else { &output }, &[])
}

/// Weights that leave the size of numbers about as it is, and biases of 0.
fn weights(layer: &Layer, rng: &mut ChaCha8Rng) -> [Vec<f32>; 2] {
    let outputs = match layer.kind {
        LayerKind::Conv(..) | LayerKind::Depthwise(..) | LayerKind::Linear(_) => u64::from(layer.output.channels),
        _ => return [Vec::new(), Vec::new()],
    };
    let fan_in = layer.weight_count() / outputs.max(1);
    let most = (3.0 / fan_in as f32).sqrt();
    [(0..layer.weight_count()).map(|_| rng.random_range(-most..most)).collect(), vec![0.0; outputs as usize]]
}

#[cfg(test)]
mod tests {
    use network::published;

    use super::super::file::walk;
    use super::*;

    #[test]
    fn a_model_computes_what_its_operator_does() {
        for name in ["mobilenet-v1", "mobilenet-v2", "resnet8"] {
            for node in published::network(name, None).unwrap().nodes() {
                let (op, Map { size, channels }) = (&node.op, node.op.output());
                let (shape, macs) = walk(&operator_model("it", op));
                assert_eq!(macs, op.macs().0, "{op}");
                let expected = [1, i64::from(channels), i64::from(size), i64::from(size)];
                assert_eq!(shape, &expected[..if matches!(op, Op::Linear(_)) { 2 } else { 4 }], "{op}");
            }
        }
    }
}
