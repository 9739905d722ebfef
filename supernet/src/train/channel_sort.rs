//! Channel sorting by importance before an elastic-width phase (`once-for-all` §2.5).
//!
//! The importance of a middle channel is the L1 norm of its input slice of the project convolution. Sorting permutes
//! every layer that sees the channel, so the function of the widest block is unchanged. Prefixes that an earlier phase
//! already trained keep their set of channels: each segment between two such widths is sorted by itself (the published
//! code adds offsets to one float32 key instead, which blurs the order).

use tch::{Kind, Tensor};

use crate::elastic::{ElasticBlock, permute_in_place};
use crate::supernet::Supernet;
use search::space::make_divisible;

/// An order of the channels of every elastic block, and of the hidden units of its squeeze-excite; none of a block that
/// stays as it is.
#[derive(Debug)]
pub(crate) struct ChannelOrder {
    blocks: Vec<Vec<Option<BlockOrder>>>,
}

/// Of its channels, and of the hidden units of its squeeze-excite.
type BlockOrder = (Tensor, Option<Tensor>);

impl Supernet {
    /// Sorts every elastic block. `expand_levels` is how many of the largest expand ratios earlier phases trained (1 =
    /// only the widest): their widths are the boundaries that channels do not cross.
    pub fn sort_channels(&self, expand_levels: usize) {
        self.reorder(&self.channel_order(expand_levels));
    }

    /// The order in which [`Supernet::sort_channels`] would put the channels. Blocks of which a layer is frozen keep theirs:
    /// sorting one layer moves the others.
    pub(crate) fn channel_order(&self, expand_levels: usize) -> ChannelOrder {
        let stages = self.space().stages().iter().zip(&self.stages).enumerate();
        let blocks = stages.map(|(stage_index, (stage, blocks))| {
            let order = |(index, block): (usize, &ElasticBlock)| {
                if self.has_frozen(&format!("stages.{stage_index}.{index}")) {
                    return None;
                }
                let input = if index == 0 { self.space().stage_in_channels(stage_index) } else { stage.width };
                let trained = stage.expands.iter().rev().take(expand_levels);
                let boundaries: Vec<i64> =
                    trained.map(|expand| i64::from(make_divisible(f64::from(input * expand)))).collect();
                Some(tch::no_grad(|| order_of(block, &boundaries)))
            };
            blocks.iter().enumerate().map(order).collect()
        });
        ChannelOrder { blocks: blocks.collect() }
    }

    /// Puts the channels into an order taken from a supernet of the same space: an average of weights, or what an
    /// optimiser remembers of each, is moved along with the weights this way.
    pub(crate) fn reorder(&self, order: &ChannelOrder) {
        let blocks = self.stages.iter().flatten().zip(order.blocks.iter().flatten());
        let sorted = blocks.filter_map(|(block, order)| Some((block, order.as_ref()?)));
        tch::no_grad(|| sorted.for_each(|(block, order)| reorder(block, order)));
    }

    /// What sorting goes by, for the middle channels of each elastic block in order: L1 norms.
    pub(crate) fn channel_importance(&self) -> Vec<Vec<f32>> {
        let importance = |block: &ElasticBlock| {
            let norms = tch::no_grad(|| l1_norm_of_inputs(&block.project.weight));
            Vec::<f32>::try_from(norms).expect("a row of numbers")
        };
        self.stages.iter().flatten().map(importance).collect()
    }
}

fn order_of(block: &ElasticBlock, boundaries: &[i64]) -> BlockOrder {
    let importance = l1_norm_of_inputs(&block.project.weight);
    let hidden = block.squeeze_excite.as_ref().map(|layer| {
        let importance = l1_norm_of_inputs(&layer.expand.0);
        segmented_descending(&importance, &[importance.size()[0]])
    });
    (segmented_descending(&importance, boundaries), hidden)
}

fn reorder(block: &ElasticBlock, (order, hidden): &BlockOrder) {
    permute_in_place(&block.project.weight, 1, order);
    permute_in_place(&block.depthwise.weight, 0, order);
    block.depthwise.batch_norm.permute(order);
    if let Some(expand) = &block.expand {
        permute_in_place(&expand.weight, 0, order);
        if let Some(norm) = &expand.batch_norm {
            norm.permute(order);
        }
    }
    if let (Some(layer), Some(hidden)) = (&block.squeeze_excite, hidden) {
        permute_in_place(&layer.expand.0, 0, order);
        permute_in_place(&layer.expand.1, 0, order);
        permute_in_place(&layer.reduce.0, 1, order);
        permute_in_place(&layer.expand.0, 1, hidden);
        permute_in_place(&layer.reduce.0, 0, hidden);
        permute_in_place(&layer.reduce.1, 0, hidden);
    }
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
