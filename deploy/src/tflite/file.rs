//! The part of the TensorFlow Lite format that networks of this project need: tensors, buffers and operators in a
//! FlatBuffer.
//!
//! Field numbers are those of the published `schema.fbs` (version 3), in the order of its tables.

use std::collections::{BTreeMap, HashMap};

use flatbuffers::{
    FlatBufferBuilder, ForwardsUOffset, Push, PushAlignment, TableFinishedWIPOffset, VOffsetT, Vector, WIPOffset,
};
use network::integer::Scale;

const IDENTIFIER: &str = "TFL3";
const VERSION: u32 = 3;

pub(super) type Table = WIPOffset<TableFinishedWIPOffset>;

/// The place of a table's field in its row of offsets.
pub(super) fn slot(field: u16) -> VOffsetT {
    4 + 2 * field
}

/// Numbers of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(super) enum Type {
    Float32 = 0,
    Int32 = 2,
    Uint8 = 3,
    Int8 = 9,
}

/// What an operator does; numbers are those of `BuiltinOperator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub(super) enum Word {
    Add = 0,
    AveragePool = 1,
    Concatenation = 2,
    Conv = 3,
    DepthwiseConv = 4,
    Dequantize = 6,
    FullyConnected = 9,
    LocalResponse = 13,
    MaxPool = 17,
    Mul = 18,
    Relu = 19,
    Relu6 = 21,
    Reshape = 22,
    Pad = 34,
    PadV2 = 60,
    Quantize = 114,
    HardSwish = 117,
}

/// A setting of an operator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Setting {
    Byte(i8),
    Int(i32),
    Float(f32),
}

/// Settings of an operator: the number of their table in `BuiltinOptions`, and field by field.
pub(super) struct Options {
    pub(super) table: u8,
    pub(super) settings: Vec<Setting>,
}

impl Options {
    pub(super) fn new(table: u8, settings: Vec<Setting>) -> Option<Options> {
        Some(Options { table, settings })
    }
}

/// How a tensor's numbers are read.
#[derive(Clone, Debug)]
pub(super) enum Quantisation {
    None,
    /// One scale and zero point.
    Map(Scale),
    /// A scale for each place of a dimension, zero point 0.
    Axis(Vec<f32>, i32),
}

struct Tensor {
    shape: Vec<i32>,
    kind: Type,
    buffer: u32,
    name: String,
    quantisation: Quantisation,
}

struct Operator {
    word: Word,
    version: i32,
    inputs: Vec<i32>,
    output: i32,
    options: Option<Options>,
}

/// A file under construction.
pub(super) struct File {
    name: String,
    tensors: Vec<Tensor>,
    /// The first one is empty: tensors without numbers of their own name it.
    buffers: Vec<Vec<u8>>,
    operators: Vec<Operator>,
    metadata: Vec<(String, u32)>,
}

impl File {
    pub(super) fn new(name: &str) -> File {
        let (tensors, operators, metadata) = (Vec::new(), Vec::new(), Vec::new());
        File { name: name.to_owned(), tensors, buffers: vec![Vec::new()], operators, metadata }
    }

    /// Adds a tensor that is computed.
    pub(super) fn feature(&mut self, name: &str, shape: &[i32], kind: Type, quantisation: Quantisation) -> i32 {
        self.tensor(name, shape, kind, 0, quantisation)
    }

    /// Adds a tensor that is known.
    pub(super) fn constant(&mut self, name: &str, shape: &[i32], data: (Type, Vec<u8>), of: Quantisation) -> i32 {
        self.buffers.push(data.1);
        let buffer = self.buffers.len() as u32 - 1;
        self.tensor(name, shape, data.0, buffer, of)
    }

    /// Adds whole numbers.
    pub(super) fn integers(&mut self, name: &str, shape: &[i32], values: &[i32]) -> i32 {
        self.constant(name, shape, (Type::Int32, little_endian(values)), Quantisation::None)
    }

    fn tensor(&mut self, name: &str, shape: &[i32], kind: Type, buffer: u32, quantisation: Quantisation) -> i32 {
        self.tensors.push(Tensor { shape: shape.to_vec(), kind, buffer, name: name.to_owned(), quantisation });
        self.tensors.len() as i32 - 1
    }

    /// Adds an operator of a version that makes the tensor `output`.
    pub(super) fn operator(
        &mut self,
        (word, version): (Word, i32),
        inputs: &[i32],
        output: i32,
        options: Option<Options>,
    ) {
        self.operators.push(Operator { word, version, inputs: inputs.to_vec(), output, options });
    }

    /// Gives a tensor another name.
    pub(super) fn rename(&mut self, tensor: i32, name: &str) {
        self.tensors[tensor as usize].name = name.to_owned();
    }

    /// Adds what the file says of itself under a name.
    pub(super) fn metadata(&mut self, name: &str, bytes: Vec<u8>) {
        self.buffers.push(bytes);
        self.metadata.push((name.to_owned(), self.buffers.len() as u32 - 1));
    }

    /// The file's bytes; it reads one tensor and makes another.
    pub(super) fn finish(self, input: i32, output: i32) -> Vec<u8> {
        let mut fbb = FlatBufferBuilder::new();
        let mut codes: BTreeMap<Word, (u32, i32)> = BTreeMap::new();
        for operator in &self.operators {
            let next = codes.len() as u32;
            let code = codes.entry(operator.word).or_insert((next, operator.version));
            code.1 = code.1.max(operator.version);
        }
        let buffers: Vec<Table> = self.buffers.iter().map(|bytes| buffer(&mut fbb, bytes)).collect();
        let buffers = fbb.create_vector(&buffers);
        let mut zero_points = ZeroPoints::new();
        let tensors: Vec<Table> = self.tensors.iter().map(|one| tensor(&mut fbb, one, &mut zero_points)).collect();
        let tensors = fbb.create_vector(&tensors);
        let operators: Vec<Table> =
            self.operators.iter().map(|one| operator(&mut fbb, one, codes[&one.word].0)).collect();
        let operators = fbb.create_vector(&operators);
        let [inputs, outputs] = [input, output].map(|tensor| fbb.create_vector(&[tensor]));
        let name = fbb.create_string(&self.name);
        let start = fbb.start_table();
        fbb.push_slot_always(slot(0), tensors);
        fbb.push_slot_always(slot(1), inputs);
        fbb.push_slot_always(slot(2), outputs);
        fbb.push_slot_always(slot(3), operators);
        fbb.push_slot_always(slot(4), name);
        let graph = fbb.end_table(start);
        let graphs = fbb.create_vector(&[graph]);
        let mut in_order: Vec<(Word, (u32, i32))> = codes.into_iter().collect();
        in_order.sort_by_key(|(_, (at, _))| *at);
        let codes: Vec<Table> =
            in_order.into_iter().map(|(word, (_, version))| operator_code(&mut fbb, word, version)).collect();
        let codes = fbb.create_vector(&codes);
        let metadata: Vec<Table> = self.metadata.iter().map(|(name, at)| entry(&mut fbb, name, *at)).collect();
        let metadata = fbb.create_vector(&metadata);
        let ends = [input, output].map(|tensor| self.tensors[tensor as usize].name.clone());
        let signature = signature(&mut fbb, &ends, [input, output]);
        let signatures = fbb.create_vector(&[signature]);
        let description = fbb.create_string(concat!("ofa ", env!("CARGO_PKG_VERSION")));
        let start = fbb.start_table();
        fbb.push_slot_always(slot(0), VERSION);
        fbb.push_slot_always(slot(1), codes);
        fbb.push_slot_always(slot(2), graphs);
        fbb.push_slot_always(slot(3), description);
        fbb.push_slot_always(slot(4), buffers);
        fbb.push_slot_always(slot(6), metadata);
        fbb.push_slot_always(slot(7), signatures);
        let model = fbb.end_table(start);
        fbb.finish(model, Some(IDENTIFIER));
        fbb.finished_data().to_vec()
    }
}

/// The bytes of whole numbers.
pub(super) fn little_endian(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Sixteen bytes that lie at a multiple of sixteen, as runtimes that map the file want weights to.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Block([u8; 16]);

impl Push for Block {
    type Output = Block;

    unsafe fn push(&self, dst: &mut [u8], _: usize) {
        dst.copy_from_slice(&self.0);
    }

    fn alignment() -> PushAlignment {
        PushAlignment::new(16)
    }
}

fn buffer(fbb: &mut FlatBufferBuilder<'_>, bytes: &[u8]) -> Table {
    let data = (!bytes.is_empty()).then(|| {
        let blocks = bytes.chunks(16).map(|chunk| {
            let mut block = Block([0; 16]);
            block.0[..chunk.len()].copy_from_slice(chunk);
            block
        });
        fbb.start_vector::<Block>(blocks.len());
        for block in blocks.rev() {
            fbb.push(block);
        }
        // The length is one of bytes: what fills the last block up belongs to nobody.
        fbb.end_vector::<Block>(bytes.len())
    });
    let start = fbb.start_table();
    if let Some(data) = data {
        fbb.push_slot_always(slot(0), data);
    }
    fbb.end_table(start)
}

/// Vectors of zero points that are written already: eight bytes for each channel, nearly always the same ones.
type ZeroPoints<'f> = HashMap<Vec<i64>, WIPOffset<Vector<'f, i64>>>;

fn tensor<'f>(fbb: &mut FlatBufferBuilder<'f>, tensor: &Tensor, known: &mut ZeroPoints<'f>) -> Table {
    let numbers = match &tensor.quantisation {
        Quantisation::None => None,
        Quantisation::Map(scale) => Some((vec![scale.scale], vec![i64::from(scale.zero_point)], 0)),
        Quantisation::Axis(scales, axis) => Some((scales.clone(), vec![0; scales.len()], *axis)),
    };
    let quantisation = numbers.map(|(scales, zero_points, axis)| {
        let scales = fbb.create_vector(&scales);
        let zero_points = *known.entry(zero_points).or_insert_with_key(|points| fbb.create_vector(points));
        let start = fbb.start_table();
        fbb.push_slot_always(slot(2), scales);
        fbb.push_slot_always(slot(3), zero_points);
        fbb.push_slot(slot(6), axis, 0);
        fbb.end_table(start)
    });
    let (name, shape) = (fbb.create_string(&tensor.name), fbb.create_vector(&tensor.shape));
    let start = fbb.start_table();
    fbb.push_slot_always(slot(0), shape);
    fbb.push_slot(slot(1), tensor.kind as i8, 0);
    fbb.push_slot(slot(2), tensor.buffer, 0);
    fbb.push_slot_always(slot(3), name);
    if let Some(quantisation) = quantisation {
        fbb.push_slot_always(slot(4), quantisation);
    }
    fbb.end_table(start)
}

fn operator(fbb: &mut FlatBufferBuilder<'_>, operator: &Operator, code: u32) -> Table {
    let options = operator.options.as_ref().map(|options| {
        let start = fbb.start_table();
        for (field, setting) in options.settings.iter().enumerate() {
            let at = slot(field as u16);
            match *setting {
                Setting::Byte(value) => fbb.push_slot_always(at, value),
                Setting::Int(value) => fbb.push_slot_always(at, value),
                Setting::Float(value) => fbb.push_slot_always(at, value),
            }
        }
        (options.table, fbb.end_table(start))
    });
    let (inputs, outputs) = (fbb.create_vector(&operator.inputs), fbb.create_vector(&[operator.output]));
    let start = fbb.start_table();
    fbb.push_slot(slot(0), code, 0);
    fbb.push_slot_always(slot(1), inputs);
    fbb.push_slot_always(slot(2), outputs);
    if let Some((table, options)) = options {
        fbb.push_slot_always(slot(3), table);
        fbb.push_slot_always(slot(4), options);
    }
    fbb.end_table(start)
}

fn operator_code(fbb: &mut FlatBufferBuilder<'_>, word: Word, version: i32) -> Table {
    let start = fbb.start_table();
    // Readers from before 2020 know the first field only.
    fbb.push_slot_always(slot(0), word as i32 as i8);
    fbb.push_slot(slot(2), version, 1);
    fbb.push_slot(slot(3), word as i32, 0);
    fbb.end_table(start)
}

fn entry(fbb: &mut FlatBufferBuilder<'_>, name: &str, buffer: u32) -> Table {
    let name = fbb.create_string(name);
    let start = fbb.start_table();
    fbb.push_slot_always(slot(0), name);
    fbb.push_slot_always(slot(1), buffer);
    fbb.end_table(start)
}

fn signature(fbb: &mut FlatBufferBuilder<'_>, names: &[String; 2], tensors: [i32; 2]) -> Table {
    let mut ends: Vec<WIPOffset<Vector<'_, ForwardsUOffset<TableFinishedWIPOffset>>>> = Vec::new();
    for (name, tensor) in names.iter().zip(tensors) {
        let one = entry(fbb, name, tensor as u32);
        ends.push(fbb.create_vector(&[one]));
    }
    let key = fbb.create_string("serving_default");
    let start = fbb.start_table();
    fbb.push_slot_always(slot(0), ends[0]);
    fbb.push_slot_always(slot(1), ends[1]);
    fbb.push_slot_always(slot(2), key);
    fbb.end_table(start)
}
