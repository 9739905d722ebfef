//! One operator as a model: batch norm folded, fp32, batch 1, random weights, since no operator's time depends on them.

use network::layers::{Layer, LayerKind, Read, Window};
use network::op::{Activation, Map, Op, PoolKind};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::file::{Attribute, Graph};

/// The bytes of an ONNX file that computes `op` of the tensor `input`; what the operator reads beside its first input is
/// that tensor again.
pub fn operator_model(name: &str, op: &Op) -> Vec<u8> {
    let layers = op.layers();
    let map = |Map { size, channels }: Map| [1, i64::from(channels), i64::from(size), i64::from(size)];
    let (input, output) = (map(op.input()), map(op.output()));
    // A fully connected layer of a vector takes and gives `[N, C]`.
    let is_vector = matches!(op, Op::Linear(linear) if linear.input.size == 1);
    let graph = Graph::new(name, if is_vector { &input[..2] } else { &input });
    let mut builder = Builder { graph, rng: ChaCha8Rng::seed_from_u64(0) };
    let mut made: Vec<String> = Vec::new();
    for layer in &layers {
        let of = |read: &Read| match read {
            Read::Input(_) => "input".to_owned(),
            Read::Layer(at) => made[*at].clone(),
        };
        let inputs: Vec<String> = layer.reads.iter().map(of).collect();
        made.push(builder.layer(layer, &inputs));
    }
    let result = made.pop().unwrap_or_else(|| "input".to_owned());
    builder.graph.finish(&result, if matches!(op, Op::Linear(_)) { &output[..2] } else { &output })
}

struct Builder {
    graph: Graph,
    rng: ChaCha8Rng,
}

impl Builder {
    /// Adds a layer that reads `inputs`; the name of what it makes.
    fn layer(&mut self, layer: &Layer, inputs: &[String]) -> String {
        let all: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let first = all[0];
        let outputs = layer.output.channels;
        match layer.kind {
            LayerKind::Conv(window, weights) => self.conv(first, layer, window, i64::from(weights.groups)),
            LayerKind::Depthwise(window, _) => self.conv(first, layer, window, i64::from(layer.input.channels)),
            LayerKind::Linear(_) => {
                let flat = match layer.input.size {
                    1 => first.to_owned(),
                    _ => self.graph.node("Flatten", &[first], Vec::new()),
                };
                let weight = self.weights(&[i64::from(outputs), layer.input.elements() as i64]);
                let bias = self.zeros(outputs);
                self.graph.node("Gemm", &[&flat, &weight, &bias], vec![("transB", Attribute::Int(1))])
            }
            LayerKind::Pool(PoolKind::Average, window)
                if layer.output.size == 1 && window.kernel >= layer.input.size =>
            {
                self.graph.node("GlobalAveragePool", &[first], Vec::new())
            }
            LayerKind::Pool(kind, window) => {
                let word = if kind == PoolKind::Max { "MaxPool" } else { "AveragePool" };
                self.graph.node(word, &[first], attributes(layer, window))
            }
            LayerKind::Add => self.graph.node("Add", &all, Vec::new()),
            LayerKind::Concat => self.graph.node("Concat", &all, vec![("axis", Attribute::Int(1))]),
            LayerKind::Scale => self.graph.node("Mul", &all, Vec::new()),
            LayerKind::Activation(activation) => self.activation(first, activation),
            // Folded into the weights before it.
            LayerKind::BatchNorm => first.to_owned(),
            LayerKind::LocalResponse { window, scale, power, bias } => {
                let attributes = vec![
                    ("size", Attribute::Int(i64::from(window))),
                    ("alpha", Attribute::Float(scale.0 as f32)),
                    ("beta", Attribute::Float(power.0 as f32)),
                    ("bias", Attribute::Float(bias.0 as f32)),
                ];
                self.graph.node("LRN", &[first], attributes)
            }
        }
    }

    fn conv(&mut self, from: &str, layer: &Layer, window: Window, groups: i64) -> String {
        let (inputs, outputs) = (i64::from(layer.input.channels), i64::from(layer.output.channels));
        let kernel = i64::from(window.kernel);
        let weight = self.weights(&[outputs, inputs / groups, kernel, kernel]);
        let bias = self.zeros(layer.output.channels);
        let mut attributes = attributes(layer, window);
        attributes.push(("group", Attribute::Int(groups)));
        self.graph.node("Conv", &[from, &weight, &bias], attributes)
    }

    fn activation(&mut self, from: &str, activation: Activation) -> String {
        match activation {
            Activation::None => from.to_owned(),
            Activation::Relu => self.graph.node("Relu", &[from], Vec::new()),
            Activation::Relu6 => {
                let (least, most) = (self.graph.weights(&[], &[0.0]), self.graph.weights(&[], &[6.0]));
                self.graph.node("Clip", &[from, &least, &most], Vec::new())
            }
            Activation::HSwish => self.graph.node("HardSwish", &[from], Vec::new()),
            Activation::HSigmoid => {
                // x / 6 + 1/2 between 0 and 1, as h-swish has it.
                let sixth = vec![("alpha", Attribute::Float(1.0 / 6.0)), ("beta", Attribute::Float(0.5))];
                self.graph.node("HardSigmoid", &[from], sixth)
            }
        }
    }

    /// Weights that leave the size of numbers about as it is.
    fn weights(&mut self, shape: &[i64]) -> String {
        let fan_in: i64 = shape[1..].iter().product();
        let most = (3.0 / fan_in as f32).sqrt();
        let count: i64 = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| self.rng.random_range(-most..most)).collect();
        self.graph.weights(shape, &values)
    }

    fn zeros(&mut self, count: u32) -> String {
        self.graph.weights(&[i64::from(count)], &vec![0.0; count as usize])
    }
}

/// How a window moves; padding on both sides alike where that gives the output its size.
fn attributes(layer: &Layer, window: Window) -> Vec<(&'static str, Attribute)> {
    let [kernel, stride, above] = [window.kernel, window.stride, window.padding].map(i64::from);
    let (input, output) = (layer.input.size, layer.output.size);
    let below = if window.is_even(input, output) { above } else { window.below(input, output).max(0) };
    vec![
        ("kernel_shape", Attribute::Ints(vec![kernel; 2])),
        ("strides", Attribute::Ints(vec![stride; 2])),
        ("pads", Attribute::Ints(vec![above, above, below, below])),
    ]
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
