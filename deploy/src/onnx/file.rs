//! The part of the ONNX format that networks of this project need: a graph of nodes with fp32 weights.
//!
//! Field numbers are those of the published `onnx.proto` (ir_version 8, operator set 17).

use std::collections::{HashMap, HashSet};

use prost::{Message, Oneof};

const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 17;
const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT8: i32 = 3;
const INT32: i32 = 6;
const INT64: i32 = 7;
/// `DataLocation`: in another file.
const EXTERNAL: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
    #[prost(message, repeated, tag = "14")]
    metadata_props: Vec<StringStringEntryProto>,
}

#[derive(Clone, PartialEq, Message)]
struct StringStringEntryProto {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, tag = "2")]
    f: f32,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<StringStringEntryProto>,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<ShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct ShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<DimProto>,
}

#[derive(Clone, PartialEq, Message)]
struct DimProto {
    #[prost(oneof = "Length", tags = "1, 2")]
    length: Option<Length>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Length {
    #[prost(int64, tag = "1")]
    Fixed(i64),
    #[prost(string, tag = "2")]
    Named(String),
}

/// A setting of a node.
pub(crate) enum Attribute {
    /// Whole numbers.
    Ints(Vec<i64>),
    /// One whole number.
    Int(i64),
    /// One number.
    Float(f32),
}

/// What the value that a model makes is called.
pub const OUTPUT: &str = "output";
/// A length that may differ from one use of a model to the next.
pub(crate) const BATCH: i64 = -1;

/// Where weights lie outside of a graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct External<'f> {
    /// The file's name.
    pub(crate) file: &'f str,
    /// Bytes before them.
    pub(crate) offset: usize,
    /// Whether they are int8 and not float32.
    pub(crate) is_int8: bool,
}

/// A graph under construction; values are named by the node that makes them.
pub(crate) struct Graph {
    graph: GraphProto,
    /// Names that are taken: a network's layers may be called as they like.
    names: HashSet<String>,
    /// Zero points that are there already, by their dimensions and numbers.
    zero_points: HashMap<(Vec<i64>, Vec<i8>), String>,
}

impl Graph {
    /// A graph with one input of float32, `input`, of shape `shape`, in which [`BATCH`] is any length.
    pub(crate) fn new(name: &str, shape: &[i64]) -> Graph {
        Self::reading(name, value("input", shape, FLOAT))
    }

    /// The same with an input of bytes.
    pub(crate) fn of_bytes(name: &str, shape: &[i64]) -> Graph {
        Self::reading(name, value("input", shape, UINT8))
    }

    fn reading(name: &str, input: ValueInfoProto) -> Graph {
        let names = HashSet::from([input.name.clone(), OUTPUT.to_owned()]);
        let graph = GraphProto { name: name.to_owned(), input: vec![input], ..GraphProto::default() };
        Graph { graph, names, zero_points: HashMap::new() }
    }

    /// `name`, or what is like it and not taken.
    fn free(&mut self, mut name: String) -> String {
        while !self.names.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    /// Adds one number from 0 to 255 called `name`, and gives the name.
    pub(crate) fn byte(&mut self, name: String, value: u8) -> String {
        self.initializer(TensorProto {
            dims: Vec::new(),
            data_type: UINT8,
            name,
            raw_data: vec![value],
            ..TensorProto::default()
        })
    }

    /// Adds int8 numbers called `name`, and gives the name; no dimension for a single one.
    pub(crate) fn int8(&mut self, name: String, shape: &[i64], values: &[i8]) -> String {
        let raw_data = values.iter().map(|value| *value as u8).collect();
        self.initializer(TensorProto {
            dims: shape.to_vec(),
            data_type: INT8,
            name,
            raw_data,
            ..TensorProto::default()
        })
    }

    /// The zero points `values`, of shape `shape`: one value for all that have the same.
    pub(crate) fn zero_points(&mut self, shape: &[i64], values: &[i8]) -> String {
        let key = (shape.to_vec(), values.to_vec());
        if let Some(name) = self.zero_points.get(&key) {
            return name.clone();
        }
        let name = self.int8(format!("zero.{}", self.zero_points.len()), shape, values);
        self.zero_points.insert(key, name.clone());
        name
    }

    /// Adds a vector of int32 numbers called `name`, and gives the name.
    pub(crate) fn int32(&mut self, name: String, values: &[i32]) -> String {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(TensorProto {
            dims: vec![values.len() as i64],
            data_type: INT32,
            name,
            raw_data,
            ..TensorProto::default()
        })
    }

    /// Adds weights called `name`, and gives the name.
    pub(crate) fn weights(&mut self, name: String, shape: &[i64], values: &[f32]) -> String {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(TensorProto {
            dims: shape.to_vec(),
            data_type: FLOAT,
            name,
            raw_data,
            ..TensorProto::default()
        })
    }

    /// Adds weights called `name` that lie in another file, and gives the name.
    pub(crate) fn external(&mut self, name: String, shape: &[usize], at: External<'_>) -> String {
        let External { file, offset, is_int8 } = at;
        let length = if is_int8 { 1 } else { 4 } * shape.iter().product::<usize>();
        let of = [("location", file.to_owned()), ("offset", offset.to_string()), ("length", length.to_string())];
        let external_data =
            of.map(|(key, value)| StringStringEntryProto { key: key.to_owned(), value }).into_iter().collect();
        let dims = shape.iter().map(|length| *length as i64).collect();
        let data_location = EXTERNAL;
        self.initializer(TensorProto {
            dims,
            data_type: if is_int8 { INT8 } else { FLOAT },
            name,
            external_data,
            data_location,
            ..Default::default()
        })
    }

    /// Adds a vector of whole numbers called `name`, and gives the name.
    pub(crate) fn integers(&mut self, name: String, values: &[i64]) -> String {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializer(TensorProto {
            dims: vec![values.len() as i64],
            data_type: INT64,
            name,
            raw_data,
            ..TensorProto::default()
        })
    }

    fn initializer(&mut self, tensor: TensorProto) -> String {
        let name = self.free(tensor.name.clone());
        self.graph.initializer.push(TensorProto { name: name.clone(), ..tensor });
        name
    }

    /// Adds a node called `name`, which its output is called too, and gives the name.
    pub(crate) fn node(
        &mut self,
        name: String,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
    ) -> String {
        let name = self.free(name);
        self.node_called(name, op_type, inputs, attributes)
    }

    /// Adds the node that makes [`OUTPUT`].
    pub(crate) fn last(&mut self, op_type: &str, input: &str) -> String {
        self.node_called(OUTPUT.to_owned(), op_type, &[input], Vec::new())
    }

    /// A node between int8 and float32, called after what it makes; it has no name of its own, as a file has very many.
    pub(crate) fn conversion(
        &mut self,
        name: String,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
    ) -> String {
        let name = self.node(name, op_type, inputs, attributes);
        if let Some(node) = self.graph.node.last_mut() {
            node.name.clear();
        }
        name
    }

    fn node_called(
        &mut self,
        name: String,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
    ) -> String {
        let attribute = |(name, attribute): (&str, Attribute)| {
            let plain = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
            match attribute {
                Attribute::Float(f) => AttributeProto { f, kind: 1, ..plain },
                Attribute::Int(i) => AttributeProto { i, kind: 2, ..plain },
                Attribute::Ints(ints) => AttributeProto { ints, kind: 7, ..plain },
            }
        };
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op_type.to_owned(),
            attribute: attributes.into_iter().map(attribute).collect(),
        });
        name
    }

    /// The file's bytes; the value `output` of shape `shape` is what the graph computes, and `facts` go with it.
    pub(crate) fn finish(mut self, output: &str, shape: &[i64], facts: &[(String, String)]) -> Vec<u8> {
        self.graph.output.push(value(output, shape, FLOAT));
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "ofa".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPERATOR_SET }],
            metadata_props: facts
                .iter()
                .map(|(key, value)| StringStringEntryProto { key: key.clone(), value: value.clone() })
                .collect(),
        };
        model.encode_to_vec()
    }
}

fn value(name: &str, shape: &[i64], elem_type: i32) -> ValueInfoProto {
    let length = |&length: &i64| match length {
        BATCH => Length::Named("batch".to_owned()),
        fixed => Length::Fixed(fixed),
    };
    let dim = shape.iter().map(|dim| DimProto { length: Some(length(dim)) }).collect();
    let tensor_type = Some(TensorTypeProto { elem_type, shape: Some(ShapeProto { dim }) });
    ValueInfoProto { name: name.to_owned(), kind: Some(TypeProto { tensor_type }) }
}

/// Walks a model as a runtime would: the shape of its output and the multiply-accumulates on the way.
///
/// # Panics
/// If a node reads what nothing made, or its shapes do not fit.
#[cfg(test)]
pub(crate) fn walk(file: &[u8]) -> (Vec<i64>, u64) {
    let graph = ModelProto::decode(file).unwrap().graph.unwrap();
    let shape_of = |value: &ValueInfoProto| -> Vec<i64> {
        let tensor = value.kind.clone().unwrap().tensor_type.unwrap();
        let length = |dim: &DimProto| match dim.length {
            Some(Length::Fixed(length)) => length,
            _ => 1,
        };
        tensor.shape.unwrap().dim.iter().map(length).collect()
    };
    let mut shapes: std::collections::HashMap<String, Vec<i64>> = Default::default();
    for tensor in &graph.initializer {
        let bytes = match tensor.data_type {
            INT64 => 8,
            INT8 | UINT8 => 1,
            _ => 4,
        };
        let is_here = tensor.data_location != EXTERNAL;
        assert!(!is_here || tensor.raw_data.len() as i64 == bytes * tensor.dims.iter().product::<i64>());
        shapes.insert(tensor.name.clone(), tensor.dims.clone());
    }
    graph.input.iter().for_each(|input| drop(shapes.insert(input.name.clone(), shape_of(input))));
    let mut macs = 0;
    for node in &graph.node {
        let inputs: Vec<&Vec<i64>> = node.input.iter().map(|input| &shapes[input]).collect();
        let whole = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name).unwrap();
        let output = match node.op_type.as_str() {
            "Conv" => {
                let (x, weight) = (inputs[0], inputs[1]);
                assert_eq!(x[1], weight[1] * whole("group").i);
                let out = |at: usize| {
                    (x[at] + whole("pads").ints[at - 2] + whole("pads").ints[at] - weight[at])
                        / whole("strides").ints[at - 2]
                        + 1
                };
                let output = vec![x[0], weight[0], out(2), out(3)];
                macs += (output.iter().product::<i64>() * weight[1..].iter().product::<i64>()) as u64;
                output
            }
            "Gemm" => {
                assert_eq!((inputs[0][1], whole("transB").i), (inputs[1][1], 1));
                macs += (inputs[1][0] * inputs[1][1]) as u64;
                vec![inputs[0][0], inputs[1][0]]
            }
            "Slice" => {
                let ends = graph.initializer.iter().find(|tensor| tensor.name == node.input[2]).unwrap();
                let end = |at: usize| i64::from_le_bytes(ends.raw_data[8 * at..8 * at + 8].try_into().unwrap());
                assert!(end(0) <= inputs[0][0] && end(1) <= inputs[0][1]);
                [&[end(0), end(1)], &inputs[0][2..]].concat()
            }
            "BatchNormalization" => {
                assert!(inputs[1..].iter().all(|vector| vector[..] == inputs[0][1..2]), "{}", node.name);
                inputs[0].clone()
            }
            "Flatten" => vec![inputs[0][0], inputs[0][1..].iter().product()],
            "Concat" => {
                let channels = inputs.iter().map(|input| input[1]).sum();
                vec![inputs[0][0], channels, inputs[0][2], inputs[0][3]]
            }
            "MaxPool" | "AveragePool" => {
                let out = |at: usize| {
                    let ints = |name: &str| whole(name).ints.clone();
                    (inputs[0][at] + ints("pads")[at - 2] + ints("pads")[at] - ints("kernel_shape")[at - 2])
                        / ints("strides")[at - 2]
                        + 1
                };
                vec![inputs[0][0], inputs[0][1], out(2), out(3)]
            }
            "GlobalAveragePool" => vec![inputs[0][0], inputs[0][1], 1, 1],
            "Mul" => {
                assert_eq!(inputs[0][..2], inputs[1][..2]);
                inputs[0].clone()
            }
            "Add" => {
                assert_eq!(inputs[0], inputs[1]);
                inputs[0].clone()
            }
            "QuantizeLinear" | "DequantizeLinear" => {
                // One scale for all, or one for each place along the first dimension, and zero points alike.
                assert!(inputs[1].is_empty() || inputs[1][..] == inputs[0][..1], "{}", node.name);
                assert!(inputs.get(2).is_none_or(|zero| *zero == inputs[1]), "{}", node.name);
                inputs[0].clone()
            }
            "Relu" | "Clip" | "HardSwish" | "HardSigmoid" | "LRN" | "Identity" => inputs[0].clone(),
            other => panic!("{other}"),
        };
        shapes.insert(node.output[0].clone(), output);
    }
    let output = shape_of(&graph.output[0]);
    assert_eq!(shapes[&graph.output[0].name], output);
    (output, macs)
}
