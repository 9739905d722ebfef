//! A linear model of operator costs fitted to measured operators.
//!
//! Cost = floor + h-swish·elements + Σ coefficient·count, the counts being those of the operator's class
//! ([`crate::model::features`]); floor and h-swish come from the blocks. Each class keeps its leave-one-out error and
//! the shapes it was fitted to. Outside of those an answer is flagged and its error grows: a doubling beyond the range
//! makes it three times as wide; a target refuses what lies far outside ([`crate::model::limited`]). Terms that a
//! device's table never exercised (squeeze-excite, h-swish, kernel 7) may be transferred from another device by the
//! ratio of the two devices' speeds on plain blocks; half of such a term counts as error.

use std::collections::BTreeMap;

use crate::cost::Estimate;
use crate::error::HwError;
use crate::model::features::{
    CONSTANT, GROUPED, HSWISH, KERNEL_7, OpClass, SE_ELEMENTS, SE_WEIGHTS, counts, hswish_elements,
};
use crate::model::fit::{fit_relative, mean_absolute, root_mean_square};
use crate::model::{CostModel, Uncovered};
use crate::table_op::{TableKind, TableOp};
use network::op::{Activation, Op};

/// Relative error assumed (a judgement, not a measurement) at least for a class with too few rows to leave any out.
pub(crate) const SPARSE_REL_ERROR: f64 = 0.2;
/// Error of a transferred term as a fraction of it: a judgement, nothing measured says how well the ratio carries over.
pub const TRANSFERRED_REL_ERROR: f64 = 0.5;

/// Shapes that a class was fitted to; each pair is the smallest and the largest.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Height and width of the input.
    pub in_size: [u32; 2],
    /// Channels of the input.
    pub in_channels: [u32; 2],
    /// Channels of the output.
    pub out_channels: [u32; 2],
    /// Width inside a block.
    pub mid_channels: [u32; 2],
    /// Kernel size.
    pub kernel: [u32; 2],
}

impl Range {
    pub(crate) fn of<'a>(ops: impl Iterator<Item = &'a TableOp> + Clone) -> Self {
        let pair = |field: fn(&TableOp) -> u32| {
            let values = ops.clone().map(field);
            [values.clone().min().unwrap_or(0), values.max().unwrap_or(0)]
        };
        Self {
            in_size: pair(|op| op.in_size),
            in_channels: pair(|op| op.in_channels),
            out_channels: pair(|op| op.out_channels),
            mid_channels: pair(|op| op.mid_channels),
            kernel: pair(|op| op.kernel),
        }
    }

    /// How far outside `op` lies, in doublings of the worst dimension; 0 inside.
    pub(crate) fn doublings_outside(&self, op: &TableOp) -> f64 {
        self.beyond(op).doublings
    }

    /// The dimension in which `op` lies farthest outside; of equally far ones the first of the fields' order.
    pub fn beyond(&self, op: &TableOp) -> Beyond {
        let dimensions = [
            ("input size", self.in_size, op.in_size),
            ("input channels", self.in_channels, op.in_channels),
            ("output channels", self.out_channels, op.out_channels),
            ("inner channels", self.mid_channels, op.mid_channels),
            ("kernel size", self.kernel, op.kernel),
        ];
        let ratio = |a: u32, b: u32| (f64::from(a.max(1)) / f64::from(b.max(1))).log2();
        let beyond = |(dimension, range, value): (&'static str, [u32; 2], u32)| {
            let doublings = ratio(range[0], value).max(ratio(value, range[1])).max(0.0);
            Beyond { dimension, value, range, doublings }
        };
        let [first, others @ ..] = dimensions;
        others
            .into_iter()
            .map(beyond)
            .fold(beyond(first), |worst, next| if next.doublings > worst.doublings { next } else { worst })
    }
}

/// A block that any device's table may hold, to compare two devices on: without squeeze-excite, h-swish, groups and
/// kernel 7.
pub fn is_plain_block(op: &TableOp) -> bool {
    let plain = op.se_channels == 0 && op.activation != Activation::HSwish && op.groups == 1;
    op.kind == TableKind::MbConv && plain && op.kernel <= 5
}

/// One dimension of an operator against the range of it that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beyond {
    /// In words.
    pub dimension: &'static str,
    /// The operator's.
    pub value: u32,
    /// Smallest and largest measured.
    pub range: [u32; 2],
    /// log2 of the ratio to the nearer end; 0 inside.
    pub doublings: f64,
}

/// Coefficients of one class and what is known about their error.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassFit {
    /// Cost per count, by the count's name. A count that no row exercised has no entry.
    pub coefficients: BTreeMap<String, f64>,
    /// Measured operators it was fitted to.
    pub rows: usize,
    /// Mean absolute relative error of a row when fitted without it; `None` with too few rows.
    pub loo_mape: Option<f64>,
    /// Standard deviation of one answer inside the range, as a fraction of it.
    pub rel_error: f64,
    /// Shapes it was fitted to.
    pub range: Range,
}

/// Terms taken over from another device.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// The other device's target.
    pub from: String,
    /// Cost here per cost there, on plain blocks and above the floors.
    pub ratio: f64,
    /// Names of the block counts whose coefficients were taken over.
    pub terms: Vec<String>,
}

/// A fitted model of one quantity of one device, in SI units.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedModel {
    /// Coefficients by class; a class that was not measured is not there, and not answered for.
    pub classes: BTreeMap<OpClass, ClassFit>,
    /// Terms taken over from another device, if any.
    pub transfer: Option<Transfer>,
    /// Error common to all answers, as a fraction.
    pub common_rel: f64,
}

/// A predicted value and the part of it that rests on transferred terms.
struct Prediction {
    value: f64,
    transferred: f64,
}

impl FittedModel {
    /// Fits every class that `measured` (operator and cost in SI units) has rows of.
    ///
    /// # Errors
    /// [`HwError::NoFit`] without any block, whose floor and h-swish the other classes share; with fewer blocks than
    /// coefficients, which they leave open.
    pub fn fit(measured: &[(TableOp, f64)], common_rel: f64) -> Result<Self, HwError> {
        let mut model = Self { classes: BTreeMap::new(), transfer: None, common_rel };
        for class in OpClass::ALL {
            let rows: Vec<&(TableOp, f64)> = measured.iter().filter(|(op, _)| OpClass::of(op) == Some(class)).collect();
            if rows.is_empty() {
                continue;
            }
            if class != OpClass::Block && !model.classes.contains_key(&OpClass::Block) {
                return Err(HwError::NoFit {
                    what: format!("operators of class {}", class.name()),
                    problem: "the table has no inverted-bottleneck block, whose floor they share".to_string(),
                });
            }
            let fit = model.fit_class(class, &rows)?;
            model.classes.insert(class, fit);
        }
        if model.classes.is_empty() {
            return Err(HwError::NoFit {
                what: "the table".to_string(),
                problem: "it has no operator of a class that can be fitted".to_string(),
            });
        }
        Ok(model)
    }

    fn fit_class(&self, class: OpClass, rows: &[&(TableOp, f64)]) -> Result<ClassFit, HwError> {
        let all: Vec<Vec<f64>> = rows.iter().map(|(op, _)| counts(class, op)).collect();
        let names = class.features();
        let exercised: Vec<usize> = (0..names.len()).filter(|&at| all.iter().any(|row| row[at] > 0.0)).collect();
        if class == OpClass::Block && rows.len() < exercised.len() {
            return Err(HwError::NoFit {
                what: format!("operators of class {}", class.name()),
                problem: format!(
                    "{} measured ones leave its {} coefficients open: measure at least as many of different shapes",
                    rows.len(),
                    exercised.len()
                ),
            });
        }
        let features: Vec<Vec<f64>> = all.iter().map(|row| exercised.iter().map(|&at| row[at]).collect()).collect();
        let values: Vec<f64> = rows.iter().map(|(_, value)| *value).collect();
        let offsets: Vec<f64> = rows.iter().map(|(op, _)| self.shared(class, op).value).collect();
        let fit = fit_relative(&features, &values, &offsets);
        // Leaving one out says something only if the rest still determines every coefficient.
        let enough = rows.len() > 2 * exercised.len();
        let rel_error = if enough {
            root_mean_square(&fit.left_out)
        } else {
            root_mean_square(&fit.residuals).max(SPARSE_REL_ERROR)
        };
        Ok(ClassFit {
            coefficients: exercised.iter().zip(fit.coefficients).map(|(&at, w)| (names[at].to_string(), w)).collect(),
            rows: rows.len(),
            loo_mape: enough.then(|| mean_absolute(&fit.left_out)),
            rel_error,
            range: Range::of(rows.iter().map(|(op, _)| op)),
        })
    }

    fn block_coefficient(&self, name: &str) -> Option<f64> {
        self.classes.get(&OpClass::Block)?.coefficients.get(name).copied()
    }

    fn is_transferred(&self, name: &str) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.terms.iter().any(|term| term == name))
    }

    /// The cost that every operator pays whatever it computes.
    pub fn floor(&self) -> f64 {
        self.block_coefficient(CONSTANT).unwrap_or(0.0)
    }

    /// Floor and h-swish of an operator that is not a block.
    fn shared(&self, class: OpClass, op: &TableOp) -> Prediction {
        if class == OpClass::Block {
            return Prediction { value: 0.0, transferred: 0.0 };
        }
        let hswish = self.block_coefficient(HSWISH).unwrap_or(0.0) * hswish_elements(&op.op());
        let transferred = if self.is_transferred(HSWISH) { hswish } else { 0.0 };
        Prediction { value: self.floor() + hswish, transferred }
    }

    fn predict(&self, class: OpClass, fit: &ClassFit, op: &TableOp) -> Prediction {
        let mut sum = self.shared(class, op);
        for (name, count) in class.features().iter().zip(counts(class, op)) {
            let part = fit.coefficients.get(*name).unwrap_or(&0.0) * count;
            sum.value += part;
            if class == OpClass::Block && self.is_transferred(name) {
                sum.transferred += part;
            }
        }
        sum
    }

    /// Takes the terms for squeeze-excite, h-swish and kernel 7 that were never measured here from `other`, scaled by
    /// the ratio of the two devices on `plain` blocks (geometric mean, floors taken off).
    ///
    /// # Errors
    /// [`HwError::NoFit`] if either model does not cover blocks, or `plain` is empty.
    pub fn transfer_from(&mut self, other: &FittedModel, name: &str, plain: &[TableOp]) -> Result<(), HwError> {
        let problem = |problem: &str| HwError::NoFit { what: format!("terms of {name}"), problem: problem.to_string() };
        let here = self.classes.get(&OpClass::Block).ok_or_else(|| problem("no block was fitted here"))?;
        let there = other.classes.get(&OpClass::Block).ok_or_else(|| problem("no block was fitted there"))?;
        let logs: Vec<f64> = plain
            .iter()
            .map(|op| {
                let above = |model: &FittedModel, fit| model.predict(OpClass::Block, fit, op).value - model.floor();
                (above(self, here) / above(other, there)).ln()
            })
            .filter(|log| log.is_finite())
            .collect();
        if logs.is_empty() {
            return Err(problem("no plain block to compare the devices on"));
        }
        let ratio = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
        let taken: Vec<(String, f64)> = [SE_ELEMENTS, SE_WEIGHTS, HSWISH, KERNEL_7]
            .iter()
            .filter(|term| !here.coefficients.contains_key(**term))
            .filter_map(|term| Some((term.to_string(), there.coefficients.get(*term)? * ratio)))
            .collect();
        self.transfer = Some(Transfer {
            from: name.to_string(),
            ratio,
            terms: taken.iter().map(|(term, _)| term.clone()).collect(),
        });
        if let Some(block) = self.classes.get_mut(&OpClass::Block) {
            block.coefficients.extend(taken);
        }
        Ok(())
    }
}

impl CostModel for FittedModel {
    fn cost(&self, op: &Op, _network_resolution: u32) -> Result<Estimate, Uncovered> {
        let uncovered = |near: String| Err(Uncovered { near });
        let Some(op) = &TableOp::of(op) else {
            return uncovered(format!("its fitted model has no term for operators of kind {}", op.word()));
        };
        let Some(class) = OpClass::of(op) else {
            return uncovered("its fitted model has no term for single convolutions with groups".to_string());
        };
        let Some(fit) = self.classes.get(&class) else {
            return uncovered(format!("its fitted model saw no operator of class {}", class.name()));
        };
        let needs = [
            (op.activation == Activation::HSwish, HSWISH, "h-swish"),
            (op.se_channels > 0, SE_ELEMENTS, "squeeze-excite"),
            (op.groups > 1, GROUPED, "groups"),
        ];
        for (needed, term, words) in needs {
            if needed && self.block_coefficient(term).is_none() {
                return uncovered(format!("its fitted model has no term for {words}"));
            }
        }
        let prediction = self.predict(class, fit, op);
        let doublings = fit.range.doublings_outside(op);
        let rel = fit.rel_error * (1.0 + 2.0 * doublings);
        Ok(Estimate {
            value: prediction.value,
            std: (rel * prediction.value).hypot(TRANSFERRED_REL_ERROR * prediction.transferred),
            common_rel: self.common_rel,
            fitted: true,
            outside: doublings > 0.0 || prediction.transferred > 0.0,
        })
    }
}
