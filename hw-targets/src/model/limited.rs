//! How far outside its measurements a fitted model may go.
//!
//! Its error grows with every doubling beyond the range of a class, and that growth is a guess which nothing checks. So
//! there is a limit: an operator that lies more doublings outside, in its worst dimension, is not covered, and the
//! message says which dimension, what was measured, and how to allow it. A target states its own limit as
//! `extrapolation` in its `fitted` or `network_fit`; [`crate::target::Target::extrapolating`] lifts it for one use.
//!
//! Fewer outputs of a linear layer than measured do not count: they are the classes of the task (10 where 1000 were
//! measured are 6.6 doublings), and cost between the floor of an operator, which is known, and the smallest measured
//! layer. The answer is flagged, and its error grows, all the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cost::Estimate;
use crate::model::features::OpClass;
use crate::model::fitted::{Beyond, Range};
use crate::model::{CostModel, Uncovered};
use crate::table_op::TableOp;
use network::op::Op;
use storage::failure::Setting;

/// Doublings outside the range that a fitted model goes where its target states no limit of its own: a factor of eight.
///
/// Chosen so that shipped targets answer for every shipped space at all of its resolutions, but for the four phones
/// that were measured with 100 classes and are asked for 1000; the farthest any other is asked to go (but pixel1, which
/// states 3.25 of its own) is 2.74 doublings (note10, fitted to stems of 160 to 224 px, for a stem of 24 px), in kernel
/// size 1.22 (3 to 7). `scripts/refit/src/bin/extrapolation.rs` prints the table.
pub const DEFAULT_EXTRAPOLATION: f64 = 3.0;

/// A fitted model that refuses what lies too far outside the range of its class.
#[derive(Clone, Debug)]
pub struct LimitedModel {
    /// The model.
    pub model: Arc<dyn CostModel>,
    /// What each class was fitted to; a class without a range is left to the model.
    pub ranges: BTreeMap<OpClass, Range>,
    /// Doublings outside up to which it answers.
    pub limit: f64,
}

impl CostModel for LimitedModel {
    fn cost(&self, op: &Op, network_resolution: u32) -> Result<Estimate, Uncovered> {
        // What the model has no terms for is the better reason.
        let answer = self.model.cost(op, network_resolution)?;
        let key = TableOp::of(op).and_then(|key| Some((key, OpClass::of(&key)?)));
        let Some((op, class, range)) = key.and_then(|(key, class)| Some((key, class, self.ranges.get(&class)?))) else {
            return Ok(answer);
        };
        let counted = match class {
            OpClass::Linear => TableOp { out_channels: op.out_channels.max(range.out_channels[0]), ..op },
            _ => op,
        };
        let beyond = range.beyond(&counted);
        if beyond.doublings <= self.limit {
            return Ok(answer);
        }
        let (Beyond { dimension, value, range: [least, most], doublings }, limit) = (beyond, self.limit);
        let measured = if least == most { format!("{least}") } else { format!("{least} to {most}") };
        let lies = if dimension.ends_with("channels") { "lie" } else { "lies" };
        Err(Uncovered {
            near: format!(
                "its {dimension} ({value}) {lies} {doublings:.1} doublings outside the {measured} that the fitted \
                 model of class {} saw, and {limit} are allowed; {} of `{}` and `{}` lifts that, `extrapolation` in \
                 the target's YAML raises it",
                class.name(),
                Setting("extrapolate"),
                Setting("search"),
                Setting("target cost")
            ),
        })
    }

    fn network_resolutions(&self) -> Option<Vec<u32>> {
        self.model.network_resolutions()
    }

    fn without_limit(&self) -> Option<Arc<dyn CostModel>> {
        Some(self.model.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FittedModel;
    use crate::table_op::TableKind;
    use network::op::Activation;

    fn block(channels: u32, kernel: u32) -> TableOp {
        TableOp {
            mid_channels: 3 * channels,
            expand_conv: true,
            kernel,
            activation: Activation::Relu,
            batch_norm: true,
            ..TableOp::plain(TableKind::MbConv, 16, channels, 16, channels)
        }
    }

    /// Fitted to 8 to 64 channels and kernel 3.
    fn model(limit: f64) -> LimitedModel {
        let rows: Vec<(TableOp, f64)> =
            (8..=64).step_by(4).map(|channels| (block(channels, 3), f64::from(channels))).collect();
        let model = FittedModel::fit(&rows, 0.1).unwrap();
        let ranges = model.classes.iter().map(|(class, fit)| (*class, fit.range.clone())).collect();
        LimitedModel { model: Arc::new(model), ranges, limit }
    }

    #[test]
    fn an_operator_far_outside_is_refused_with_its_dimension() {
        let model = model(2.0);
        assert!(!model.cost(&block(64, 3).op(), 32).unwrap().outside);
        assert!(model.cost(&block(256, 3).op(), 32).unwrap().outside, "two doublings are within the limit");
        let near = model.cost(&block(257, 3).op(), 32).unwrap_err().near;
        for words in
            ["its input channels (257) lie 2.0 doublings", "8 to 64", "class block", "2 are allowed", "‹extrapolate›"]
        {
            assert!(near.contains(words), "{words}: {near}");
        }
        // 3 to 15 is more than two doublings, and only one kernel was seen.
        let near = model.cost(&block(64, 15).op(), 32).unwrap_err().near;
        assert!(near.contains("its kernel size (15) lies 2.3 doublings outside the 3 that"), "{near}");
        assert!(model.cost(&block(64, 7).op(), 32).is_ok());
        assert!(model.cost(&block(1, 3).op(), 32).unwrap_err().near.contains("its input channels (1) lie 3.0"));
    }

    #[test]
    fn fewer_classes_are_not_far_but_more_inputs_are() {
        let linear = |inputs, classes| TableOp::plain(TableKind::Linear, 1, inputs, 1, classes);
        let blocks = (8..=64).step_by(4).map(|channels| (block(channels, 3), f64::from(channels)));
        let rows: Vec<(TableOp, f64)> = blocks.chain([(linear(256, 1000), 9.0), (linear(512, 1000), 17.0)]).collect();
        let model = FittedModel::fit(&rows, 0.1).unwrap();
        let ranges = model.classes.iter().map(|(class, fit)| (*class, fit.range.clone())).collect();
        let limited = LimitedModel { model: Arc::new(model), ranges, limit: 2.0 };
        let ten = limited.cost(&linear(256, 10).op(), 32).unwrap();
        assert!(ten.outside && ten.value < limited.cost(&linear(256, 1000).op(), 32).unwrap().value);
        assert!(limited.cost(&linear(32, 10).op(), 32).unwrap_err().near.contains("its input channels (32) lie"));
        assert!(limited.cost(&linear(256, 9000).op(), 32).unwrap_err().near.contains("its output channels (9000) lie"));
    }

    #[test]
    fn what_the_model_cannot_answer_keeps_its_reason_and_the_limit_can_be_lifted() {
        let model = model(0.0);
        let near = model.cost(&TableOp { groups: 2, ..block(512, 3) }.op(), 32).unwrap_err().near;
        assert!(near.contains("groups"), "{near}");
        assert!(model.cost(&block(512, 3).op(), 32).is_err());
        let lifted = model.without_limit().unwrap();
        assert_eq!(lifted.cost(&block(512, 3).op(), 32), model.model.cost(&block(512, 3).op(), 32));
    }
}
