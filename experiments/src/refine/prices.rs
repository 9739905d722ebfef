//! What a refinement knows of networks before it measures them: what they cost, and how accurate they are expected to be.

use std::collections::HashMap;

use hw_targets::error::HwError;
use network::memory::{flash, peak_memory};
use network::op::{InvertedBottleneck, Op};
use network::published::make_divisible;
use network::units::{Measured, Quantity};
use predictors::ensemble::AccuracyPredictor;
use search::arch::ArchSpec;
use search::refine::moves::Appraiser;
use search::space::SearchSpace;
use search::subnet::{BlockPosition, BlockShape, SubnetConfig};

use crate::error::{Error, Result};
use crate::refine::limits::Limits;

/// What networks cost and how accurate members are expected to be, each asked once.
pub(crate) struct Prices<'p> {
    space: &'p SearchSpace,
    predictor: &'p AccuracyPredictor,
    limits: &'p Limits,
    /// By operator and the network's resolution.
    ops: HashMap<(Op, u32, Measured), Option<f64>>,
    scores: HashMap<ArchSpec, f64>,
    unpriced: Option<HwError>,
}

impl<'p> Prices<'p> {
    /// Nothing asked yet.
    pub(crate) fn new(space: &'p SearchSpace, predictor: &'p AccuracyPredictor, limits: &'p Limits) -> Self {
        Self { space, predictor, limits, ops: HashMap::new(), scores: HashMap::new(), unpriced: None }
    }

    /// What kept a network from being priced since this was asked before.
    pub(crate) fn unpriced(&mut self) -> Option<Error> {
        self.unpriced.take().map(Error::from)
    }

    fn op(&mut self, op: &Op, resolution: u32, quantity: Measured) -> Option<f64> {
        if let Some(known) = self.ops.get(&(op.clone(), resolution, quantity)) {
            return *known;
        }
        let target = self.limits.target.as_ref()?;
        let cost = match target.cost_in(quantity, op, resolution) {
            Ok(estimate) => Some(estimate.value),
            Err(error) => {
                self.unpriced = Some(error);
                None
            }
        };
        self.ops.insert((op.clone(), resolution, quantity), cost);
        cost
    }

    /// What a block costs whose width the target does not know: between what it costs at the expand ratios around it, which
    /// keeps it monotone where they are.
    fn between(&mut self, block: &BlockShape, op: &Op, resolution: u32, quantity: Measured) -> Option<f64> {
        let (low, high) = self.around(block)?;
        let at = |width: u32| match op {
            Op::InvertedBottleneck(block) => {
                let se_channels = block.se_channels.map(|_| make_divisible(f64::from(width / 4)));
                Some(Op::InvertedBottleneck(InvertedBottleneck { mid_channels: width, se_channels, ..*block }))
            }
            _ => None,
        };
        let (from, to) = (self.op(&at(low)?, resolution, quantity)?, self.op(&at(high)?, resolution, quantity)?);
        let part = f64::from(block.mid_channels - low) / f64::from(high - low);
        Some(from + part * (to - from))
    }

    /// The widths of expand ratios around that of a block; nothing where it is one of them.
    fn around(&self, block: &BlockShape) -> Option<(u32, u32)> {
        let BlockPosition::Elastic { stage, .. } = block.position else { return None };
        let width = |expand: &u32| make_divisible(f64::from(block.in_channels * expand));
        let widths: Vec<u32> = self.space.stages()[stage].expands.iter().map(width).collect();
        let pair = widths.windows(2).find(|pair| pair[0] < block.mid_channels && block.mid_channels < pair[1])?;
        Some((pair[0], pair[1]))
    }

    fn cost(&mut self, config: &SubnetConfig, quantity: Quantity) -> Option<f64> {
        let workload = config.lower();
        let measured = match quantity {
            Quantity::Energy => Measured::Energy,
            Quantity::Latency => Measured::Latency,
            Quantity::PeakMemory => return Some(peak_memory(&workload).total().0 as f64),
            Quantity::Macs => return Some(workload.macs().0 as f64),
            Quantity::Params => return Some(workload.params().0 as f64),
            Quantity::Flash => return Some(workload.ops.iter().map(|op| flash(op).0 as f64).sum()),
        };
        let mut sum = self.limits.target.as_ref()?.constant(measured);
        let blocks = config.blocks.iter().map(Some);
        // The stem stands before the blocks.
        for (op, block) in workload.ops.iter().zip(std::iter::once(None).chain(blocks).chain(std::iter::repeat(None))) {
            let known = self.op(op, workload.resolution, measured);
            let mut between = || self.between(block?, op, workload.resolution, measured);
            sum += match known {
                Some(cost) => cost,
                None => between()?,
            };
        }
        Some(sum)
    }

    /// Blocks of `config` whose costs are between those of the expand ratios around them.
    pub(crate) fn interpolated(&mut self, config: &SubnetConfig) -> usize {
        let is_limited = |one: &Measured| self.limits.quantities.contains(&one.quantity());
        let limited: Vec<Measured> = Measured::ALL.into_iter().filter(is_limited).collect();
        let workload = config.lower();
        let blocks: Vec<&Op> = workload.ops[1..].iter().take(config.blocks.len()).collect();
        blocks
            .into_iter()
            .filter(|op| limited.iter().any(|one| self.op(op, workload.resolution, *one).is_none()))
            .count()
    }
}

impl Appraiser for Prices<'_> {
    type Error = Error;

    fn costs(&mut self, config: &SubnetConfig) -> Option<Vec<f64>> {
        let quantities = self.limits.quantities.clone();
        quantities.into_iter().map(|quantity| self.cost(config, quantity)).collect()
    }

    fn scores(&mut self, members: &[ArchSpec]) -> Result<Vec<f64>> {
        let new: Vec<&ArchSpec> = members.iter().filter(|member| !self.scores.contains_key(*member)).collect();
        if !new.is_empty() {
            let scores = self.predictor.top1(new.iter().copied())?;
            self.scores.extend(new.into_iter().cloned().zip(scores));
        }
        Ok(members.iter().map(|member| self.scores[member]).collect())
    }
}
