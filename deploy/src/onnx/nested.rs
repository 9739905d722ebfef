//! Several networks whose weights are parts of each other's, as graphs over one file of weights: each graph takes the first
//! filters and channels of a shared tensor, and has its own batch norms (ONNX external data).

use std::collections::HashMap;

use network::layers::LayerKind;
use network::op::Map;
use network::shape::{NamedLayer, NetworkShape};
use network::weights::Weights;

use super::file::{Attribute, BATCH, Graph};
use super::layer::{Filters, Part, Value};
use super::model::{INPUT, finished, inputs_of};
use super::weight_file::{Tensor, WeightFile};
use crate::parts::Parts;

/// One of several networks.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'n> {
    /// Its name.
    pub name: &'n str,
    /// Its layers.
    pub shape: &'n NetworkShape,
    /// Their weights.
    pub weights: &'n Weights,
    /// What its file says of itself.
    pub facts: &'n [(String, String)],
}

/// A file of weights, and a graph over it for each network.
#[derive(Clone, Debug, PartialEq)]
pub struct Nested {
    /// The file of weights.
    pub weights: Vec<u8>,
    /// ONNX files (operator set 17), in the order of the networks.
    pub graphs: Vec<Vec<u8>>,
    /// Tensors that are not part of what the networks were said to share, and lie in the file by themselves.
    pub own: usize,
}

/// Graphs of `slices` over one file of weights that they call `file`. `wholes` are networks whose weights the slices' are
/// the first filters and channels of.
pub fn nested_models(file: &str, wholes: &[&Weights], slices: &[Slice<'_>]) -> Nested {
    let mut parts = Parts::of(wholes);
    let before = parts.len();
    let mut weights = WeightFile::new(file);
    let graphs = slices.iter().map(|slice| graph(slice, &mut parts, &mut weights)).collect();
    Nested { weights: weights.bytes, graphs, own: parts.len() - before }
}

fn graph<'a>(slice: &Slice<'a>, parts: &mut Parts<'a>, file: &mut WeightFile<'_>) -> Vec<u8> {
    let shape = |Map { size, channels }: Map| [BATCH, i64::from(channels), i64::from(size), i64::from(size)];
    let mut graph = Graph::new(slice.name, &shape(slice.shape.input()));
    let image = Value { name: INPUT.to_owned(), is_vector: false };
    let mut made: Vec<Value> = Vec::new();
    let mut known: HashMap<usize, String> = HashMap::new();
    let mut constants: HashMap<usize, [String; 2]> = HashMap::new();
    for NamedLayer { name, layer } in slice.shape.layers() {
        let inputs = inputs_of(&layer, &image, &made);
        let array = |part: &str| slice.weights.get(&format!("{name}.{part}"));
        if layer.kind == LayerKind::BatchNorm {
            made.push(normalised(&mut graph, &name, &inputs[0], slice, &mut constants));
            continue;
        }
        let shared = array("weight").map(|weight| {
            let at = parts.whole_of(weight);
            let whole = parts.array(at);
            let numbers = || whole.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let tensor = Tensor { at, shape: &whole.shape, is_int8: false };
            file.part(&mut graph, &mut known, &tensor, numbers, &format!("{name}.weight"), &weight.shape)
        });
        let bias = array("bias").map_or(&[][..], |bias| &bias.values);
        let filters = Filters::Named(shared.as_deref().unwrap_or_default(), bias);
        let part = Part { name: &name, layer: &layer, filters, activation: network::op::Activation::None };
        made.push(part.add(&mut graph, &inputs));
    }
    let last = made.pop().unwrap_or(image);
    finished(graph, &last, shape(slice.shape.output()), slice.facts)
}

/// Batch norm as a scale and a shift of each channel; the mean of 0 and the variance of 1 that the operator wants as well are
/// the same for all of a width.
fn normalised(
    graph: &mut Graph,
    name: &str,
    input: &Value,
    slice: &Slice<'_>,
    constants: &mut HashMap<usize, [String; 2]>,
) -> Value {
    let numbers = |part: &str| {
        let array = slice.weights.get(&format!("{name}.{part}")).expect("a batch norm has four tensors");
        array.values.iter().map(|value| f64::from(*value))
    };
    let eps = slice.shape.batch_norm_eps();
    let scales: Vec<f64> = numbers("weight").zip(numbers("running_var")).map(|(g, v)| g / (v + eps).sqrt()).collect();
    let shifts =
        numbers("bias").zip(numbers("running_mean")).zip(&scales).map(|((b, m), scale)| (b - m * scale) as f32);
    let (width, shifts): (usize, Vec<f32>) = (scales.len(), shifts.collect());
    let scales: Vec<f32> = scales.iter().map(|scale| *scale as f32).collect();
    let [mean, var] = constants.entry(width).or_insert_with(|| {
        [("mean", 0.0), ("var", 1.0)]
            .map(|(word, value)| graph.weights(format!("{word}.{width}"), &[width as i64], &vec![value; width]))
    });
    let scale = graph.weights(format!("{name}.scale"), &[width as i64], &scales);
    let shift = graph.weights(format!("{name}.shift"), &[width as i64], &shifts);
    let plain = vec![("epsilon", Attribute::Float(0.0))];
    let made = graph.node(name.to_owned(), "BatchNormalization", &[&input.name, &scale, &shift, mean, var], plain);
    Value { name: made, is_vector: input.is_vector }
}

#[cfg(test)]
mod tests {
    use network::folded::Folded;
    use network::published;

    use super::super::file::walk;
    use super::*;
    use crate::onnx::network_model;
    use crate::parts::tests::part_of;
    use crate::runtime::Runtime;

    #[test]
    fn parts_share_their_weights_and_compute_what_they_do_alone() {
        let (wide, narrow) = (published::mobilenet_v1(50, 32, 6), published::mobilenet_v1(25, 32, 6));
        let whole = Weights::random(&wide, 1);
        let part = part_of(&whole, &narrow);
        let slices = [("best", &wide, &whole), ("fast", &narrow, &part)].map(|(name, shape, weights)| Slice {
            name,
            shape,
            weights,
            facts: &[],
        });
        let folder = tempfile::tempdir().unwrap();
        let nested = nested_models("weights.bin", &[&whole], &slices);
        assert_eq!(nested.own, 0);
        std::fs::write(folder.path().join("weights.bin"), &nested.weights).unwrap();
        let filters: usize =
            whole.arrays().values().filter(|array| array.shape.len() > 1).map(|array| 4 * array.values.len()).sum();
        assert!(nested.weights.len() < filters + 64 * whole.arrays().len(), "{} {filters}", nested.weights.len());
        let image: Vec<f32> = (0..wide.input().elements()).map(|at| (at as f32 * 0.37).sin()).collect();
        for (slice, graph) in slices.iter().zip(&nested.graphs) {
            assert_eq!(walk(graph), (vec![1, 6], slice.shape.macs().0), "{}", slice.name);
            let file = folder.path().join(slice.name);
            std::fs::write(&file, graph).unwrap();
            let alone = network_model("it", &Folded::new(slice.shape, slice.weights), &[]);
            let expected = Runtime::onnx(&alone, [1, 3, 32, 32]).unwrap().run(&image).unwrap();
            let got = Runtime::onnx_file(&file, [1, 3, 32, 32]).unwrap().run(&image).unwrap();
            let largest = expected.iter().fold(0_f32, |most, x| most.max(x.abs()));
            assert!(expected.iter().zip(&got).all(|(a, b)| (a - b).abs() <= 1e-5 * largest), "{expected:?} {got:?}");
        }
        // What is no part of the whole lies in the file by itself.
        let other = Weights::random(&narrow, 2);
        let stranger = Slice { name: "other", shape: &narrow, weights: &other, facts: &[] };
        assert!(nested_models("weights.bin", &[&whole], &[stranger]).own > 10);
    }
}
