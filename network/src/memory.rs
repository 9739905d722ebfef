//! Flash and peak memory of int8 inference on a microcontroller, by the accounting of the open TinyEngine
//! (`energy-and-compression` §f.4; MCUNet, arXiv:2007.10319; code at mit-han-lab/tinyengine).
//!
//! Activations are one byte an element. A depthwise convolution writes over its own input, channel by channel. Tensors
//! live from the operator that makes them to the last that reads them, and are placed largest first at the lowest
//! address that is free for their whole life. On top come one column buffer and one 16-bit copy of a k×k kernel, each as
//! large as the operator that needs most. Weights stay in flash.
//!
//! Departures where TinyEngine has no rule: squeeze-excite pools into vectors of its own and scales in place; a depthwise
//! convolution whose input is still needed for the residual does not run in place.

use crate::layers::{Layer, LayerKind, Read, Window, chain};
use crate::op::{Op, Workload};
use crate::units::Bytes;

/// Memory that one inference needs at its peak, weights not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeakMemory {
    /// Activations, packed.
    pub activations: Bytes,
    /// Column buffer of convolutions.
    pub column_buffer: Bytes,
    /// 16-bit copy of the largest k×k kernel.
    pub kernel_buffer: Bytes,
}

impl PeakMemory {
    /// All together: the SRAM that a board must have free.
    pub fn total(&self) -> Bytes {
        Bytes(self.activations.0 + self.column_buffer.0 + self.kernel_buffer.0)
    }

    /// The larger of each part: what a network needs at least whose operators need `self` and `other`.
    pub fn max(self, other: PeakMemory) -> PeakMemory {
        PeakMemory {
            activations: self.activations.max(other.activations),
            column_buffer: self.column_buffer.max(other.column_buffer),
            kernel_buffer: self.kernel_buffer.max(other.kernel_buffer),
        }
    }
}

/// Flash that `op` takes in int8: a byte a weight, and 4 bytes of bias and 4 of scale for every output channel of its
/// convolutions and linear layers. The engine's code comes on top.
pub fn flash(op: &Op) -> Bytes {
    let layers = op.layers();
    let weighted = layers.iter().filter(|layer| layer.is_weighted());
    Bytes(weighted.map(|layer| layer.weight_count() + 8 * u64::from(layer.output.channels)).sum())
}

/// Peak memory of operators that follow on each other, in int8.
pub fn peak_memory(workload: &Workload) -> PeakMemory {
    peak_memory_of(&chain(&workload.ops))
}

/// Peak memory of a network's layers in int8.
pub fn peak_memory_of(layers: &[Layer]) -> PeakMemory {
    let mut plan = Plan::default();
    let image = plan.input(layers.first().map_or(0, |layer| layer.input.elements()));
    let mut last_reads = vec![0; layers.len() + 1];
    for (at, layer) in layers.iter().enumerate() {
        for read in &layer.reads {
            last_reads[place(*read)] = at;
        }
    }
    let mut tensors = vec![image];
    for (at, layer) in layers.iter().enumerate() {
        let inputs: Vec<usize> = layer.reads.iter().map(|read| tensors[place(*read)]).collect();
        // What another layer still reads cannot be written over.
        let in_place = layer.reads.first().is_some_and(|read| last_reads[place(*read)] <= at);
        tensors.push(plan.layer(layer, &inputs, in_place));
    }
    PeakMemory {
        activations: Bytes(plan.pack()),
        column_buffer: Bytes(plan.column_buffer),
        kernel_buffer: Bytes(plan.kernel_buffer),
    }
}

/// The image first, then the layers.
fn place(read: Read) -> usize {
    match read {
        Read::Input(_) => 0,
        Read::Layer(at) => at + 1,
    }
}

struct Tensor {
    bytes: u64,
    /// Step that makes it.
    born: usize,
    /// Last step that reads it.
    last: usize,
    /// Step after which it is only `shrunk` bytes: a strided depthwise convolution in place.
    shrinks: Option<(usize, u64)>,
}

impl Tensor {
    /// Bytes that it takes away from `other`.
    fn bytes_beside(&self, other: &Tensor) -> u64 {
        match self.shrinks {
            Some((step, shrunk)) if other.born > step => shrunk,
            _ => self.bytes,
        }
    }
}

#[derive(Default)]
struct Plan {
    tensors: Vec<Tensor>,
    step: usize,
    column_buffer: u64,
    kernel_buffer: u64,
}

impl Plan {
    fn input(&mut self, bytes: u64) -> usize {
        self.tensors.push(Tensor { bytes, born: 0, last: 0, shrinks: None });
        self.tensors.len() - 1
    }

    /// One step that reads `inputs` and makes a tensor.
    fn make(&mut self, inputs: &[usize], bytes: u64) -> usize {
        for &input in inputs {
            self.tensors[input].last = self.step;
        }
        self.tensors.push(Tensor { bytes, born: self.step, last: self.step, shrinks: None });
        self.step += 1;
        self.tensors.len() - 1
    }

    /// The tensor that a layer makes, which may be the one that it reads.
    fn layer(&mut self, layer: &Layer, inputs: &[usize], in_place: bool) -> usize {
        let out = layer.output.elements();
        match layer.kind {
            LayerKind::Conv(Window { kernel, .. }, _) => {
                let taps = u64::from(kernel) * u64::from(kernel) * u64::from(layer.input.channels);
                // Two columns of 16-bit values.
                self.column_buffer = self.column_buffer.max(4 * taps);
                if kernel > 1 {
                    self.kernel_buffer = self.kernel_buffer.max(2 * taps * u64::from(layer.output.channels));
                }
                self.make(inputs, out)
            }
            LayerKind::Depthwise(window, _) => self.depthwise(layer, window, inputs[0], in_place),
            // Done by the layer before, on the way out.
            LayerKind::BatchNorm | LayerKind::Activation(_) if in_place => inputs[0],
            // An identity.
            LayerKind::Pool(_, Window { kernel: 1, stride: 1, .. }) if in_place => inputs[0],
            LayerKind::Scale if in_place => {
                for &input in inputs {
                    self.tensors[input].last = self.step;
                }
                self.step += 1;
                inputs[0]
            }
            LayerKind::Pool(..)
            | LayerKind::Linear(_)
            | LayerKind::Add
            | LayerKind::Concat
            | LayerKind::Scale
            | LayerKind::BatchNorm
            | LayerKind::Activation(_)
            | LayerKind::LocalResponse { .. } => self.make(inputs, out),
        }
    }

    fn depthwise(&mut self, layer: &Layer, window: Window, input: usize, in_place: bool) -> usize {
        let taps = u64::from(window.kernel) * u64::from(window.kernel);
        if !in_place {
            self.column_buffer = self.column_buffer.max(2 * taps * u64::from(layer.output.channels));
            return self.make(&[input], layer.output.elements());
        }
        let padded = u64::from(layer.input.size) + 2 * u64::from(window.kernel / 2);
        self.column_buffer = self.column_buffer.max(2 * padded * padded);
        let step = self.step;
        let tensor = &mut self.tensors[input];
        tensor.last = step;
        if window.stride > 1 {
            tensor.shrinks = Some((step, layer.output.elements()));
        }
        self.step += 1;
        input
    }

    /// First fit, largest first; the highest end of any tensor.
    fn pack(&self) -> u64 {
        let mut order: Vec<&Tensor> = self.tensors.iter().collect();
        order.sort_by_key(|tensor| std::cmp::Reverse(tensor.bytes));
        let mut placed: Vec<(u64, &Tensor)> = Vec::new();
        let mut peak = 0;
        for tensor in order {
            let mut beside: Vec<(u64, &Tensor)> = placed
                .iter()
                .copied()
                .filter(|(_, other)| tensor.born <= other.last && other.born <= tensor.last)
                .collect();
            beside.sort_by_key(|(address, _)| *address);
            let mut address = 0;
            for (start, other) in beside {
                if address + tensor.bytes_beside(other) <= start {
                    break;
                }
                address = address.max(start + other.bytes_beside(tensor));
            }
            peak = peak.max(address + tensor.bytes);
            placed.push((address, tensor));
        }
        peak
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::op::{Activation, Conv, InvertedBottleneck, Linear, Map, Pool};

    fn bottleneck(from: (u32, u32), width: u32, mid: u32, kernel: u32, stride: u32, residual: bool) -> Op {
        Op::InvertedBottleneck(InvertedBottleneck {
            input: Map::new(from.0, from.1),
            output: Map::new((from.0 - 1) / stride + 1, width),
            mid_channels: mid,
            kernel,
            stride,
            padding: kernel / 2,
            groups: 1,
            expand_conv: mid != from.1,
            se_channels: None,
            activation: Activation::Relu6,
            output_activation: Activation::None,
            residual,
        })
    }

    #[test]
    fn two_blocks_by_hand() {
        // 8×8×4 → 1×1 expand to 16 → depthwise in place → 1×1 to 4 → add.
        let ops = vec![bottleneck((8, 4), 4, 16, 3, 1, true)];
        let peak = peak_memory(&Workload { resolution: 8, ops });
        // Wide 1024, input 256, narrow 256; the sum (256) takes the place of the wide one.
        assert_eq!(peak.activations, Bytes(1024 + 256 + 256));
        assert_eq!(peak.column_buffer, Bytes(2 * 10 * 10));
        assert_eq!(peak.kernel_buffer, Bytes(0));
        // Stride 2: after the depthwise convolution only a quarter is left, and the output lies in what it freed.
        let ops = vec![bottleneck((8, 4), 8, 16, 3, 2, false)];
        assert_eq!(peak_memory(&Workload { resolution: 8, ops }).activations, Bytes(1024 + 256));
    }

    #[test]
    fn without_an_expand_convolution_a_residual_keeps_its_input() {
        let kept = vec![bottleneck((8, 4), 4, 4, 3, 1, true)];
        assert_eq!(peak_memory(&Workload { resolution: 8, ops: kept }).activations, Bytes(3 * 256));
        let in_place = vec![bottleneck((8, 4), 4, 4, 3, 1, false)];
        assert_eq!(peak_memory(&Workload { resolution: 8, ops: in_place }).activations, Bytes(2 * 256));
    }

    /// The SRAM and flash that TinyEngine publishes, in whole KiB, for published network configurations.
    #[test]
    fn published_networks_need_the_published_memory() {
        let read = |name: &str| -> Option<Value> {
            let path = shared_data::file(&format!("data/systems/mcunet/{name}"))?;
            Some(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
        };
        let Some(published) = read("published.json") else { return };
        // The last is what the same accounting gave in an independent program.
        let networks = [
            ("mcunet-in0", "mcunet-10fps_imagenet", 48.9),
            ("mcunet-in1", "mcunet-5fps_imagenet", 95.7),
            ("mcunet-in2", "mcunet-256kb-1mb_imagenet", 214.6),
            ("mcunet-vww1", "mcunet-5fps_vww.from_tflite", 91.8),
        ];
        for (name, config, independent) in networks {
            let Some(config) = read(&format!("configs/{config}.json")) else { return };
            let of_engine =
                |table: &str| published["tinyengine_readme_H743"][table][name]["tinyengine"].as_f64().unwrap();
            let workload = workload(&config);
            let peak = peak_memory(&workload);
            let got = peak.total().0 as f64 / 1024.0;
            let memory = of_engine("sram_kB");
            println!("{name}: {got:.2} KiB, published {memory}");
            assert_eq!(got.round(), memory, "{name}: {got:.2} KiB; {peak:?}");
            assert!((got - independent).abs() < 0.06, "{name}: {got:.2} KiB; {peak:?}");
            // What is published includes the engine's code, the same for all.
            let weights: Bytes = workload.ops.iter().map(flash).sum();
            let code = of_engine("flash_kB") - weights.0 as f64 / 1024.0;
            assert!((62.0..66.0).contains(&code), "{name}: {weights} of the published flash leave {code:.1} for code");
        }
    }

    /// Reads the published `net.config` layout.
    fn workload(file: &Value) -> Workload {
        let number = |value: &Value, key: &str| value[key].as_f64().map(|number| number as u32);
        let resolution = number(file, "resolution").unwrap();
        let stem = &file["first_conv"];
        let (width, stride) = (number(stem, "out_channels").unwrap(), number(stem, "stride").unwrap());
        let mut at = ((resolution - 1) / stride + 1, width);
        let plain = Conv::plain(Map::new(resolution, 3), Map::new(at.0, at.1));
        let activation = Activation::Relu6;
        let mut ops = vec![Op::Conv(Conv { kernel: 3, stride, padding: 1, batch_norm: true, activation, ..plain })];
        for block in file["blocks"].as_array().unwrap() {
            let inner = &block["mobile_inverted_conv"];
            let expand = inner["expand_ratio"].as_f64().unwrap();
            let mid = number(inner, "mid_channels").unwrap_or((f64::from(at.1) * expand).round() as u32);
            let [width, kernel, stride] =
                ["out_channels", "kernel_size", "stride"].map(|key| number(inner, key).unwrap());
            let next = bottleneck(at, width, mid, kernel, stride, !block["shortcut"].is_null());
            at = (next.output().size, width);
            ops.push(next);
        }
        let classes = number(&file["classifier"], "out_features").unwrap();
        ops.push(Op::Pool(Pool::global(Map::new(at.0, at.1))));
        ops.push(Op::Linear(Linear {
            input: Map::new(1, at.1),
            outputs: classes,
            bias: true,
            activation: Activation::None,
        }));
        Workload { resolution, ops }
    }
}
