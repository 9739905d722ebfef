//! What `network.json` holds of each kind of layer, field by field.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::op::{Activation, Conv, Map, Pool, PoolKind};

pub(super) type Pair = [u32; 2];

const fn one() -> u32 {
    1
}

fn none() -> String {
    "none".into()
}

fn is_none(word: &str) -> bool {
    word == "none"
}

fn is_one(value: &u32) -> bool {
    *value == 1
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConvFile {
    pub(super) input: Pair,
    pub(super) output: Pair,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) kernel: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) stride: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) padding: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) groups: u32,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) bias: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) batch_norm: bool,
    #[serde(default = "none", skip_serializing_if = "is_none")]
    pub(super) activation: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BottleneckFile {
    pub(super) input: Pair,
    pub(super) output: Pair,
    pub(super) mid: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) kernel: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) stride: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) padding: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) groups: u32,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) expand_conv: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) se: Option<u32>,
    #[serde(default = "none", skip_serializing_if = "is_none")]
    pub(super) activation: String,
    #[serde(default = "none", skip_serializing_if = "is_none")]
    pub(super) output_activation: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) residual: bool,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolFile {
    pub(super) input: Pair,
    pub(super) output: Pair,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) kernel: u32,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) stride: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) padding: u32,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinearFile {
    pub(super) input: Pair,
    pub(super) outputs: u32,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) bias: bool,
    #[serde(default = "none", skip_serializing_if = "is_none")]
    pub(super) activation: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResidualFile {
    pub(super) branch: Vec<ConvFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shortcut: Option<ConvFile>,
    #[serde(default = "none", skip_serializing_if = "is_none")]
    pub(super) activation: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FireFile {
    pub(super) squeeze: ConvFile,
    pub(super) expand_1x1: ConvFile,
    pub(super) expand_3x3: ConvFile,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InceptionFile {
    pub(super) branches: Vec<Vec<Value>>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LocalResponseFile {
    pub(super) input: Pair,
    pub(super) window: u32,
    pub(super) scale: f64,
    pub(super) power: f64,
    pub(super) bias: f64,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddFile {
    pub(super) input: Pair,
    pub(super) inputs: u32,
    #[serde(default = "none", skip_serializing_if = "is_none")]
    pub(super) activation: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConcatFile {
    pub(super) inputs: Vec<Pair>,
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FormatFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bits: Option<u32>,
    #[serde(default = "full")]
    pub(super) density: f64,
}

const fn full() -> f64 {
    1.0
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LayerFormatFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) weights: Option<FormatFile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) inputs: Option<FormatFile>,
}

pub(super) fn map([size, channels]: Pair) -> Map {
    Map { size, channels }
}

pub(super) fn pair(map: Map) -> Pair {
    [map.size, map.channels]
}

pub(super) const ACTIVATIONS: [Activation; 5] =
    [Activation::None, Activation::Relu, Activation::Relu6, Activation::HSwish, Activation::HSigmoid];

/// What is wrong and what to try.
pub(super) type Wrong = (String, Option<String>);

pub(super) fn activation(word: &str) -> Result<Activation, Wrong> {
    let known = ACTIVATIONS.map(Activation::name).join(", ");
    let found = ACTIVATIONS.into_iter().find(|activation| activation.name() == word);
    found.ok_or_else(|| (format!("there is no activation `{word}`"), Some(format!("known: {known}"))))
}

impl ConvFile {
    pub(super) fn of(conv: &Conv) -> Self {
        Self {
            input: pair(conv.input),
            output: pair(conv.output),
            kernel: conv.kernel,
            stride: conv.stride,
            padding: conv.padding,
            groups: conv.groups,
            bias: conv.bias,
            batch_norm: conv.batch_norm,
            activation: conv.activation.name().into(),
        }
    }

    pub(super) fn conv(self) -> Result<Conv, Wrong> {
        Ok(Conv {
            input: map(self.input),
            output: map(self.output),
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            groups: self.groups,
            bias: self.bias,
            batch_norm: self.batch_norm,
            activation: activation(&self.activation)?,
        })
    }
}

impl PoolFile {
    pub(super) fn of(pool: &Pool) -> Self {
        let (input, output) = (pair(pool.input), pair(pool.output));
        Self { input, output, kernel: pool.kernel, stride: pool.stride, padding: pool.padding }
    }

    pub(super) fn pool(self, kind: PoolKind) -> Pool {
        let Self { input, output, kernel, stride, padding } = self;
        Pool { kind, input: map(input), output: map(output), kernel, stride, padding }
    }
}
