//! `ofa target template --models`: one ONNX model per operator of a work list, to be timed wherever ONNX runs.
//!
//! Each computes what the deployed operator does: batch norm folded, fp32, batch 1, random weights, since no operator's
//! time depends on them. The folder also holds the work list, `operators.csv`; with a profile beside each model,
//! `ofa target import ort-profile FOLDER` (or `tflite-benchmark`) makes a table of it.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use hw_targets::table::OpTable;
use network::workload::{Activation, Op, OpKind};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use storage::atomic::write_atomically;

use crate::error::AppError;
use crate::onnx::{Attribute, Graph};

/// Writes `list` and a model per operator of it into `folder`, each model under the operator's `source_key`. Models of
/// the same name are replaced.
///
/// # Errors
/// Files that cannot be written.
pub fn write(list: &OpTable, folder: &Path) -> Result<()> {
    for row in list.rows() {
        let Some(name) = &row.source_key else { continue };
        let model = model(name, row.key.op());
        let path = folder.join(format!("{name}.onnx"));
        write_atomically(&path, |file| file.write_all(&model)).map_err(|source| AppError::Write { source })?;
    }
    list.write_csv(&folder.join("operators.csv"))?;
    Ok(())
}

/// An operator as an ONNX file.
fn model(name: &str, op: &Op) -> Vec<u8> {
    let wide = i64::from;
    let map = |channels, size| [1, wide(channels), wide(size), wide(size)];
    let (input, output) = (map(op.in_channels, op.in_size), map(op.out_channels, op.out_size));
    let is_linear = op.kind == OpKind::Linear;
    let graph = Graph::new(name, if is_linear { &input[..2] } else { &input });
    let mut builder = Builder { graph, rng: ChaCha8Rng::seed_from_u64(0) };
    let conv = Conv { kernel: op.kernel, stride: op.stride, groups: op.groups, activation: op.activation };
    let result = match op.kind {
        OpKind::Conv => builder.conv("input", op.in_channels, op.out_channels, &conv),
        OpKind::MbConv => builder.block(op),
        OpKind::AvgPool => builder.graph.node("GlobalAveragePool", &["input"], Vec::new()),
        OpKind::Linear => {
            let weight = builder.weights(&[wide(op.out_channels), wide(op.in_channels)]);
            let bias = builder.zeros(op.out_channels);
            builder.graph.node("Gemm", &["input", &weight, &bias], vec![("transB", Attribute::Int(1))])
        }
    };
    builder.graph.finish(&result, if is_linear { &output[..2] } else { &output })
}

/// A convolution but for its channels.
struct Conv {
    kernel: u32,
    stride: u32,
    groups: u32,
    activation: Activation,
}

struct Builder {
    graph: Graph,
    rng: ChaCha8Rng,
}

impl Builder {
    /// \[1×1 expand\] → k×k depthwise → \[squeeze-excite\] → 1×1 project → \[+ input\].
    fn block(&mut self, op: &Op) -> String {
        let mid = op.mid_channels;
        let pointwise = |activation| Conv { kernel: 1, stride: 1, groups: op.groups, activation };
        let depthwise = Conv { kernel: op.kernel, stride: op.stride, groups: mid, activation: op.activation };
        let expanded = match op.expand_conv {
            true => self.conv("input", op.in_channels, mid, &pointwise(op.activation)),
            false => "input".to_owned(),
        };
        let mut inner = self.conv(&expanded, mid, mid, &depthwise);
        if op.se_channels > 0 {
            let dense = |activation| Conv { kernel: 1, stride: 1, groups: 1, activation };
            let pooled = self.graph.node("GlobalAveragePool", &[&inner], Vec::new());
            let narrow = self.conv(&pooled, mid, op.se_channels, &dense(Activation::Relu));
            let wide = self.conv(&narrow, op.se_channels, mid, &dense(Activation::None));
            // x / 6 + 1/2 between 0 and 1, as h-swish has it.
            let sixth = vec![("alpha", Attribute::Float(1.0 / 6.0)), ("beta", Attribute::Float(0.5))];
            let gate = self.graph.node("HardSigmoid", &[&wide], sixth);
            inner = self.graph.node("Mul", &[&inner, &gate], Vec::new());
        }
        let projected = self.conv(&inner, mid, op.out_channels, &pointwise(Activation::None));
        if op.residual { self.graph.node("Add", &[&projected, "input"], Vec::new()) } else { projected }
    }

    fn conv(&mut self, from: &str, inputs: u32, outputs: u32, conv: &Conv) -> String {
        let (kernel, stride, groups) = (i64::from(conv.kernel), i64::from(conv.stride), i64::from(conv.groups));
        let weight = self.weights(&[i64::from(outputs), i64::from(inputs) / groups, kernel, kernel]);
        let bias = self.zeros(outputs);
        let attributes = vec![
            ("kernel_shape", Attribute::Ints(vec![kernel; 2])),
            ("strides", Attribute::Ints(vec![stride; 2])),
            ("pads", Attribute::Ints(vec![kernel / 2; 4])),
            ("group", Attribute::Int(groups)),
        ];
        let made = self.graph.node("Conv", &[from, &weight, &bias], attributes);
        match conv.activation {
            Activation::None => made,
            Activation::Relu => self.graph.node("Relu", &[&made], Vec::new()),
            Activation::Relu6 => {
                let (least, most) = (self.graph.weights(&[], &[0.0]), self.graph.weights(&[], &[6.0]));
                self.graph.node("Clip", &[&made, &least, &most], Vec::new())
            }
            Activation::HSwish => self.graph.node("HardSwish", &[&made], Vec::new()),
        }
    }

    /// Weights that leave the size of numbers about as it is.
    fn weights(&mut self, shape: &[i64]) -> String {
        let fan_in: i64 = shape[1..].iter().product();
        let most = (3.0 / fan_in as f32).sqrt();
        let count: i64 = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| self.rng.random_range(-most..most)).collect();
        self.graph.weights(shape, &values)
    }

    fn zeros(&mut self, count: u32) -> String {
        self.graph.weights(&[i64::from(count)], &vec![0.0; count as usize])
    }
}

#[cfg(test)]
mod tests {
    use search::space::SearchSpace;

    use super::*;
    use crate::onnx::walk;
    use crate::targets;

    #[test]
    fn a_model_computes_what_its_operator_does() {
        for (name, resolution) in [("mcu-cifar", 24), ("mbv3-w1.0", 160), ("fbnet-cifar", 32)] {
            let space = SearchSpace::builtin(name).unwrap();
            for (op, _) in targets::operators_at(&space, &[resolution]).unwrap() {
                let (shape, macs) = walk(&model("it", &op));
                assert_eq!(macs, op.macs().0, "{op}");
                let size = i64::from(op.out_size);
                let expected = [1, i64::from(op.out_channels), size, size];
                assert_eq!(shape, &expected[..if op.kind == OpKind::Linear { 2 } else { 4 }], "{op}");
            }
        }
    }

    #[test]
    fn a_folder_has_the_list_and_a_model_of_each() {
        let folder = tempfile::tempdir().unwrap();
        let list = targets::work_list(&SearchSpace::builtin("mcu-cifar").unwrap(), None).unwrap().table.unwrap();
        write(&list, &folder.path().join("new/models")).unwrap();
        let files = std::fs::read_dir(folder.path().join("new/models")).unwrap().count();
        assert_eq!(files, list.rows().len() + 1);
    }
}
