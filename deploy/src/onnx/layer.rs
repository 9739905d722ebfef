//! One layer as nodes of a graph.

use network::integer::IntegerWeights;
use network::layers::{Layer, LayerKind, Window};
use network::op::{Activation, PoolKind};

use super::file::{Attribute, Graph};

/// A value of a graph.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) name: String,
    /// Whether it is `[N, C]`, as fully connected layers take and give it, and not `[N, C, H, W]`.
    pub(super) is_vector: bool,
}

/// What a layer is computed with.
#[derive(Clone, Copy)]
pub(super) enum Filters<'n> {
    /// Filters and biases, empty where there are none.
    Float(&'n [f32], &'n [f32]),
    /// A value of the graph, and biases; none where there are none.
    Named(&'n str, &'n [f32]),
    /// In int8, made real before they are used, and the scale of what they multiply; the value of the graph that holds the
    /// filters, if one does.
    Int8(&'n IntegerWeights, f32, Option<&'n str>),
}

/// A layer to be added, whose batch norms are folded.
pub(super) struct Part<'n> {
    pub(super) name: &'n str,
    pub(super) layer: &'n Layer,
    pub(super) filters: Filters<'n>,
    /// Done to what it makes.
    pub(super) activation: Activation,
}

impl Part<'_> {
    /// Adds it to `graph`, reading `inputs`; what it makes.
    pub(super) fn add(&self, graph: &mut Graph, inputs: &[Value]) -> Value {
        let Value { name, is_vector } = self.add_layer(graph, inputs);
        Value { name: activate(graph, &self.named("act"), &name, self.activation), is_vector }
    }

    fn add_layer(&self, graph: &mut Graph, inputs: &[Value]) -> Value {
        let (layer, first) = (self.layer, &inputs[0]);
        let all: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let like_first = |name: String| Value { name, is_vector: first.is_vector };
        let node = |graph: &mut Graph, word, attributes| graph.node(self.name.to_owned(), word, &all, attributes);
        match layer.kind {
            LayerKind::Conv(window, weights) => self.convolve(graph, first, window, i64::from(weights.groups)),
            LayerKind::Depthwise(window, _) => self.convolve(graph, first, window, i64::from(layer.input.channels)),
            LayerKind::Linear(_) => {
                let vector = match first.is_vector {
                    true => first.name.clone(),
                    false => graph.node(self.named("flatten"), "Flatten", &[&first.name], Vec::new()),
                };
                let shape = [i64::from(layer.output.channels), layer.input.elements() as i64];
                let numbers = self.weights(graph, &shape);
                let transposed = vec![("transB", Attribute::Int(1))];
                let reads: Vec<&str> = [&vector].into_iter().chain(&numbers).map(String::as_str).collect();
                let name = graph.node(self.name.to_owned(), "Gemm", &reads, transposed);
                Value { name, is_vector: true }
            }
            LayerKind::Pool(PoolKind::Average, window)
                if layer.output.size == 1 && window.padding == 0 && window.kernel >= layer.input.size =>
            {
                like_first(node(graph, "GlobalAveragePool", Vec::new()))
            }
            LayerKind::Pool(kind, window) => {
                let word = if kind == PoolKind::Max { "MaxPool" } else { "AveragePool" };
                like_first(node(graph, word, attributes(layer, window)))
            }
            LayerKind::Add => like_first(match all[..] {
                [one, two] => graph.node(self.name.to_owned(), "Add", &[one, two], Vec::new()),
                _ => node(graph, "Sum", Vec::new()),
            }),
            LayerKind::Concat => like_first(node(graph, "Concat", vec![("axis", Attribute::Int(1))])),
            LayerKind::Scale => like_first(node(graph, "Mul", Vec::new())),
            LayerKind::Activation(activation) => like_first(activate(graph, self.name, &first.name, activation)),
            LayerKind::BatchNorm => first.clone(),
            LayerKind::LocalResponse { window, scale, power, bias } => {
                let attributes = vec![
                    ("size", Attribute::Int(i64::from(window))),
                    ("alpha", Attribute::Float(scale.0 as f32)),
                    ("beta", Attribute::Float(power.0 as f32)),
                    ("bias", Attribute::Float(bias.0 as f32)),
                ];
                like_first(node(graph, "LRN", attributes))
            }
        }
    }

    fn named(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }

    /// Values of filters and biases, the latter where there are some.
    fn weights(&self, graph: &mut Graph, shape: &[i64]) -> Vec<String> {
        let [weight, bias] = ["weight", "bias"].map(|part| self.named(part));
        match self.filters {
            Filters::Float(values, biases) => {
                let weight = graph.weights(weight, shape, values);
                vec![weight, graph.weights(bias, &shape[..1], biases)]
            }
            Filters::Named(weight, []) => vec![weight.to_owned()],
            Filters::Named(weight, biases) => vec![weight.to_owned(), graph.weights(bias, &shape[..1], biases)],
            Filters::Int8(weights, input, held) => {
                let scale = graph.weights(format!("{weight}.scale"), &shape[..1], &weights.scales);
                let zero = graph.zero_points(&shape[..1], &vec![0; weights.scales.len()]);
                let numbers = match held {
                    Some(held) => held.to_owned(),
                    None => graph.int8(format!("{weight}.int8"), shape, &weights.values),
                };
                let along = || vec![("axis", Attribute::Int(0))];
                let real = graph.conversion(weight, "DequantizeLinear", &[&numbers, &scale, &zero], along());
                let units: Vec<f32> = weights.scales.iter().map(|scale| input * scale).collect();
                let scale = graph.weights(format!("{bias}.scale"), &shape[..1], &units);
                let numbers = graph.int32(format!("{bias}.int32"), &weights.bias);
                vec![real, graph.conversion(bias, "DequantizeLinear", &[&numbers, &scale], along())]
            }
        }
    }

    fn convolve(&self, graph: &mut Graph, from: &Value, window: Window, groups: i64) -> Value {
        let (inputs, outputs) = (i64::from(self.layer.input.channels), i64::from(self.layer.output.channels));
        let map = match from.is_vector {
            false => from.name.clone(),
            true => {
                let shape = graph.integers(self.named("shape"), &[0, inputs, 1, 1]);
                graph.node(self.named("map"), "Reshape", &[&from.name, &shape], Vec::new())
            }
        };
        let kernel = i64::from(window.kernel);
        let numbers = self.weights(graph, &[outputs, inputs / groups, kernel, kernel]);
        let mut attributes = attributes(self.layer, window);
        attributes.push(("group", Attribute::Int(groups)));
        let reads: Vec<&str> = [&map].into_iter().chain(&numbers).map(String::as_str).collect();
        let name = graph.node(self.name.to_owned(), "Conv", &reads, attributes);
        Value { name, is_vector: false }
    }
}

/// Nodes called `name` that do `activation` to the value `from`.
fn activate(graph: &mut Graph, name: &str, from: &str, activation: Activation) -> String {
    let node = |graph: &mut Graph, word, attributes| graph.node(name.to_owned(), word, &[from], attributes);
    match activation {
        Activation::None => from.to_owned(),
        Activation::Relu => node(graph, "Relu", Vec::new()),
        Activation::Relu6 => {
            let [least, most] = [("least", 0.0), ("most", 6.0)]
                .map(|(part, value)| graph.weights(format!("{name}.{part}"), &[], &[value]));
            graph.node(name.to_owned(), "Clip", &[from, &least, &most], Vec::new())
        }
        Activation::HSwish => node(graph, "HardSwish", Vec::new()),
        // x / 6 + 1/2 between 0 and 1, as h-swish has it.
        Activation::HSigmoid => {
            node(graph, "HardSigmoid", vec![("alpha", Attribute::Float(1.0 / 6.0)), ("beta", Attribute::Float(0.5))])
        }
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
