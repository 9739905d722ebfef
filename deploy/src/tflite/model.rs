//! A whole network as a file.

use network::folded::Folded;
use network::integer::{IntegerNetwork, Numbers, Scale};
use network::layers::{Layer, Read};

use super::file::{File, Quantisation, Type, Word};
use super::label::Label;
use super::layer::{Filters, Part, Value, converted, reshaped};
use crate::Unsupported;

/// What the tensor that a file reads is called, and what the one that it makes.
const INPUT: &str = "image";
const OUTPUT: &str = "logits";

/// The bytes of a TensorFlow Lite file of `network` in float32: it reads `image`, `[N, rows, columns, channels]`,
/// normalised, and makes `logits`, `[N, outputs]`, or a feature map of a network that ends in one.
///
/// # Errors
/// A layer that the format has no operator for.
pub fn float_model(network: &Folded, label: &Label<'_>) -> Result<Vec<u8>, Unsupported> {
    let mut file = File::new(label.name);
    let map = network.input;
    let dims = [1, map.size as i32, map.size as i32, map.channels as i32];
    let tensor = file.feature(INPUT, &dims, Type::Float32, Quantisation::None);
    let image = Value { tensor, map, is_vector: false, scale: None };
    let mut made: Vec<Value> = Vec::new();
    for folded in &network.layers {
        let inputs = inputs_of(&folded.layer, image, &made);
        let filters = match &folded.weight {
            Some(weight) => Filters::Float(&weight.values, &folded.bias),
            None => Filters::None,
        };
        let (layer, activation) = (&folded.layer, folded.activation);
        let part = Part { name: &folded.name, layer, activation, filters, scale: None };
        made.push(part.add(&mut file, &inputs)?);
    }
    Ok(finished(file, tensor, made.pop().unwrap_or(image), label, map.channels))
}

/// The bytes of a TensorFlow Lite file of `network` in int8: it reads the bytes of pixels, uint8, `[N, rows, columns,
/// channels]`, and makes `logits` as int8.
///
/// # Errors
/// A layer that the format has no operator for.
pub fn int8_model(network: &IntegerNetwork, label: &Label<'_>) -> Result<Vec<u8>, Unsupported> {
    let mut file = File::new(label.name);
    let map = network.input;
    let dims = [1, map.size as i32, map.size as i32, map.channels as i32];
    let Scale { scale, zero_point } = network.image;
    let bytes = Quantisation::Map(Scale { scale, zero_point: zero_point + 128 });
    let tensor = file.feature(INPUT, &dims, Type::Uint8, bytes);
    let numbers = file.feature("image.int8", &dims, Type::Int8, Quantisation::Map(network.image));
    // The same numbers less 128.
    file.operator((Word::Quantize, 2), &[tensor], numbers, None);
    let image = Value { tensor: numbers, map, is_vector: false, scale: Some(network.image) };
    let mut made: Vec<Value> = Vec::new();
    for layer in &network.layers {
        let mut inputs = inputs_of(&layer.layer, image, &made);
        let (name, activation) = (layer.name.as_str(), layer.activation);
        let part = |filters, scale| Part { name, layer: &layer.layer, activation, filters, scale };
        made.push(match &layer.numbers {
            Numbers::Plain => part(Filters::None, Some(layer.scale)).add(&mut file, &inputs)?,
            Numbers::Int8(weights) => {
                let filters = Filters::Int8(weights, network.scale_of(layer.layer.reads[0]));
                part(filters, Some(layer.scale)).add(&mut file, &inputs)?
            }
            Numbers::Float32 { weight, bias } => {
                for (at, input) in inputs.iter_mut().enumerate() {
                    *input = converted(&mut file, *input, &format!("{name}.input{at}"), None);
                }
                let filters = if weight.is_empty() { Filters::None } else { Filters::Float(weight, bias) };
                let real = part(filters, None).add(&mut file, &inputs)?;
                converted(&mut file, real, &format!("{name}.int8"), Some(layer.scale))
            }
        });
    }
    Ok(finished(file, tensor, made.pop().unwrap_or(image), label, map.channels))
}

fn inputs_of(layer: &Layer, image: Value, made: &[Value]) -> Vec<Value> {
    let of = |read: &Read| match read {
        Read::Input(_) => image,
        Read::Layer(at) => made[*at],
    };
    layer.reads.iter().map(of).collect()
}

fn finished(mut file: File, input: i32, last: Value, label: &Label<'_>, channels: u32) -> Vec<u8> {
    // A classifier's output is a vector.
    let last = match last.map.size == 1 && !last.is_vector {
        true => reshaped(&mut file, last, OUTPUT, &[1, last.map.channels as i32]),
        false => last,
    };
    if last.tensor != input {
        file.rename(last.tensor, OUTPUT);
    }
    label.add(&mut file, channels);
    label.with_names(file.finish(input, last.tensor))
}

#[cfg(test)]
mod tests {
    use network::op::{LocalResponse, Map, Op, Real};
    use network::published;
    use network::shape::NetworkShape;
    use network::weights::Weights;

    use super::*;
    use crate::int8::tests::{network_of_pixels, shapes};

    /// Where in the file some bytes lie.
    fn find(file: &[u8], bytes: &[u8]) -> Option<usize> {
        file.windows(bytes.len()).position(|window| window == bytes)
    }

    #[test]
    fn weights_lie_at_multiples_of_sixteen_and_names_behind() {
        for (name, shape) in shapes() {
            let network = network_of_pixels(&shape);
            let class_names = ["cat".to_owned(), "do\ng".to_owned()];
            let label = Label { name, class_names: &class_names, facts: "{\"it\": 1}", ..Label::default() };
            let file = int8_model(&network, &label).unwrap();
            assert_eq!(&file[4..8], b"TFL3");
            let first = network.layers.iter().find(|layer| layer.layer.is_weighted()).unwrap();
            let Numbers::Int8(weights) = &first.numbers else { panic!("{name} has no int8 weights") };
            let biases: Vec<u8> = weights.bias.iter().flat_map(|bias| bias.to_le_bytes()).collect();
            let at = find(&file, &biases).unwrap();
            assert_eq!(at % 16, 0, "{name}: {at}");
            assert!(find(&file, b"{\"it\": 1}").is_some() && find(&file, b"TFLITE_METADATA").is_some());
            let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&file)).unwrap();
            let mut names = String::new();
            std::io::Read::read_to_string(&mut archive.by_name("labels.txt").unwrap(), &mut names).unwrap();
            assert_eq!(names, "cat\ndo g\n");
        }
    }

    #[test]
    fn a_layer_without_an_operator_is_named() {
        let map = Map::new(6, 4);
        let lrn = LocalResponse { map, window: 4, scale: Real(1e-4), power: Real(0.75), bias: Real(1.0) };
        let shape = NetworkShape::chain(map, vec![("norm".into(), Op::LocalResponse(lrn))], 1e-5).unwrap();
        let folded = Folded::new(&shape, &Weights::random(&shape, 1));
        let refused = float_model(&folded, &Label::default()).unwrap_err().to_string();
        assert!(refused.starts_with("layer `norm`: TensorFlow Lite knows no local response"), "{refused}");
        // AlexNet has all others.
        let shape = published::alexnet(7);
        assert!(float_model(&Folded::new(&shape, &Weights::random(&shape, 1)), &Label::default()).is_ok());
    }
}
