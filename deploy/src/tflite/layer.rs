//! One layer as operators of a file, in float32 or int8.

use network::integer::{IntegerWeights, Scale};
use network::layers::{Layer, LayerKind, Weights, Window};
use network::op::{Activation, Map, PoolKind};

use super::file::{File, Options, Quantisation, Setting, Type, Word, little_endian};
use crate::Unsupported;

/// A value of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) tensor: i32,
    pub(super) map: Map,
    /// Whether it is `[N, C]`, as fully connected layers make it, and not `[N, H, W, C]`.
    pub(super) is_vector: bool,
    /// What its numbers stand for; `None` for float32.
    pub(super) scale: Option<Scale>,
}

/// Weights of a layer, in the order of [`network::folded::FoldedLayer::weight`].
pub(super) enum Filters<'a> {
    None,
    Float(&'a [f32], &'a [f32]),
    Int8(&'a IntegerWeights, Scale),
}

/// A layer to be added.
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) layer: &'a Layer,
    pub(super) activation: Activation,
    pub(super) filters: Filters<'a>,
    /// What the numbers of its output stand for; `None` for float32.
    pub(super) scale: Option<Scale>,
}

/// `BuiltinOptions`.
mod table {
    pub(super) const CONV: u8 = 1;
    pub(super) const DEPTHWISE: u8 = 2;
    pub(super) const POOL: u8 = 5;
    pub(super) const LINEAR: u8 = 8;
    pub(super) const CONCAT: u8 = 10;
    pub(super) const ADD: u8 = 11;
    pub(super) const LOCAL_RESPONSE: u8 = 13;
    pub(super) const RESHAPE: u8 = 17;
    pub(super) const MUL: u8 = 21;
}

/// `Padding`.
const SAME: Setting = Setting::Byte(0);
const VALID: Setting = Setting::Byte(1);
const NOTHING: Setting = Setting::Byte(0);

/// Rows and columns around a map.
enum Around {
    Same,
    Valid,
    /// Above and below.
    Rows(i32, i32),
}

impl Around {
    fn new(layer: &Layer, window: Window) -> Around {
        let (input, output) = (layer.input.size, layer.output.size);
        let (above, below) = (i64::from(window.padding), window.below(input, output).max(0));
        let [size, kernel, stride] = [input, window.kernel, window.stride].map(i64::from);
        // What `SAME` would do: as little as possible, the odd row below.
        let positions = (size + stride - 1) / stride;
        let rows = ((positions - 1) * stride + kernel - size).max(0);
        if above == 0 && below == 0 {
            Around::Valid
        } else if i64::from(output) == positions && above == rows / 2 && below == rows - rows / 2 {
            Around::Same
        } else {
            Around::Rows(above as i32, below as i32)
        }
    }
}

fn shape(map: Map) -> [i32; 4] {
    [1, map.size as i32, map.size as i32, map.channels as i32]
}

fn shape_as(map: Map, is_vector: bool) -> Vec<i32> {
    if is_vector { vec![1, map.channels as i32] } else { shape(map).to_vec() }
}

fn fused(activation: Activation) -> Setting {
    Setting::Byte(match activation {
        Activation::Relu => 1,
        Activation::Relu6 => 3,
        _ => 0,
    })
}

impl Part<'_> {
    /// Adds it, reading `inputs`; what it makes.
    ///
    /// # Errors
    /// A layer that the format has no operator for.
    pub(super) fn add(&self, file: &mut File, inputs: &[Value]) -> Result<Value, Unsupported> {
        let (layer, first) = (self.layer, inputs[0]);
        let tensors: Vec<i32> = inputs.iter().map(|input| input.tensor).collect();
        // Versions by which operators came to know int8.
        let since = |int8: i32| if self.scale.is_some() { int8 } else { 1 };
        Ok(match layer.kind {
            LayerKind::Conv(window, Weights { groups, .. }) => self.convolve(file, first, window, groups),
            LayerKind::Depthwise(window, _) => self.depthwise(file, first, window),
            // In int8 runtimes round fully connected layers in different ways, and some know one scale for all outputs only;
            // a convolution over the whole map is the same everywhere.
            LayerKind::Linear(_) if self.scale.is_some() => {
                let window = Window { kernel: layer.input.size, stride: 1, padding: 0 };
                self.convolve(file, first, window, 1)
            }
            LayerKind::Linear(_) => {
                let (outputs, area) = (layer.output.channels as usize, layer.input.area() as usize);
                let width = layer.input.channels as usize;
                let row = |output: usize| {
                    (0..area).flat_map(move |at| (0..width).map(move |c| (output * width + c) * area + at))
                };
                let order: Vec<usize> = (0..outputs).flat_map(row).collect();
                let shape = [outputs as i32, (area * width) as i32];
                let row = match first.is_vector && area == 1 {
                    true => first,
                    false => reshaped(file, first, &format!("{}.row", self.name), &[1, (area * width) as i32]),
                };
                let [weight, bias] = self.weights(file, &shape, &order, 0);
                let output = self.output(file, true);
                let options = Options::new(table::LINEAR, vec![fused(self.activation)]);
                file.operator((Word::FullyConnected, 1), &[row.tensor, weight, bias], output.tensor, options);
                output
            }
            LayerKind::Pool(_, Window { kernel: 1, stride: 1, padding: 0 }) => first,
            LayerKind::Pool(kind, window) => {
                let map = self.as_map(file, first);
                self.pool(file, map, kind, window, since(2))?
            }
            LayerKind::Add => {
                let mut sum = first;
                for (at, other) in inputs.iter().enumerate().skip(1) {
                    let is_last = at + 1 == inputs.len();
                    let output = self.output(file, first.is_vector);
                    let clamp = fused(if is_last { self.activation } else { Activation::None });
                    // 16-bit sums do not arise; the second setting is what converters leave.
                    let options = Options::new(table::ADD, vec![clamp, Setting::Byte(1)]);
                    file.operator((Word::Add, since(2)), &[sum.tensor, other.tensor], output.tensor, options);
                    sum = output;
                }
                sum
            }
            LayerKind::Concat => {
                let output = self.output(file, first.is_vector);
                let axis = Setting::Int(if first.is_vector { 1 } else { 3 });
                let options = Options::new(table::CONCAT, vec![axis, NOTHING]);
                file.operator((Word::Concatenation, since(2)), &tensors, output.tensor, options);
                output
            }
            LayerKind::Scale => {
                let (map, gate) = (self.as_map(file, first), self.as_map(file, inputs[1]));
                let output = self.output(file, false);
                let options = Options::new(table::MUL, vec![fused(self.activation)]);
                file.operator((Word::Mul, since(2)), &[map.tensor, gate.tensor], output.tensor, options);
                output
            }
            LayerKind::Activation(activation) => {
                let code = match activation {
                    Activation::None => return Ok(first),
                    Activation::Relu => (Word::Relu, since(2)),
                    Activation::Relu6 => (Word::Relu6, since(2)),
                    Activation::HSwish => (Word::HardSwish, 1),
                    Activation::HSigmoid => return Err(self.unsupported("h-sigmoid")),
                };
                let output = self.output(file, first.is_vector);
                file.operator(code, &tensors, output.tensor, None);
                output
            }
            LayerKind::LocalResponse { window, scale, power, bias } => {
                if window % 2 == 0 {
                    return Err(self.unsupported("local response normalisation over an even number of channels"));
                }
                let settings = vec![
                    Setting::Int(window as i32 / 2),
                    Setting::Float(bias.0 as f32),
                    // Not divided by the window here.
                    Setting::Float((scale.0 / f64::from(window)) as f32),
                    Setting::Float(power.0 as f32),
                ];
                let output = self.output(file, false);
                let options = Options::new(table::LOCAL_RESPONSE, settings);
                file.operator((Word::LocalResponse, 1), &tensors, output.tensor, options);
                output
            }
            LayerKind::BatchNorm => return Err(self.unsupported("batch norm without a convolution before it")),
        })
    }

    fn unsupported(&self, what: &'static str) -> Unsupported {
        Unsupported { format: "TensorFlow Lite", layer: self.name.to_owned(), what }
    }

    fn numbers(&self) -> (Type, Quantisation) {
        numbers(self.scale)
    }

    /// The tensor that it makes.
    fn output(&self, file: &mut File, is_vector: bool) -> Value {
        let map = self.layer.output;
        let (kind, of) = self.numbers();
        let tensor = file.feature(self.name, &shape_as(map, is_vector), kind, of);
        Value { tensor, map, is_vector, scale: self.scale }
    }

    /// A vector as a map of one position.
    fn as_map(&self, file: &mut File, value: Value) -> Value {
        if !value.is_vector {
            return value;
        }
        reshaped(file, value, &format!("{}.map", self.name), &shape(value.map))
    }

    /// Filters in the order of their `places`, and biases.
    fn weights(&self, file: &mut File, shape: &[i32], places: &[usize], axis: i32) -> [i32; 2] {
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{}.{part}", self.name));
        match &self.filters {
            Filters::None => panic!("{} has no weights", self.name),
            Filters::Float(values, biases) => {
                let values = places.iter().flat_map(|at| values[*at].to_le_bytes()).collect();
                let weight = file.constant(&weight, shape, (Type::Float32, values), Quantisation::None);
                let values = biases.iter().flat_map(|value| value.to_le_bytes()).collect();
                let count = [biases.len() as i32];
                [weight, file.constant(&bias, &count, (Type::Float32, values), Quantisation::None)]
            }
            Filters::Int8(weights, input) => {
                let values = places.iter().map(|at| weights.values[*at] as u8).collect();
                let of = Quantisation::Axis(weights.scales.clone(), axis);
                let weight = file.constant(&weight, shape, (Type::Int8, values), of);
                let units: Vec<f32> = weights.scales.iter().map(|scale| input.scale * scale).collect();
                let (count, values) = ([weights.bias.len() as i32], little_endian(&weights.bias));
                [weight, file.constant(&bias, &count, (Type::Int32, values), Quantisation::Axis(units, 0))]
            }
        }
    }

    /// The input with rows around it where the runtime does not put them there by itself.
    fn padded(&self, file: &mut File, input: Value, around: &Around, lowest: bool) -> (i32, Setting) {
        let (above, below) = match *around {
            Around::Same => return (input.tensor, SAME),
            Around::Valid => return (input.tensor, VALID),
            Around::Rows(above, below) => (above, below),
        };
        let mut dims = shape(input.map);
        dims[1] += above + below;
        dims[2] += above + below;
        let (name, (kind, of)) = (format!("{}.pad", self.name), numbers(input.scale));
        let output = file.feature(&name, &dims, kind, of.clone());
        let rows = file.integers(&format!("{name}.rows"), &[4, 2], &[0, 0, above, below, above, below, 0, 0]);
        let version = if input.scale.is_some() { 2 } else { 1 };
        if lowest {
            let bytes = if input.scale.is_some() { vec![i8::MIN as u8] } else { f32::MIN.to_le_bytes().to_vec() };
            let least = file.constant(&format!("{name}.value"), &[1], (kind, bytes), of);
            file.operator((Word::PadV2, version), &[input.tensor, rows, least], output, None);
        } else {
            file.operator((Word::Pad, version), &[input.tensor, rows], output, None);
        }
        (output, VALID)
    }

    fn convolve(&self, file: &mut File, input: Value, window: Window, groups: u32) -> Value {
        let input = self.as_map(file, input);
        let (from, padding) = self.padded(file, input, &Around::new(self.layer, window), false);
        let (outputs, taps) = (self.layer.output.channels as usize, (window.kernel * window.kernel) as usize);
        let width = (self.layer.input.channels / groups.max(1)) as usize;
        let filter =
            |output: usize| (0..taps).flat_map(move |tap| (0..width).map(move |c| (output * width + c) * taps + tap));
        let order: Vec<usize> = (0..outputs).flat_map(filter).collect();
        let [kernel, stride] = [window.kernel as i32, window.stride as i32];
        let [weight, bias] = self.weights(file, &[outputs as i32, kernel, kernel, width as i32], &order, 0);
        let output = self.output(file, false);
        let settings = vec![padding, Setting::Int(stride), Setting::Int(stride), fused(self.activation)];
        let version = match (groups > 1, self.scale) {
            (true, _) => 6,
            (false, Some(_)) => 3,
            (false, None) => 1,
        };
        file.operator(
            (Word::Conv, version),
            &[from, weight, bias],
            output.tensor,
            Options::new(table::CONV, with_dilation(settings)),
        );
        output
    }

    fn depthwise(&self, file: &mut File, input: Value, window: Window) -> Value {
        let input = self.as_map(file, input);
        let (from, padding) = self.padded(file, input, &Around::new(self.layer, window), false);
        let (channels, taps) = (self.layer.output.channels as usize, (window.kernel * window.kernel) as usize);
        let order: Vec<usize> =
            (0..taps).flat_map(|tap| (0..channels).map(move |channel| channel * taps + tap)).collect();
        let [kernel, stride] = [window.kernel as i32, window.stride as i32];
        let [weight, bias] = self.weights(file, &[1, kernel, kernel, channels as i32], &order, 3);
        let output = self.output(file, false);
        let stride = Setting::Int(stride);
        let settings = vec![padding, stride, stride, Setting::Int(1), fused(self.activation)];
        let version = if self.scale.is_some() { 3 } else { 1 };
        file.operator(
            (Word::DepthwiseConv, version),
            &[from, weight, bias],
            output.tensor,
            Options::new(table::DEPTHWISE, with_dilation(settings)),
        );
        output
    }

    fn pool(
        &self,
        file: &mut File,
        input: Value,
        kind: PoolKind,
        window: Window,
        version: i32,
    ) -> Result<Value, Unsupported> {
        let layer = self.layer;
        let around = Around::new(layer, window);
        if kind == PoolKind::Average && matches!(around, Around::Rows(..)) {
            return Err(self.unsupported("average pooling with such rows around the map"));
        }
        let (from, padding) = self.padded(file, input, &around, true);
        let output = self.output(file, false);
        let kernel = Setting::Int(if layer.output.size == 1 && window.padding == 0 {
            window.kernel.min(layer.input.size) as i32
        } else {
            window.kernel as i32
        });
        let stride = Setting::Int(window.stride as i32);
        let options = Options::new(table::POOL, vec![padding, stride, stride, kernel, kernel, NOTHING]);
        let word = if kind == PoolKind::Max { Word::MaxPool } else { Word::AveragePool };
        file.operator((word, version), &[from], output.tensor, options);
        Ok(output)
    }
}

/// Settings with a step of one between a filter's rows and columns at their end.
fn with_dilation(mut settings: Vec<Setting>) -> Vec<Setting> {
    settings.extend([Setting::Int(1), Setting::Int(1)]);
    settings
}

pub(super) fn numbers(scale: Option<Scale>) -> (Type, Quantisation) {
    scale.map_or((Type::Float32, Quantisation::None), |scale| (Type::Int8, Quantisation::Map(scale)))
}

/// The same numbers in another shape, any number of images at a time.
pub(super) fn reshaped(file: &mut File, value: Value, name: &str, dims: &[i32]) -> Value {
    let (kind, of) = numbers(value.scale);
    let output = file.feature(name, dims, kind, of);
    let any: Vec<i32> = [-1].iter().chain(&dims[1..]).copied().collect();
    let shape = file.integers(&format!("{name}.shape"), &[any.len() as i32], &any);
    file.operator((Word::Reshape, 1), &[value.tensor, shape], output, Options::new(table::RESHAPE, Vec::new()));
    Value { tensor: output, is_vector: dims.len() == 2, ..value }
}

/// The same value in float32, or in int8 of another scale.
pub(super) fn converted(file: &mut File, value: Value, name: &str, scale: Option<Scale>) -> Value {
    let (kind, of) = numbers(scale);
    let output = file.feature(name, &shape_as(value.map, value.is_vector), kind, of);
    let code = if scale.is_some() { (Word::Quantize, 1) } else { (Word::Dequantize, 2) };
    file.operator(code, &[value.tensor], output, None);
    Value { tensor: output, scale, ..value }
}
