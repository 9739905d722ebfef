//! A whole network as a model: fp32, any number of images at a time.

use network::folded::{Folded, FoldedLayer};
use network::layers::{Layer, Read};
use network::op::Map;

use super::file::{BATCH, Graph};
use super::layer::{Filters, Part, Value};

/// What the value that a model reads is called.
pub const INPUT: &str = "input";

/// The bytes of an ONNX file (operator set 17) of `network`: it reads `input`, `[batch, channels, height, width]` of
/// float32, and makes `output`, `[batch, outputs]`, or a feature map of a network that ends in one. `facts` are what the
/// file says of itself (`metadata_props`), keys and values.
pub fn network_model(name: &str, network: &Folded, facts: &[(String, String)]) -> Vec<u8> {
    let shape = |Map { size, channels }: Map| [BATCH, i64::from(channels), i64::from(size), i64::from(size)];
    let mut graph = Graph::new(name, &shape(network.input));
    let image = Value { name: INPUT.to_owned(), is_vector: false };
    let mut made: Vec<Value> = Vec::new();
    for folded in &network.layers {
        let inputs = inputs_of(&folded.layer, &image, &made);
        let weight = folded.weight.as_ref().map_or(&[][..], |weight| &weight.values);
        let FoldedLayer { name, layer, bias, activation, .. } = folded;
        let part = Part { name, layer, filters: Filters::Float(weight, bias), activation: *activation };
        made.push(part.add(&mut graph, &inputs));
    }
    let last = made.pop().unwrap_or(image);
    finished(graph, &last, shape(network.output()), facts)
}

pub(super) fn inputs_of(layer: &Layer, image: &Value, made: &[Value]) -> Vec<Value> {
    let of = |read: &Read| match read {
        Read::Input(_) => image.clone(),
        Read::Layer(at) => made[*at].clone(),
    };
    layer.reads.iter().map(of).collect()
}

/// The file whose output is the value `last`, `output` being its shape as a map.
pub(super) fn finished(mut graph: Graph, last: &Value, output: [i64; 4], facts: &[(String, String)]) -> Vec<u8> {
    // The last value gets the name that is promised, and a classifier's is a vector.
    let is_vector = last.is_vector || output[2] == 1;
    let word = if is_vector && !last.is_vector { "Flatten" } else { "Identity" };
    let result = graph.last(word, &last.name);
    graph.finish(&result, if is_vector { &output[..2] } else { &output }, facts)
}

#[cfg(test)]
mod tests {
    use network::op::{Conv, Op};
    use network::published::{self, NETWORKS};
    use network::shape::NetworkShape;
    use network::weights::Weights;

    use super::super::file::walk;
    use super::*;

    #[test]
    fn a_model_computes_what_its_network_does() {
        for (name, _) in NETWORKS {
            let shape = published::network(name, Some(7)).unwrap();
            let folded = Folded::new(&shape, &Weights::random(&shape, 1));
            let (output, macs) = walk(&network_model(name, &folded, &[]));
            assert_eq!((output, macs), (vec![1, 7], shape.macs().0), "{name}");
        }
    }

    #[test]
    fn layers_may_be_called_as_the_graph_calls_its_own_values() {
        let map = Map::new(6, 3);
        let conv = || Op::Conv(Conv::plain(map, map));
        let names = ["input", "input.real", "output", "output.weight"].map(|name| (name.to_owned(), conv())).to_vec();
        let shape = NetworkShape::chain(map, names, 1e-5).unwrap();
        let folded = Folded::new(&shape, &Weights::random(&shape, 1));
        assert_eq!(walk(&network_model("it", &folded, &[])), (vec![1, 3, 6, 6], shape.macs().0));
    }
}
