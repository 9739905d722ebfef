//! Channel sorting by importance before an elastic-width phase (`once-for-all` §2.5).
//!
//! The importance of a middle channel is the L1 norm of its input slice of the project convolution. Sorting permutes
//! every layer that sees the channel, so the function of the widest block is unchanged. Prefixes that an earlier phase
//! already trained keep their set of channels: each segment between two such widths is sorted by itself (the published
//! code adds offsets to one float32 key instead, which blurs the order).

use tch::{Kind, Tensor};

use crate::elastic::{ElasticBlock, ElasticSqueezeExcite, permute_in_place};
use crate::supernet::Supernet;
use search::space::make_divisible;

impl Supernet {
    /// Sorts every elastic block. `expand_levels` is how many of the largest expand ratios earlier phases trained (1 =
    /// only the widest): their widths are the boundaries that channels do not cross.
    pub fn sort_channels(&self, expand_levels: usize) {
        for (stage_index, (stage, blocks)) in self.space().stages().iter().zip(&self.stages).enumerate() {
            for (index, block) in blocks.iter().enumerate() {
                let input = if index == 0 { self.space().stage_in_channels(stage_index) } else { stage.width };
                let trained = stage.expands.iter().rev().take(expand_levels);
                let boundaries: Vec<i64> =
                    trained.map(|expand| i64::from(make_divisible(f64::from(input * expand)))).collect();
                tch::no_grad(|| sort_block(block, &boundaries));
            }
        }
    }
}

fn sort_block(block: &ElasticBlock, boundaries: &[i64]) {
    let importance = l1_norm_of_inputs(&block.project.weight);
    let order = segmented_descending(&importance, boundaries);
    permute_in_place(&block.project.weight, 1, &order);
    permute_in_place(&block.depthwise.weight, 0, &order);
    block.depthwise.batch_norm.permute(&order);
    if let Some(expand) = &block.expand {
        permute_in_place(&expand.weight, 0, &order);
        if let Some(norm) = &expand.batch_norm {
            norm.permute(&order);
        }
    }
    if let Some(layer) = &block.squeeze_excite {
        sort_squeeze_excite(layer, &order);
    }
}

fn sort_squeeze_excite(layer: &ElasticSqueezeExcite, order: &Tensor) {
    permute_in_place(&layer.expand.0, 0, order);
    permute_in_place(&layer.expand.1, 0, order);
    permute_in_place(&layer.reduce.0, 1, order);
    let importance = l1_norm_of_inputs(&layer.expand.0);
    let hidden = segmented_descending(&importance, &[importance.size()[0]]);
    permute_in_place(&layer.expand.0, 1, &hidden);
    permute_in_place(&layer.reduce.0, 0, &hidden);
    permute_in_place(&layer.reduce.1, 0, &hidden);
}

/// Σ |w\[:, c\]| for every input channel c of `[out, in, k, k]`.
fn l1_norm_of_inputs(weight: &Tensor) -> Tensor {
    weight.abs().sum_dim_intlist(&[0i64, 2, 3][..], false, Kind::Float)
}

/// Indices in descending order of importance inside each segment that ends at one of `boundaries`.
fn segmented_descending(importance: &Tensor, boundaries: &[i64]) -> Tensor {
    let total = importance.size()[0];
    let mut ends: Vec<i64> = boundaries.iter().copied().filter(|end| *end < total).chain([total]).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut start = 0;
    let mut parts = Vec::new();
    for end in ends {
        let segment = importance.narrow(0, start, end - start);
        parts.push(segment.argsort_stable(true, 0, true) + start);
        start = end;
    }
    Tensor::cat(&parts, 0)
}
