//! A network in int8: what its numbers mean, and the arithmetic that every int8 file of it is held against.
//!
//! A number q stands for (q − zero point) · scale. Feature maps have one scale and zero point each, filters have zero point
//! 0 and one scale for each output, biases are whole numbers of input scale × filter scale (Jacob et al. 2018, arXiv:1712.05877, §2). [`arithmetic`] rounds as TensorFlow Lite's reference kernels do, so
//! that bytes can be compared; [`PreparedLayer`] runs one layer and [`Runner`] all of them.
//!
//! Feature maps are int8 with channels innermost (`[rows, columns, channels]`), as those kernels have them.

pub mod arithmetic;
mod run;

pub use run::{PreparedLayer, Runner};

use crate::layers::{Layer, LayerKind, Read};
use crate::op::{Activation, Map};

/// What the int8 numbers of a feature map stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The step from one number to the next, above 0.
    pub scale: f32,
    /// The number that stands for 0, from -128 to 127.
    pub zero_point: i32,
}

impl Scale {
    /// The finest scale that reaches from `least` to `most` and has 0 among its numbers.
    pub fn reaching(least: f32, most: f32) -> Scale {
        let (least, most) = (f64::from(least.min(0.0)), f64::from(most.max(0.0)));
        let scale = ((most - least) / 255.0).max(f64::from(f32::MIN_POSITIVE) * 2.0_f64.powi(24));
        let zero_point = (-128.0 - least / scale).round().clamp(-128.0, 127.0) as i32;
        Scale { scale: scale as f32, zero_point }
    }

    /// The number nearest to `real`, halves away from 0.
    pub fn quantise(self, real: f32) -> i8 {
        ((real / self.scale).round() + self.zero_point as f32).clamp(-128.0, 127.0) as i8
    }

    /// What `number` stands for.
    pub fn real(self, number: i8) -> f32 {
        (i32::from(number) - self.zero_point) as f32 * self.scale
    }

    /// The numbers that an activation leaves.
    pub fn range(self, activation: Activation) -> (i32, i32) {
        let number = |real: f32| self.zero_point + (real / self.scale).round() as i32;
        match activation {
            Activation::Relu => (number(0.0).max(-128), 127),
            Activation::Relu6 => (number(0.0).max(-128), number(6.0).min(127)),
            _ => (-128, 127),
        }
    }
}

/// A network in int8, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerNetwork {
    /// Size and channels of the image.
    pub input: Map,
    /// What the numbers of the image stand for: those of a picture are its bytes less 128.
    pub image: Scale,
    /// In an order in which they can run; the last one makes the output.
    pub layers: Vec<IntegerLayer>,
}

/// One layer in int8.
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerLayer {
    /// Its name in the network.
    pub name: String,
    /// What it is; what it reads are layers of the integer network.
    pub layer: Layer,
    /// Done to what it makes: none, ReLU or ReLU6.
    pub activation: Activation,
    /// Of what it makes.
    pub scale: Scale,
    /// What it computes with.
    pub numbers: Numbers,
}

/// What a layer computes with.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// In int8, without weights.
    Plain,
    /// In int8, with weights.
    Int8(IntegerWeights),
    /// In float32, kept so: what it reads is made real before it, and what it makes int8 behind it.
    Float32 {
        /// As [`crate::folded::FoldedLayer::weight`]; empty where it has none.
        weight: Vec<f32>,
        /// One for each output; empty where it has none.
        bias: Vec<f32>,
    },
}

/// Weights of a layer in int8.
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerWeights {
    /// From -127 to 127, in the order of [`crate::folded::FoldedLayer::weight`].
    pub values: Vec<i8>,
    /// One for each output.
    pub scales: Vec<f32>,
    /// One for each output, in units of input scale × filter scale.
    pub bias: Vec<i32>,
}

impl IntegerNetwork {
    /// What comes out.
    pub fn output(&self) -> Map {
        self.layers.last().map_or(self.input, |last| last.layer.output)
    }

    /// What the numbers that `read` names stand for.
    pub fn scale_of(&self, read: Read) -> Scale {
        match read {
            Read::Input(_) => self.image,
            Read::Layer(at) => self.layers[at].scale,
        }
    }

    /// What the output's numbers stand for.
    pub fn output_scale(&self) -> Scale {
        self.layers.last().map_or(self.image, |last| last.scale)
    }

    /// Bytes of weights and biases.
    pub fn bytes(&self) -> u64 {
        let of = |layer: &IntegerLayer| match &layer.numbers {
            Numbers::Plain => 0,
            Numbers::Int8(weights) => weights.values.len() + 4 * weights.bias.len() + 4 * weights.scales.len(),
            Numbers::Float32 { weight, bias } => 4 * (weight.len() + bias.len()),
        };
        self.layers.iter().map(|layer| of(layer) as u64).sum()
    }
}

/// Whether a layer can only pass on the scale of what it reads: it picks or averages numbers.
pub fn keeps_scale(kind: &LayerKind) -> bool {
    matches!(kind, LayerKind::Pool(..) | LayerKind::Concat)
}
