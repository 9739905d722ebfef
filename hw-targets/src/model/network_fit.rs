//! A linear model of operator costs fitted to networks measured whole.
//!
//! Cost of a network = constant + Σ over its operators of coefficient·count ([`crate::model::network_features`]): a
//! model of networks is a model of operators, and the constant is paid once per network. Up to [`DETAILED_NETWORKS`]
//! networks are fitted with the basic counts by least squares, more with the detailed ones by [`fit_relative_robust`],
//! in which every layer costs a hundredth of the mean cost of a layer at least: a launch is never free, and where the
//! constant could stand for it nothing in the data says so.
//!
//! On a GPU the cost of small inputs is that of launching layers and the cost of large ones that of computing them, the
//! larger of two sums, which is no sum. With many networks of several input sizes the coefficients may therefore
//! depend on the network's input size: three sets, at the smallest, the middle and the largest, and in between what
//! lies between them. They are kept where that takes a tenth off the error on held-out networks; they hold
//! for these sizes only, beyond which the nearest set answers with a wider error.
//!
//! What is known is the error of a network, not how it divides over its operators: [`NetworkFit::rel_error`] is added
//! once per network, and each operator carries as much again by itself, which the sum in quadrature hardly notices.
//! Where no measured network has squeeze-excite or h-swish, passes and layers stand in for them, and half of such a
//! part counts as error.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::Estimate;
use crate::error::HwError;
use crate::model::features::OpClass;
use crate::model::fit::{Fit, fit_relative, fit_relative_robust, mean_absolute, root_mean_square};
use crate::model::fitted::{Range, TRANSFERRED_REL_ERROR};
use crate::model::network_features::{BASIC, Count, Counts, DETAILED, extras, plain, stand_ins};
use crate::model::{CostModel, Uncovered};
use crate::table_op::TableOp;
use network::op::{Op, Workload};

/// Fewer networks than this say nothing when one is left out: twice the coefficients.
const LEAST_NETWORKS: usize = 2 * (BASIC.len() + 1);
/// Networks from which on the detailed counts are used: ten a coefficient.
pub const DETAILED_NETWORKS: usize = 10 * (DETAILED.len() + 1);
/// Sets of coefficients where they depend on the input size.
const SETS: usize = 3;
/// Networks from which on coefficients may depend on the input size: ten a coefficient.
const BY_SIZE_NETWORKS: usize = 10 * (SETS * DETAILED.len() + 1);
/// Error that is left, at most, where they do, as a part of what it was.
const BY_SIZE_GAIN: f64 = 0.9;
/// And by how much it is smaller at least: less is no error to speak of.
const LEAST_GAIN: f64 = 5e-4;
/// What a layer costs at least, of the mean cost of a layer.
const LEAST_LAYER: f64 = 0.01;

/// Coefficients by the name of their count.
pub(crate) type Coefficients = BTreeMap<String, f64>;

/// A model of one quantity of one device, in SI units, fitted to whole networks.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkFit {
    /// Cost per count, by the count's name. A detailed count that no network exercised has no entry.
    pub coefficients: Coefficients,
    /// What comes on top of [`NetworkFit::coefficients`] at these input sizes of networks, and between them in
    /// proportion; empty = nothing, at any.
    pub by_input_size: BTreeMap<u32, Coefficients>,
    /// Cost of a network on top of its operators, in SI units.
    pub constant: f64,
    /// Networks it was fitted to.
    pub networks: usize,
    /// Mean absolute relative error of a network when fitted without it; with the detailed counts, without its tenth.
    pub loo_mape: f64,
    /// Standard deviation of a network, as a fraction: root mean square of the same errors.
    pub rel_error: f64,
    /// Shapes of the operators in those networks.
    pub ranges: BTreeMap<OpClass, Range>,
    /// Error common to all networks, as a fraction.
    pub common_rel: f64,
}

/// Networks as rows of counts.
struct Rows {
    /// Detailed counts that some network has.
    detailed: Vec<Count>,
    counts: Vec<Counts>,
    sizes: Vec<u32>,
    values: Vec<f64>,
}

/// The part of each of `sizes` in a network of input size `size`: the two it lies between, by distance; the nearest
/// beyond the ends.
fn parts(sizes: &[u32], size: u32) -> Vec<f64> {
    let mut parts = vec![0.0; sizes.len()];
    let above = sizes.iter().position(|known| *known >= size);
    match above {
        None => parts.iter_mut().rev().take(1).for_each(|last| *last = 1.0),
        Some(0) => parts[0] = 1.0,
        Some(at) => {
            let (low, high) = (f64::from(sizes[at - 1]), f64::from(sizes[at]));
            parts[at] = (f64::from(size) - low) / (high - low);
            parts[at - 1] = 1.0 - parts[at];
        }
    }
    parts
}

impl Rows {
    /// The least that a layer costs.
    fn least_layer(&self) -> f64 {
        let per_layer =
            self.counts.iter().zip(&self.values).map(|(counts, value)| value / counts.get(Count::Layers).max(1.0));
        LEAST_LAYER * per_layer.sum::<f64>() / self.values.len() as f64
    }

    /// Smallest, middle and largest input size, if there are at least three.
    fn three_sizes(&self) -> Option<[u32; SETS]> {
        let sizes: BTreeSet<u32> = self.sizes.iter().copied().collect();
        let (least, most) = (*sizes.first()?, *sizes.last()?);
        (sizes.len() >= SETS).then(|| [least, least.midpoint(most), most])
    }

    fn basic(&self) -> (Fit, Coefficients, f64) {
        let row = |counts: &Counts| BASIC.iter().map(|count| counts.get(*count)).chain([1.0]).collect();
        let rows: Vec<Vec<f64>> = self.counts.iter().map(row).collect();
        let fit = fit_relative(&rows, &self.values, &vec![0.0; rows.len()]);
        let (coefficients, constant) = (named(&BASIC, &fit.coefficients), fit.coefficients[BASIC.len()]);
        (fit, coefficients, constant)
    }

    /// Detailed counts; one set of coefficients per size of `sizes`, which may be empty.
    fn detailed(&self, sizes: &[u32]) -> (Fit, Vec<Coefficients>, f64) {
        let kinds = &self.detailed;
        let row = |(counts, size): (&Counts, &u32)| -> Vec<f64> {
            let parts = if sizes.is_empty() { vec![1.0] } else { parts(sizes, *size) };
            let of_part = |part: f64| kinds.iter().map(move |kind| part * counts.get(*kind));
            parts.into_iter().flat_map(of_part).chain([1.0]).collect()
        };
        let rows: Vec<Vec<f64>> = self.counts.iter().zip(&self.sizes).map(row).collect();
        let least = self.least_layer();
        let offsets: Vec<f64> = self.counts.iter().map(|counts| least * counts.get(Count::Layers)).collect();
        let fit = fit_relative_robust(&rows, &self.values, &offsets);
        let sets = fit.coefficients.chunks_exact(kinds.len()).map(|set| named(kinds, set)).collect();
        let constant = fit.coefficients.last().copied().unwrap_or(0.0);
        (fit, sets, constant)
    }
}

fn named(counts: &[Count], values: &[f64]) -> Coefficients {
    counts.iter().zip(values).map(|(count, value)| (count.name().to_string(), *value)).collect()
}

impl NetworkFit {
    /// Fits networks and their costs in SI units.
    ///
    /// # Errors
    /// [`HwError::TooFewNetworks`] with fewer than 12 networks, and with 1×1 convolutions with groups among fewer than
    /// 180; [`HwError::NoFit`] with an operator in them that has no counts.
    pub fn fit(measured: &[(Workload, f64)], common_rel: f64) -> Result<Self, HwError> {
        Self::fit_without(measured, common_rel, &[])
    }

    /// As [`NetworkFit::fit`], with nothing for some of the detailed counts, to see what they are worth.
    ///
    /// # Errors
    /// As [`NetworkFit::fit`].
    pub fn fit_without(measured: &[(Workload, f64)], common_rel: f64, left_out: &[Count]) -> Result<Self, HwError> {
        let problem = |problem: String| HwError::NoFit { what: "whole networks".to_string(), problem };
        let too_few = |least, problem: String| HwError::TooFewNetworks { networks: measured.len(), least, problem };
        if measured.len() < LEAST_NETWORKS {
            return Err(too_few(LEAST_NETWORKS, "they are too few".to_string()));
        }
        let is_detailed = measured.len() >= DETAILED_NETWORKS;
        let mut shapes: BTreeMap<OpClass, BTreeSet<TableOp>> = BTreeMap::new();
        for op in measured.iter().flat_map(|(network, _)| &network.ops) {
            let key = TableOp::of(op).ok_or_else(|| problem(format!("{op} has no counts")))?;
            let class = OpClass::of(&key).ok_or_else(|| problem(format!("{op} has groups")))?;
            if key.groups > 1 && !is_detailed {
                return Err(too_few(DETAILED_NETWORKS, format!("{op} has groups, for which they are too few")));
            }
            shapes.entry(class).or_default().insert(key);
        }
        let counts = |network: &Workload| {
            let mut sum = Counts::default();
            for op in &network.ops {
                sum.add(&plain(op));
                sum.add(&if is_detailed { extras(op) } else { stand_ins(op, |_| false) });
            }
            sum
        };
        let counts: Vec<Counts> = measured.iter().map(|(network, _)| counts(network)).collect();
        let is_used = |kind: &Count| !left_out.contains(kind) && counts.iter().any(|counts| counts.get(*kind) > 0.0);
        let rows = Rows {
            detailed: DETAILED.into_iter().filter(is_used).collect(),
            counts,
            sizes: measured.iter().map(|(network, _)| network.resolution).collect(),
            values: measured.iter().map(|(_, value)| *value).collect(),
        };
        let (fit, mut coefficients, by_input_size, constant) =
            if is_detailed { Self::detailed(&rows) } else { Self::basic(&rows) };
        // Measured all the same: nothing stands in for them.
        let is_there = |kind: &&Count| rows.counts.iter().any(|counts| counts.get(**kind) > 0.0);
        for kind in left_out.iter().filter(is_there) {
            coefficients.entry(kind.name().to_string()).or_insert(0.0);
        }
        Ok(Self {
            constant,
            coefficients,
            by_input_size,
            networks: measured.len(),
            loo_mape: mean_absolute(&fit.left_out),
            rel_error: root_mean_square(&fit.left_out),
            ranges: shapes.into_iter().map(|(class, ops)| (class, Range::of(ops.iter()))).collect(),
            common_rel,
        })
    }

    fn basic(rows: &Rows) -> (Fit, Coefficients, BTreeMap<u32, Coefficients>, f64) {
        let (fit, coefficients, constant) = rows.basic();
        (fit, coefficients, BTreeMap::new(), constant)
    }

    fn detailed(rows: &Rows) -> (Fit, Coefficients, BTreeMap<u32, Coefficients>, f64) {
        let least = rows.least_layer();
        let (same, mut sets, constant) = rows.detailed(&[]);
        if let Some(sizes) = rows.three_sizes().filter(|_| rows.values.len() >= BY_SIZE_NETWORKS) {
            let (by_size, sets, constant) = rows.detailed(&sizes);
            let (before, after) = (mean_absolute(&same.left_out), mean_absolute(&by_size.left_out));
            if after <= BY_SIZE_GAIN * before && after <= before - LEAST_GAIN {
                let everywhere = BTreeMap::from([(Count::Layers.name().to_string(), least)]);
                return (by_size, everywhere, sizes.into_iter().zip(sets).collect(), constant);
            }
        }
        let mut coefficients = sets.swap_remove(0);
        *coefficients.entry(Count::Layers.name().to_string()).or_insert(0.0) += least;
        (same, coefficients, BTreeMap::new(), constant)
    }

    /// What [`NetworkFit::loo_mape`] is of a fit to so many networks.
    pub fn error_name(networks: usize) -> &'static str {
        if networks < DETAILED_NETWORKS { "leave-one-out error" } else { "error on held-out tenths" }
    }

    /// What a network costs, in SI units; `None` if an operator of it is not covered.
    pub fn predict(&self, network: &Workload) -> Option<f64> {
        let costs = network.ops.iter().map(|op| self.cost(op, network.resolution).ok());
        Some(self.constant + costs.map(|cost| Some(cost?.value)).sum::<Option<f64>>()?)
    }

    /// Whether some network it was fitted to has what is counted.
    fn is_measured(&self, count: Count) -> bool {
        let mut sets = self.by_input_size.values().chain([&self.coefficients]);
        sets.any(|set| set.contains_key(count.name()))
    }

    fn sum(&self, counts: &Counts, size: u32) -> f64 {
        let of = |set: &Coefficients| -> f64 {
            counts.each().map(|(kind, count)| set.get(kind.name()).copied().unwrap_or(0.0) * count).sum()
        };
        let sizes: Vec<u32> = self.by_input_size.keys().copied().collect();
        let by_size = self.by_input_size.values().zip(parts(&sizes, size)).filter(|(_, part)| *part > 0.0);
        of(&self.coefficients) + by_size.map(|(set, part)| part * of(set)).sum::<f64>()
    }

    /// Doublings of a network's input size beyond those that coefficients depend on; 0 if they depend on none.
    fn size_doublings(&self, size: u32) -> f64 {
        let ratio = |a: u32, b: u32| (f64::from(a.max(1)) / f64::from(b.max(1))).log2();
        let ends = self.by_input_size.first_key_value().zip(self.by_input_size.last_key_value());
        ends.map_or(0.0, |((least, _), (most, _))| ratio(*least, size).max(ratio(size, *most)).max(0.0))
    }
}

impl CostModel for NetworkFit {
    fn cost(&self, op: &Op, network_resolution: u32) -> Result<Estimate, Uncovered> {
        let uncovered = |near: String| Uncovered { near };
        let doublings = match TableOp::of(op) {
            Some(key) => {
                let class = OpClass::of(&key).filter(|_| key.groups == 1 || self.is_measured(Count::Grouped));
                let class =
                    class.ok_or_else(|| uncovered("the networks it is fitted to have no groups".to_string()))?;
                let name = class.name();
                let range = self.ranges.get(&class);
                let range =
                    range.ok_or_else(|| uncovered(format!("the networks it is fitted to have no class {name}")))?;
                range.doublings_outside(&key)
            }
            // No measured network had one by itself, so it counts as one doubling outside.
            None if op.layers().iter().all(|layer| !layer.is_weighted()) => 1.0,
            None => return Err(uncovered(format!("the networks it is fitted to have no {}", op.word()))),
        };
        let mut counts = plain(op);
        counts.add(&extras(op));
        let guessed = self.sum(&stand_ins(op, |count| self.is_measured(count)), network_resolution);
        let value = self.sum(&counts, network_resolution) + guessed;
        let is_free = op.layers().iter().all(|layer| !layer.is_weighted()) && TableOp::of(op).is_none();
        if value <= 0.0 && !is_free {
            // Its terms may all be zero where the constant of a network stands for them.
            return Err(uncovered(format!(
                "its fitted model gives operators of kind {} no cost of their own",
                op.word()
            )));
        }
        let doublings = doublings.max(self.size_doublings(network_resolution));
        Ok(Estimate {
            value,
            std: (self.rel_error * value).hypot(TRANSFERRED_REL_ERROR * guessed),
            // What is wrong outside of the range is wrong with every operator there, and does not average out.
            common_rel: self.common_rel + 2.0 * self.rel_error * doublings,
            fitted: true,
            outside: doublings > 0.0 || guessed > 0.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Picker, mobilenet_v1, mobilenet_v2};
    use network::op::Activation;
    use storage::failure::Failure;

    /// Of the basic counts.
    const WEIGHTS: [f64; 5] = [2e-12, 3e-11, 5e-12, 1e-9, 4e-6];

    /// Networks of a device that obeys the model, with a constant of 1 ms.
    fn networks() -> Vec<(Workload, f64)> {
        let v1 = [25, 50, 75, 100].into_iter().flat_map(|width| [128, 192, 224].map(|size| mobilenet_v1(width, size)));
        let v2 = [35, 75, 140].into_iter().flat_map(|width| [96, 160, 224].map(|size| mobilenet_v2(width, size)));
        let cost = |network: &Workload| {
            let of = |op| BASIC.iter().zip(WEIGHTS).map(|(count, weight)| plain(op).get(*count) * weight).sum::<f64>();
            1e-3 + network.ops.iter().map(of).sum::<f64>()
        };
        v1.chain(v2).map(|network| (network.clone(), cost(&network))).collect()
    }

    #[test]
    fn a_device_that_obeys_the_model_is_found_again() {
        let fit = NetworkFit::fit(&networks(), 0.1).unwrap();
        for (count, weight) in BASIC.iter().zip(WEIGHTS) {
            let found = fit.coefficients[count.name()];
            assert!((found / weight - 1.0).abs() < 1e-3, "{count:?}: {found}");
        }
        assert!((fit.constant / 1e-3 - 1.0).abs() < 1e-3 && fit.loo_mape < 1e-4, "{fit:?}");
        let (network, cost) = &networks()[3];
        let sum: f64 = network.ops.iter().map(|op| fit.cost(op, 192).unwrap().value).sum();
        assert!(((sum + fit.constant) / cost - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_was_not_in_the_networks_is_flagged_or_refused() {
        let fit = NetworkFit::fit(&networks(), 0.1).unwrap();
        let block = TableOp::of(&mobilenet_v2(100, 224).ops[4]).unwrap();
        let plain = fit.cost(&block.op(), 224).unwrap();
        assert!(plain.fitted && !plain.outside);
        for odd in [
            TableOp { kernel: 7, ..block },
            TableOp { se_channels: 24, ..block },
            TableOp { activation: Activation::HSwish, ..block },
        ] {
            let cost = fit.cost(&odd.op(), 224).unwrap();
            assert!(cost.outside && cost.value > plain.value && cost.std > plain.std, "{odd}");
        }
        assert!(fit.cost(&TableOp { groups: 2, ..block }.op(), 224).unwrap_err().near.contains("groups"));
    }

    /// 600 subnets of three input sizes and more, with squeeze-excite and h-swish.
    fn many(cost: impl Fn(&Workload) -> f64) -> Vec<(Workload, f64)> {
        let mut picker = Picker(3);
        let network = |_| {
            let size = picker.pick(&[128, 144, 160, 176, 192, 208, 224]);
            picker.network(size)
        };
        (0..600).map(network).map(|network| (network.clone(), cost(&network))).collect()
    }

    fn detailed(network: &Workload, weights: &[(Count, f64)]) -> f64 {
        let of = |op: &Op| {
            let mut sum = plain(op);
            sum.add(&extras(op));
            weights.iter().map(|(count, weight)| weight * sum.get(*count)).sum::<f64>()
        };
        network.ops.iter().map(of).sum()
    }

    const LAUNCHES: [(Count, f64); 2] = [(Count::Layers, 1e-4), (Count::SqueezeExcites, 3e-4)];
    const WORK: [(Count, f64); 4] = [
        (Count::MacsPointwise, 1e-11),
        (Count::DepthwiseOutputs, 4e-10),
        (Count::DepthwiseOutputs7, 3e-10),
        (Count::HswishElements, 2e-10),
    ];

    #[test]
    fn many_networks_tell_the_detailed_counts_apart() {
        let networks = many(|network| 2e-3 + detailed(network, &LAUNCHES) + detailed(network, &WORK));
        let fit = NetworkFit::fit(&networks, 0.0).unwrap();
        assert!(fit.loo_mape < 1e-4 && fit.by_input_size.is_empty(), "{fit:?}");
        // Layers and blocks, hence residuals, go hand in hand in this space: how they share their cost stays open.
        for (count, weight) in LAUNCHES[1..].iter().chain(&WORK) {
            let found = fit.coefficients[count.name()];
            assert!((found / weight - 1.0).abs() < 1e-2, "{count:?}: {found}");
        }
        // No network has groups: there is no such coefficient, and no answer.
        let block = TableOp::of(&networks[0].0.ops[4]).unwrap();
        assert!(fit.cost(&TableOp { groups: 2, ..block }.op(), 160).unwrap_err().near.contains("groups"));
        assert!(!fit.cost(&block.op(), 160).unwrap().outside, "h-swish and squeeze-excite were measured");
        let without = NetworkFit::fit_without(&networks, 0.0, &[Count::SqueezeExcites]).unwrap();
        assert!(without.loo_mape > 10.0 * fit.loo_mape && without.coefficients["squeeze_excites"] == 0.0);
        let (network, cost) = &networks[0];
        assert!(
            (without.predict(network).unwrap() / cost - 1.0).abs() < 0.1,
            "nothing stands in for what was measured"
        );
    }

    #[test]
    fn the_larger_of_two_sums_is_followed_over_input_sizes() {
        let larger = |network: &Workload| (detailed(network, &LAUNCHES) * 0.3).max(detailed(network, &WORK));
        let networks = many(larger);
        let bound = networks.iter().filter(|(network, cost)| detailed(network, &WORK) < *cost).count();
        assert!((200..450).contains(&bound), "{bound} of 600 are bound by launches");
        let fit = NetworkFit::fit(&networks, 0.0).unwrap();
        assert_eq!(fit.by_input_size.keys().copied().collect::<Vec<u32>>(), [128, 176, 224]);
        let (network, cost) = &networks[0];
        assert!((fit.predict(network).unwrap() / cost - 1.0).abs() < 0.1);
        // Beyond the sizes the nearest set answers, flagged.
        let op = TableOp::of(&network.ops[4]).unwrap();
        let at = |size| fit.cost(&op.op(), size).unwrap();
        assert!(
            at(100).value == at(128).value
                && at(100).outside
                && !at(128).outside
                && at(100).common_rel > at(128).common_rel
        );
        assert!((2.0 * at(152).value / (at(128).value + at(176).value) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_free_where_the_constant_could_stand_for_it() {
        let networks = many(|_| 5e-3);
        let fit = NetworkFit::fit(&networks, 0.0).unwrap();
        let (network, _) = &networks[0];
        assert!(network.ops.iter().all(|op| fit.cost(op, network.resolution).unwrap().value > 0.0));
        assert!((fit.predict(network).unwrap() / 5e-3 - 1.0).abs() < 0.02, "{:?}", fit.predict(network));
    }

    #[test]
    fn too_few_networks_are_refused() {
        let error = NetworkFit::fit(&networks()[..11], 0.1).unwrap_err();
        assert!(error.to_string().contains("11 whole networks"), "{error}");
        assert_eq!(error.hint().as_deref(), Some("measure more networks: at least 12 are needed"));
        let mut grouped = networks();
        for op in grouped.iter_mut().flat_map(|(network, _)| &mut network.ops) {
            if let Op::InvertedBottleneck(block) = op {
                block.groups = 2;
            }
        }
        let error = NetworkFit::fit(&grouped, 0.1).unwrap_err();
        assert!(error.hint().unwrap().contains("at least 180"), "{error}");
    }
}
