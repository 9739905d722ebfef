//! What a refinement knows of networks before it measures them: what they cost, and how accurate they are expected to be.

use std::collections::HashMap;

use hw_targets::error::HwError;
use network::memory::{flash, peak_memory};
use network::op::{Op, Workload};
use network::units::{Measured, Quantity};
use predictors::ensemble::AccuracyPredictor;
use search::arch::ArchSpec;
use search::refine::moves::Appraiser;
use search::subnet::SubnetConfig;

use crate::error::{Error, Result};
use crate::refine::limits::Limits;

/// What networks cost and how accurate members are expected to be, each asked once.
pub(crate) struct Prices<'p> {
    predictor: &'p AccuracyPredictor,
    limits: &'p Limits,
    /// By operator and the network's resolution.
    ops: HashMap<(Op, u32, Measured), Option<f64>>,
    scores: HashMap<ArchSpec, f64>,
    unpriced: Option<HwError>,
}

impl<'p> Prices<'p> {
    /// Nothing asked yet.
    pub(crate) fn new(predictor: &'p AccuracyPredictor, limits: &'p Limits) -> Self {
        Self { predictor, limits, ops: HashMap::new(), scores: HashMap::new(), unpriced: None }
    }

    /// What kept a network from being priced since this was asked before.
    pub(crate) fn unpriced(&mut self) -> Option<Error> {
        self.unpriced.take().map(Error::from)
    }

    fn op(&mut self, op: &Op, resolution: u32, quantity: Measured) -> Option<f64> {
        let key = (op.clone(), resolution, quantity);
        if let Some(known) = self.ops.get(&key) {
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
        self.ops.insert(key, cost);
        cost
    }

    fn cost(&mut self, workload: &Workload, quantity: Quantity) -> Option<f64> {
        let measured = match quantity {
            Quantity::Energy => Measured::Energy,
            Quantity::Latency => Measured::Latency,
            Quantity::PeakMemory => return Some(peak_memory(workload).total().0 as f64),
            Quantity::Macs => return Some(workload.macs().0 as f64),
            Quantity::Params => return Some(workload.params().0 as f64),
            Quantity::Flash => return Some(workload.ops.iter().map(|op| flash(op).0 as f64).sum()),
        };
        let mut sum = self.limits.target.as_ref()?.constant(measured);
        for op in &workload.ops {
            sum += self.op(op, workload.resolution, measured)?;
        }
        Some(sum)
    }
}

impl Appraiser for Prices<'_> {
    type Error = Error;

    fn costs(&mut self, config: &SubnetConfig) -> Option<Vec<f64>> {
        let (limits, workload) = (self.limits, config.lower());
        limits.quantities.iter().map(|quantity| self.cost(&workload, *quantity)).collect()
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
