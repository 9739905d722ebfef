//! A multi-layer perceptron on 0/1 features: plain Rust, f32, batched.
//!
//! Shape of the published accuracy predictors: linear layers with ReLU between them, one output (`once-for-all` §4.1:
//! 128 → 400 → 400 → 400 → 1); any widths are allowed. The first layer is a sum of rows of its transposed weight; the
//! others are matrix products.
//!
//! A value depends on its own row alone, not on what it is batched with, on the order, or on the number of threads:
//! rows are taken in tiles of [`TILE`], the last one padded, so that every product has the same shape and every sum the
//! same order. (On a processor with other vector instructions the last bits may differ.)

use std::cell::RefCell;

use gemm::Parallelism;
use rayon::prelude::*;

use crate::encode::ActiveRows;

/// Rows that are computed together: a whole number of the widest kernel's columns, six, and few, since a search asks for
/// some dozens at a time and what is padded is wasted.
pub(crate) const TILE: usize = 12;

/// A linear layer: `weight` is row-major `[outputs, inputs]` as in PyTorch, `bias` has one value per output.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[outputs, inputs]`, row-major.
    pub weight: Vec<f32>,
    /// One per output.
    pub bias: Vec<f32>,
}

/// The network. Its last layer has one output.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    layers: Vec<Layer>,
}

/// A layer as inference wants it: the transposed weight, `[inputs, outputs]` row-major.
#[derive(Clone, Debug, PartialEq)]
struct Layer {
    inputs: usize,
    outputs: usize,
    transposed: Vec<f32>,
    bias: Vec<f32>,
}

impl Mlp {
    /// A network of these layers, first to last; `inputs` is the number of features.
    ///
    /// # Panics
    /// If there is no layer, if a layer's weight does not have the width before it times its own, or if the last layer
    /// does not have one output: files are checked before they get here.
    pub fn new(inputs: usize, layers: Vec<Linear>) -> Mlp {
        let mut width = inputs;
        let layers: Vec<Layer> = layers
            .into_iter()
            .map(|Linear { weight, bias }| {
                let (inputs, outputs) = (width, bias.len());
                assert_eq!(weight.len(), inputs * outputs, "a layer's weight is outputs × inputs");
                let transposed = (0..inputs).flat_map(|i| (0..outputs).map(move |o| (i, o)));
                let transposed = transposed.map(|(i, o)| weight[o * inputs + i]).collect();
                width = outputs;
                Layer { inputs, outputs, transposed, bias }
            })
            .collect();
        assert!(!layers.is_empty() && width == 1, "a predictor has layers and one output");
        Mlp { layers }
    }

    /// Number of features.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Outputs of every layer, the last one (1) included.
    pub fn widths(&self) -> Vec<usize> {
        self.layers.iter().map(|layer| layer.outputs).collect()
    }

    /// The layers with their weights as in PyTorch.
    pub fn layers(&self) -> Vec<Linear> {
        let back = |layer: &Layer| {
            let places = (0..layer.outputs).flat_map(|o| (0..layer.inputs).map(move |i| i * layer.outputs + o));
            Linear { weight: places.map(|place| layer.transposed[place]).collect(), bias: layer.bias.clone() }
        };
        self.layers.iter().map(back).collect()
    }

    /// The output for every row, on all of rayon's threads.
    ///
    /// # Panics
    /// If a row names a feature that is not there.
    pub fn forward(&self, rows: &ActiveRows) -> Vec<f32> {
        let mut outputs = vec![0.0; rows.len()];
        let forward = |(tile, outputs): (usize, &mut [f32])| {
            SCRATCH.with_borrow_mut(|scratch| self.forward_tile(rows, tile * TILE, outputs, scratch));
        };
        if rows.len() <= TILE {
            forward((0, &mut outputs));
        } else {
            outputs.par_chunks_mut(TILE).enumerate().for_each(forward);
        }
        outputs
    }

    fn forward_tile(&self, rows: &ActiveRows, first: usize, outputs: &mut [f32], scratch: &mut Scratch) {
        let Scratch { input, output } = scratch;
        let widest = self.layers.iter().map(|layer| layer.outputs).max().unwrap_or(1);
        if input.len() < TILE * widest {
            input.resize(TILE * widest, 0.0);
            output.resize(TILE * widest, 0.0);
        }
        let width = self.layers[0].outputs;
        for (row, sums) in input[..outputs.len() * width].chunks_exact_mut(width).enumerate() {
            self.layers[0].sum_of_rows(rows.row(first + row), sums);
        }
        // Padding rows keep whatever was left there: numbers that nothing reads.
        for layer in &self.layers[1..] {
            input[..TILE * layer.inputs].iter_mut().for_each(|value| *value = value.max(0.0));
            layer.product(input, output);
            std::mem::swap(input, output);
        }
        outputs.copy_from_slice(&input[..outputs.len()]);
    }
}

/// Two matrices `[TILE, widest layer]`, row-major, or larger.
#[derive(Default)]
struct Scratch {
    input: Vec<f32>,
    output: Vec<f32>,
}

thread_local! {
    // Kept: so much memory goes back to the system when it is freed, and to get it again for every tile takes as long as a
    // tenth of the products.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Layer {
    /// `sums` = bias + the rows of the transposed weight that `active` names.
    fn sum_of_rows(&self, active: &[u32], sums: &mut [f32]) {
        sums.copy_from_slice(&self.bias);
        for &feature in active {
            let row = &self.transposed[feature as usize * self.outputs..][..self.outputs];
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    }

    /// `output[TILE, outputs]` = `input[TILE, inputs]` · weightᵀ + bias.
    fn product(&self, input: &[f32], output: &mut [f32]) {
        if self.outputs == 1 {
            for (input, output) in input.chunks_exact(self.inputs).zip(&mut output[..TILE]) {
                *output = dot(input, &self.transposed) + self.bias[0];
            }
            return;
        }
        let output = &mut output[..TILE * self.outputs];
        output.chunks_exact_mut(self.outputs).for_each(|row| row.copy_from_slice(&self.bias));
        assert!(input.len() >= TILE * self.inputs && self.transposed.len() == self.inputs * self.outputs);
        // Seen column-major: outputs × TILE = (outputs × inputs) · (inputs × TILE), added to the bias already there.
        // SAFETY: the lengths asserted above cover the three matrices, and `output` is borrowed mutably, so that it
        // overlaps neither of the others.
        unsafe {
            gemm::gemm(
                self.outputs,
                TILE,
                self.inputs,
                output.as_mut_ptr(),
                self.outputs as isize,
                1,
                true,
                self.transposed.as_ptr(),
                self.outputs as isize,
                1,
                input.as_ptr(),
                self.inputs as isize,
                1,
                1.0_f32,
                1.0_f32,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}

/// Sum of products in eight interleaved partial sums: a fixed order that vector instructions follow.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use rand::seq::SliceRandom;

    use super::*;
    use crate::encode::{ArchEncoder, Layout};
    use crate::testing::{random_mlp, rng, sample, space};

    fn rows(count: usize) -> (usize, ActiveRows) {
        let space = space("mcu-cifar");
        let encoder = ArchEncoder::new(Layout::Blocks, &space, space.resolutions()).unwrap();
        (encoder.width(), encoder.encode(&sample(&space, count, 3)).unwrap())
    }

    /// The network by its definition, in f64.
    fn by_definition(mlp: &Mlp, active: &[u32]) -> f64 {
        let mut values = vec![0.0; mlp.inputs()];
        active.iter().for_each(|&feature| values[feature as usize] = 1.0);
        for (place, layer) in mlp.layers().iter().enumerate() {
            if place > 0 {
                values.iter_mut().for_each(|value: &mut f64| *value = value.max(0.0));
            }
            let outputs = layer.weight.chunks_exact(values.len()).zip(&layer.bias);
            values = outputs
                .map(|(row, &bias)| {
                    f64::from(bias)
                        + row.iter().zip(&values).map(|(&weight, value)| f64::from(weight) * value).sum::<f64>()
                })
                .collect();
        }
        values[0]
    }

    #[test]
    fn forward_is_the_definition() {
        let (inputs, rows) = rows(130);
        for widths in [&[400, 400, 400, 1][..], &[128, 128, 1], &[7, 33, 1], &[5, 1], &[1]] {
            let mlp = random_mlp(inputs, widths, 11);
            assert_eq!(mlp.widths(), widths);
            for (output, active) in mlp.forward(&rows).into_iter().zip(rows.iter()) {
                let expected = by_definition(&mlp, active);
                assert!((f64::from(output) - expected).abs() < 2e-6, "{output} is not {expected} ({widths:?})");
            }
        }
    }

    #[test]
    fn layers_come_back_as_they_were() {
        let mlp = random_mlp(30, &[9, 4, 1], 2);
        assert_eq!(Mlp::new(30, mlp.layers()), mlp);
    }

    #[test]
    fn a_value_depends_on_its_row_alone() {
        let (inputs, rows) = rows(333);
        for widths in [&[128, 128, 1][..], &[400, 400, 400, 1], &[13, 1]] {
            let mlp = random_mlp(inputs, widths, 5);
            let together = mlp.forward(&rows);
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.shuffle(&mut rng(8));
            let shuffled = mlp.forward(&rows.select(&order));
            for (place, &row) in order.iter().enumerate() {
                assert_eq!(shuffled[place].to_bits(), together[row].to_bits());
            }
            for row in [0, 1, 63, 64, 200, 332] {
                assert_eq!(mlp.forward(&rows.select(&[row]))[0].to_bits(), together[row].to_bits());
            }
            for threads in [1, 2, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert_eq!(pool.install(|| mlp.forward(&rows)), together);
            }
        }
    }

    #[test]
    fn no_rows_no_values() {
        assert!(random_mlp(4, &[3, 1], 1).forward(&ActiveRows::default()).is_empty());
    }
}
