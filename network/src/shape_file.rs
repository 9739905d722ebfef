//! `network.json` (`ofa.network/1`): a network with absolute shapes, which no search space has to know.
//!
//! ```json
//! {"schema": "ofa.network/1", "input": [32, 3], "batch_norm_eps": 0.001, "layers": [
//!   {"name": "stem", "kind": "conv", "input": [32, 3], "output": [32, 16], "kernel": 3, "padding": 1, "batch_norm": true,
//!    "activation": "relu"},
//!   {"name": "blocks.0", "kind": "mbconv", "input": [32, 16], "output": [16, 24], "mid": 46, "kernel": 5, "stride": 2,
//!    "padding": 2, "expand_conv": true, "activation": "relu"},
//!   {"name": "pool", "kind": "avgpool", "input": [16, 24], "output": [1, 24], "kernel": 16},
//!   {"name": "classifier", "kind": "linear", "input": [1, 24], "outputs": 10, "bias": true}]}
//! ```
//!
//! A map is `[size, channels]`. `reads` names what a layer reads, `image` being the network's input; without it a layer
//! reads the one before. Kernel, stride and groups are 1, padding is 0, bias, batch norm, residual and `expand_conv` are
//! false and activations are none unless stated. `kind` is one of `conv`, `mbconv` (`mid`, `se`, `output_activation`,
//! `residual`), `avgpool`, `maxpool`, `linear`, `residual` (`branch`: convolutions, `shortcut`), `fire` (`squeeze`,
//! `expand_1x1`, `expand_3x3`), `inception` (`branches` of steps), `lrn` (`window`, `scale`, `power`, `bias`), `add`,
//! `concat`. `formats` states bits and densities by part: `{"conv": {"weights": {"bits": 8, "density": 0.3}}}`.

mod records;
mod schema;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map as Object, Value, json};
use storage::failure::{Failure, FailureKind};
use storage::names::nearest;

use crate::layers::Format;
use crate::op::{Fire, Inception, InvertedBottleneck, Linear, LocalResponse, Op, PoolKind, Real, Residual, Step};
use crate::shape::{Draft, IMAGE, LayerFormat, NetworkShape, ShapeError, Source};

use self::records::{
    AddFile, BottleneckFile, ConcatFile, ConvFile, FireFile, FormatFile, InceptionFile, LayerFormatFile, LinearFile,
    LocalResponseFile, Pair, PoolFile, ResidualFile, Wrong, activation, map, pair,
};
pub use self::schema::schema;

/// The word of the format.
pub const SCHEMA: &str = "ofa.network/1";

/// A text that describes no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeFileError {
    /// No JSON, or not of this shape.
    #[error("it is not a network of {SCHEMA}: {problem}")]
    Syntax {
        /// What the reader said.
        problem: String,
    },
    /// A layer whose fields make no sense.
    #[error("layer {layer}: {problem}")]
    Layer {
        /// Its name, or its number from 1 where it has none.
        layer: String,
        /// What is wrong.
        problem: String,
        /// What to try.
        hint: Option<String>,
    },
    /// Layers that do not make a network.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl Failure for ShapeFileError {
    fn kind(&self) -> FailureKind {
        FailureKind::Content
    }

    fn hint(&self) -> Option<String> {
        match self {
            ShapeFileError::Syntax { .. } => Some(format!(
                "it is {{\"schema\":\"{SCHEMA}\",\"input\":[size, channels],\"layers\":[{{\"name\":…,\"kind\":…,…}},…]}}"
            )),
            ShapeFileError::Layer { hint, .. } => hint.clone(),
            ShapeFileError::Shape(error) => error.hint(),
        }
    }
}

fn fields<T: DeserializeOwned>(fields: Object<String, Value>) -> Result<T, Wrong> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| (error.to_string(), None))
}

const KINDS: [&str; 11] =
    ["conv", "mbconv", "avgpool", "maxpool", "linear", "residual", "fire", "inception", "lrn", "add", "concat"];

fn op(kind: &str, given: Object<String, Value>) -> Result<Op, Wrong> {
    Ok(match kind {
        "conv" => Op::Conv(fields::<ConvFile>(given)?.conv()?),
        "mbconv" => {
            let file: BottleneckFile = fields(given)?;
            Op::InvertedBottleneck(InvertedBottleneck {
                input: map(file.input),
                output: map(file.output),
                mid_channels: file.mid,
                kernel: file.kernel,
                stride: file.stride,
                padding: file.padding,
                groups: file.groups,
                expand_conv: file.expand_conv,
                se_channels: file.se,
                activation: activation(&file.activation)?,
                output_activation: activation(&file.output_activation)?,
                residual: file.residual,
            })
        }
        "avgpool" => Op::Pool(fields::<PoolFile>(given)?.pool(PoolKind::Average)),
        "maxpool" => Op::Pool(fields::<PoolFile>(given)?.pool(PoolKind::Max)),
        "linear" => {
            let LinearFile { input, outputs, bias, activation: word } = fields(given)?;
            Op::Linear(Linear { input: map(input), outputs, bias, activation: activation(&word)? })
        }
        "residual" => {
            let file: ResidualFile = fields(given)?;
            let branch = file.branch.into_iter().map(ConvFile::conv).collect::<Result<_, _>>()?;
            let shortcut = file.shortcut.map(ConvFile::conv).transpose()?;
            Op::Residual(Residual { branch, shortcut, activation: activation(&file.activation)? })
        }
        "fire" => {
            let FireFile { squeeze, expand_1x1, expand_3x3 } = fields(given)?;
            let (expand_1x1, expand_3x3) = (expand_1x1.conv()?, expand_3x3.conv()?);
            Op::Fire(Fire { squeeze: squeeze.conv()?, expand_1x1, expand_3x3 })
        }
        "inception" => {
            let file: InceptionFile = fields(given)?;
            let branches = file.branches.into_iter().map(|steps| steps.into_iter().map(step).collect());
            Op::Inception(Inception { branches: branches.collect::<Result<_, Wrong>>()? })
        }
        "lrn" => {
            let LocalResponseFile { input, window, scale, power, bias } = fields(given)?;
            let [scale, power, bias] = [scale, power, bias].map(Real);
            Op::LocalResponse(LocalResponse { map: map(input), window, scale, power, bias })
        }
        "add" => {
            let AddFile { input, inputs, activation: word } = fields(given)?;
            Op::Add { map: map(input), inputs, activation: activation(&word)? }
        }
        "concat" => Op::Concat { inputs: fields::<ConcatFile>(given)?.inputs.into_iter().map(map).collect() },
        other => {
            let near = nearest(other, KINDS);
            let hint = if near.is_empty() {
                format!("known: {}", KINDS.join(", "))
            } else {
                format!("did you mean {}?", near.join(" or "))
            };
            return Err((format!("there is no kind `{other}`"), Some(hint)));
        }
    })
}

fn step(value: Value) -> Result<Step, Wrong> {
    let Value::Object(mut given) = value else { return Err(("a step of a branch is no object".into(), None)) };
    let kind = given.remove("kind").and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    match op(&kind, given)? {
        Op::Conv(conv) => Ok(Step::Conv(conv)),
        Op::Pool(pool) => Ok(Step::Pool(pool)),
        _ => Err((format!("`{kind}` is no step of a branch"), Some("known: conv, avgpool, maxpool".into()))),
    }
}

/// Reads a network.
///
/// # Errors
/// What is wrong, with the layer's name.
pub fn parse(text: &str) -> Result<NetworkShape, ShapeFileError> {
    let syntax = |problem: String| ShapeFileError::Syntax { problem };
    let file = storage::json::parse(text.as_bytes()).map_err(|error| syntax(error.to_string()))?;
    match file["schema"].as_str() {
        Some(SCHEMA) => {}
        Some(other) => return Err(syntax(format!("its schema is `{other}`"))),
        None => return Err(syntax("it has no `schema`".into())),
    }
    let known = ["schema", "input", "batch_norm_eps", "layers", "origin"];
    if let Some(odd) = file.as_object().and_then(|file| file.keys().find(|key| !known.contains(&key.as_str()))) {
        return Err(syntax(format!("there is no field `{odd}`; fields are {}", known.join(", "))));
    }
    let input: Pair = serde_json::from_value(file["input"].clone())
        .map_err(|error| syntax(format!("input is [size, channels]: {error}")))?;
    let eps = match &file["batch_norm_eps"] {
        Value::Null => 1e-5,
        eps => eps.as_f64().filter(|eps| *eps >= 0.0).ok_or_else(|| syntax(format!("batch_norm_eps is {eps}")))?,
    };
    let layers = file["layers"].as_array().ok_or_else(|| syntax("it has no list `layers`".into()))?;
    let drafts = layers.iter().enumerate().map(|(at, layer)| draft(at, layer)).collect::<Result<Vec<_>, _>>()?;
    Ok(NetworkShape::new(map(input), drafts, eps)?)
}

fn draft(at: usize, layer: &Value) -> Result<Draft, ShapeFileError> {
    let number = format!("number {}", at + 1);
    let wrong = |layer: &str, (problem, hint): Wrong| {
        let layer = if layer == number { layer.to_owned() } else { format!("`{layer}`") };
        ShapeFileError::Layer { layer, problem, hint }
    };
    let Value::Object(mut given) = layer.clone() else { return Err(wrong(&number, ("it is no object".into(), None))) };
    let Some(name) = given.remove("name").and_then(|name| name.as_str().map(str::to_owned)) else {
        return Err(wrong(&number, ("it has no `name`".into(), Some("weights are found by it".into()))));
    };
    let Some(kind) = given.remove("kind").and_then(|kind| kind.as_str().map(str::to_owned)) else {
        return Err(wrong(&name, ("it has no `kind`".into(), Some(format!("known: {}", KINDS.join(", "))))));
    };
    let mut take = |field: &str| given.remove(field).unwrap_or(Value::Null);
    let (reads, formats) = (take("reads"), take("formats"));
    let listed = |what: &str, error: serde_json::Error| wrong(&name, (format!("{what}: {error}"), None));
    let reads: Option<Vec<String>> = serde_json::from_value(reads).map_err(|error| listed("reads", error))?;
    let formats: Option<BTreeMap<String, LayerFormatFile>> =
        serde_json::from_value(formats).map_err(|error| listed("formats", error))?;
    let format =
        |file: Option<FormatFile>| file.map_or(Format::DENSE, |FormatFile { bits, density }| Format { bits, density });
    let formats = formats.unwrap_or_default().into_iter();
    let formats = formats
        .map(|(part, file)| (part, LayerFormat { weights: format(file.weights), inputs: format(file.inputs) }))
        .collect();
    let op = op(&kind, given).map_err(|problem| wrong(&name, problem))?;
    Ok(Draft { name, op, reads, formats })
}

/// Writes a network; `origin` says where it comes from (published name, space and subnet, parent, moves).
pub fn to_json(network: &NetworkShape, origin: Option<&Value>) -> Value {
    let mut layers = Vec::new();
    for (at, node) in network.nodes().iter().enumerate() {
        let mut layer = Object::new();
        layer.insert("name".into(), json!(node.name));
        let (kind, fields) = fields_of(&node.op);
        layer.insert("kind".into(), json!(kind));
        let before = match at.checked_sub(1) {
            Some(before) => Source::Node(before),
            None => Source::Image,
        };
        if node.reads != [before] {
            let name = |source: &Source| match source {
                Source::Image => IMAGE.to_owned(),
                Source::Node(at) => network.nodes()[*at].name.clone(),
            };
            layer.insert("reads".into(), node.reads.iter().map(name).collect());
        }
        if let Value::Object(fields) = fields {
            layer.extend(fields);
        }
        if !node.formats.is_empty() {
            let one = |Format { bits, density }: Format| json!(FormatFile { bits, density });
            let both = |format: &LayerFormat| json!({"weights": one(format.weights), "inputs": one(format.inputs)});
            let formats = node.formats.iter().map(|(part, format)| (part.clone(), both(format)));
            layer.insert("formats".into(), Value::Object(formats.collect()));
        }
        layers.push(Value::Object(layer));
    }
    let mut file = Object::new();
    file.insert("schema".into(), json!(SCHEMA));
    if let Some(origin) = origin {
        file.insert("origin".into(), origin.clone());
    }
    file.insert("input".into(), json!(pair(network.input())));
    file.insert("batch_norm_eps".into(), json!(network.batch_norm_eps()));
    file.insert("layers".into(), Value::Array(layers));
    Value::Object(file)
}

fn fields_of(op: &Op) -> (&'static str, Value) {
    let fields = match op {
        Op::Conv(conv) => json!(ConvFile::of(conv)),
        Op::InvertedBottleneck(block) => json!(BottleneckFile {
            input: pair(block.input),
            output: pair(block.output),
            mid: block.mid_channels,
            kernel: block.kernel,
            stride: block.stride,
            padding: block.padding,
            groups: block.groups,
            expand_conv: block.expand_conv,
            se: block.se_channels,
            activation: block.activation.name().into(),
            output_activation: block.output_activation.name().into(),
            residual: block.residual,
        }),
        Op::Pool(pool) => json!(PoolFile::of(pool)),
        Op::Linear(linear) => json!(LinearFile {
            input: pair(linear.input),
            outputs: linear.outputs,
            bias: linear.bias,
            activation: linear.activation.name().into(),
        }),
        Op::Residual(block) => json!(ResidualFile {
            branch: block.branch.iter().map(ConvFile::of).collect(),
            shortcut: block.shortcut.as_ref().map(ConvFile::of),
            activation: block.activation.name().into(),
        }),
        Op::Fire(fire) => json!(FireFile {
            squeeze: ConvFile::of(&fire.squeeze),
            expand_1x1: ConvFile::of(&fire.expand_1x1),
            expand_3x3: ConvFile::of(&fire.expand_3x3),
        }),
        Op::Inception(module) => {
            let step = |step: &Step| {
                let (kind, fields) = match step {
                    Step::Conv(conv) => fields_of(&Op::Conv(*conv)),
                    Step::Pool(pool) => fields_of(&Op::Pool(*pool)),
                };
                let mut object = Object::from_iter([("kind".to_owned(), json!(kind))]);
                if let Value::Object(fields) = fields {
                    object.extend(fields);
                }
                Value::Object(object)
            };
            let branches = module.branches.iter().map(|branch| branch.iter().map(step).collect());
            json!(InceptionFile { branches: branches.collect() })
        }
        Op::LocalResponse(LocalResponse { map, window, scale, power, bias }) => {
            let (scale, power, bias) = (scale.0, power.0, bias.0);
            json!(LocalResponseFile { input: pair(*map), window: *window, scale, power, bias })
        }
        Op::Add { map, inputs, activation } => {
            json!(AddFile { input: pair(*map), inputs: *inputs, activation: activation.name().into() })
        }
        Op::Concat { inputs } => json!(ConcatFile { inputs: inputs.iter().copied().map(pair).collect() }),
    };
    (op.word(), fields)
}
