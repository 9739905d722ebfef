//! A linear model of operator costs fitted to networks measured whole.
//!
//! Cost of a network = constant + Σ over its operators of coefficient·count. The counts are sums over the layers of an
//! operator (an inverted bottleneck has two or three), so a model of networks is a model of operators, and the constant
//! is paid once per network:
//!
//! - `macs_pointwise`: MACs of 1×1 convolutions, of convolutions without groups and of linear layers;
//! - `macs_depthwise`: MACs of depthwise convolutions;
//! - `elements`: outputs and weights of every layer, and what a pooling reads: memory traffic;
//! - `pixels`: positions of the output of every layer, whatever its width: the part of a layer that narrow channels do
//!   not fill. It lowers the leave-one-out error of energy on four of the five shipped devices, by a tenth to a third.
//!   Positions of a depthwise convolution count in proportion to its taps, 1 for the kernel 3 of all measured networks:
//!   those networks leave open how its cost divides into MACs and positions, and no wider kernel may come out free;
//! - `layers`: what every layer costs before it computes anything.
//!
//! What is known is the error of a network, not how it divides over its operators: [`NetworkFit::rel_error`] is added
//! once per network, and each operator carries as much again by itself, which the sum in quadrature hardly notices.
//! MobileNet v1 and v2, which the shipped fits are made of, have neither squeeze-excite nor h-swish: an h-swish counts
//! as one more pass over its elements, a squeeze-excite as a pooling, two linear layers and a pass. Half of such a part
//! counts as error.

use std::collections::BTreeMap;

use crate::cost::Estimate;
use crate::error::HwError;
use crate::model::features::{CONSTANT, OpClass, hswish_elements};
use crate::model::fit::{fit_relative, mean_absolute, root_mean_square};
use crate::model::fitted::{Range, TRANSFERRED_REL_ERROR};
use crate::model::{CostModel, Uncovered};
use crate::workload::{Op, OpKind, Workload};

/// Names of the counts of an operator.
pub const NETWORK_FEATURES: [&str; 5] = ["macs_pointwise", "macs_depthwise", "elements", "pixels", "layers"];
/// Fewer networks than this say nothing when one is left out: twice the coefficients.
const LEAST_NETWORKS: usize = 2 * (NETWORK_FEATURES.len() + 1);
/// Taps of every depthwise convolution in the measured networks.
const MEASURED_TAPS: f64 = 9.0;

/// Counts in the order of [`NETWORK_FEATURES`].
type Counts = [f64; NETWORK_FEATURES.len()];

/// A model of one quantity of one device, in SI units, fitted to whole networks.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkFit {
    /// Cost per count, by the count's name ([`NETWORK_FEATURES`]).
    pub coefficients: BTreeMap<String, f64>,
    /// Cost of a network on top of its operators, in SI units.
    pub constant: f64,
    /// Networks it was fitted to.
    pub networks: usize,
    /// Mean absolute relative error of a network when fitted without it.
    pub loo_mape: f64,
    /// Standard deviation of a network, as a fraction: root mean square of the same errors.
    pub rel_error: f64,
    /// Shapes of the operators in those networks.
    pub ranges: BTreeMap<OpClass, Range>,
    /// Error common to all networks, as a fraction.
    pub common_rel: f64,
}

fn plus(sum: &mut Counts, other: Counts) {
    sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
}

/// Counts of one dense convolution or linear layer of `weights` weights with outputs of `area` positions × `channels`.
fn layer(area: f64, channels: f64, weights: f64) -> Counts {
    [area * weights, 0.0, area * channels + weights, area, 1.0]
}

fn depthwise(area: f64, channels: f64, taps: f64) -> Counts {
    [0.0, area * channels * taps, area * channels + channels * taps, area * taps / MEASURED_TAPS, 1.0]
}

/// Counts that the measured families exercise.
fn counts(op: &Op) -> Counts {
    let f = f64::from;
    let (in_area, out_area) = (f(op.in_size).powi(2), f(op.out_size).powi(2));
    let (cin, cout, mid) = (f(op.in_channels), f(op.out_channels), f(op.mid_channels));
    let taps = f(op.kernel).powi(2);
    match op.kind {
        OpKind::Conv => layer(out_area, cout, cin * cout * taps),
        OpKind::Linear => layer(1.0, cout, cin * cout),
        OpKind::AvgPool => [0.0, 0.0, in_area * cin, 1.0, 1.0],
        OpKind::MbConv => {
            let mut sum = depthwise(out_area, mid, taps);
            plus(&mut sum, layer(out_area, cout, mid * cout));
            if op.expand_conv {
                plus(&mut sum, layer(in_area, mid, cin * mid));
            }
            sum
        }
    }
}

/// Counts of what they do not exercise: squeeze-excite and h-swish.
fn unmeasured(op: &Op) -> Counts {
    let f = f64::from;
    let mut sum = [0.0, 0.0, hswish_elements(op), 0.0, 0.0];
    if op.se_channels > 0 {
        let (mid, se, area) = (f(op.mid_channels), f(op.se_channels), f(op.out_size).powi(2));
        // The pooling reads what the depthwise convolution wrote, and the scaling writes it once more.
        plus(&mut sum, [0.0, 0.0, 2.0 * area * mid, 0.0, 2.0]);
        plus(&mut sum, layer(1.0, se, mid * se));
        plus(&mut sum, layer(1.0, mid, mid * se));
    }
    sum
}

impl NetworkFit {
    /// Fits networks and their costs in SI units.
    ///
    /// # Errors
    /// [`HwError::NoFit`] with fewer than 12 networks, or with an operator in them that has no counts.
    pub fn fit(measured: &[(Workload, f64)], common_rel: f64) -> Result<Self, HwError> {
        let problem = |problem: String| HwError::NoFit { what: "whole networks".to_string(), problem };
        if measured.len() < LEAST_NETWORKS {
            let networks = measured.len();
            return Err(problem(format!("{networks} networks are too few: at least {LEAST_NETWORKS} are needed")));
        }
        let mut shapes: BTreeMap<OpClass, Vec<&Op>> = BTreeMap::new();
        for op in measured.iter().flat_map(|(network, _)| &network.ops) {
            let class = OpClass::of(op).filter(|_| op.groups == 1);
            shapes.entry(class.ok_or_else(|| problem(format!("{op} has groups")))?).or_default().push(op);
        }
        let rows: Vec<Vec<f64>> = measured
            .iter()
            .map(|(network, _)| {
                let mut sum = Counts::default();
                network.ops.iter().for_each(|op| plus(&mut sum, counts(op)));
                sum.into_iter().chain([1.0]).collect()
            })
            .collect();
        let values: Vec<f64> = measured.iter().map(|(_, value)| *value).collect();
        let fit = fit_relative(&rows, &values, &vec![0.0; values.len()]);
        let named = NETWORK_FEATURES.iter().chain([&CONSTANT]).zip(&fit.coefficients);
        let mut coefficients: BTreeMap<String, f64> = named.map(|(name, w)| (name.to_string(), *w)).collect();
        Ok(Self {
            constant: coefficients.remove(CONSTANT).unwrap_or(0.0),
            coefficients,
            networks: measured.len(),
            loo_mape: mean_absolute(&fit.left_out),
            rel_error: root_mean_square(&fit.left_out),
            ranges: shapes.into_iter().map(|(class, ops)| (class, Range::of(ops.into_iter()))).collect(),
            common_rel,
        })
    }

    fn sum(&self, counts: Counts) -> f64 {
        let weight = |name: &str| self.coefficients.get(name).copied().unwrap_or(0.0);
        NETWORK_FEATURES.iter().zip(counts).map(|(name, count)| weight(name) * count).sum()
    }
}

impl CostModel for NetworkFit {
    fn cost(&self, op: &Op, _network_resolution: u32) -> Result<Estimate, Uncovered> {
        let uncovered = |near: String| Uncovered { near };
        let class = OpClass::of(op).filter(|_| op.groups == 1);
        let class = class.ok_or_else(|| uncovered("the networks it is fitted to have no groups".to_string()))?;
        let name = class.name();
        let range = self.ranges.get(&class);
        let range = range.ok_or_else(|| uncovered(format!("the networks it is fitted to have no class {name}")))?;
        let guessed = self.sum(unmeasured(op));
        let value = self.sum(counts(op)) + guessed;
        if value <= 0.0 {
            // Its terms may all be zero where the constant of a network stands for them.
            return Err(uncovered(format!("its fitted model gives class {name} no cost of its own")));
        }
        let doublings = range.doublings_outside(op);
        let rel = self.rel_error * (1.0 + 2.0 * doublings);
        Ok(Estimate {
            value,
            std: (rel * value).hypot(TRANSFERRED_REL_ERROR * guessed),
            common_rel: self.common_rel,
            fitted: true,
            outside: doublings > 0.0 || guessed > 0.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference_networks::{mobilenet_v1, mobilenet_v2};
    use crate::workload::Activation;

    const WEIGHTS: Counts = [2e-12, 3e-11, 5e-12, 1e-9, 4e-6];

    /// Networks of a device that obeys the model, with a constant of 1 ms.
    fn networks() -> Vec<(Workload, f64)> {
        let v1 = [25, 50, 75, 100].into_iter().flat_map(|width| [128, 192, 224].map(|size| mobilenet_v1(width, size)));
        let v2 = [35, 75, 140].into_iter().flat_map(|width| [96, 160, 224].map(|size| mobilenet_v2(width, size)));
        let cost = |network: &Workload| {
            let of = |op| counts(op).iter().zip(WEIGHTS).map(|(count, weight)| count * weight).sum::<f64>();
            1e-3 + network.ops.iter().map(of).sum::<f64>()
        };
        v1.chain(v2).map(|network| (network.clone(), cost(&network))).collect()
    }

    #[test]
    fn a_device_that_obeys_the_model_is_found_again() {
        let fit = NetworkFit::fit(&networks(), 0.1).unwrap();
        for (name, weight) in NETWORK_FEATURES.iter().zip(WEIGHTS) {
            assert!((fit.coefficients[*name] / weight - 1.0).abs() < 1e-3, "{name}: {}", fit.coefficients[*name]);
        }
        assert!((fit.constant / 1e-3 - 1.0).abs() < 1e-3 && fit.loo_mape < 1e-4, "{fit:?}");
        let (network, cost) = &networks()[3];
        let sum: f64 = network.ops.iter().map(|op| fit.cost(op, 192).unwrap().value).sum();
        assert!(((sum + fit.constant) / cost - 1.0).abs() < 1e-6);
    }

    #[test]
    fn counts_agree_with_the_macs_of_the_operators() {
        for network in [mobilenet_v1(100, 224), mobilenet_v2(35, 96)] {
            let macs: f64 = network.ops.iter().map(counts).map(|counts| counts[0] + counts[1]).sum();
            assert_eq!(macs, network.macs().0 as f64);
        }
    }

    #[test]
    fn what_was_not_in_the_networks_is_flagged_or_refused() {
        let fit = NetworkFit::fit(&networks(), 0.1).unwrap();
        let block = mobilenet_v2(100, 224).ops[4];
        let plain = fit.cost(&block, 224).unwrap();
        assert!(plain.fitted && !plain.outside);
        for odd in
            [Op { kernel: 7, ..block }, Op { se_channels: 24, ..block }, Op { activation: Activation::HSwish, ..block }]
        {
            let cost = fit.cost(&odd, 224).unwrap();
            assert!(cost.outside && cost.value > plain.value && cost.std > plain.std, "{odd}");
        }
        assert!(fit.cost(&Op { groups: 2, ..block }, 224).unwrap_err().near.contains("groups"));
    }

    #[test]
    fn too_few_networks_are_refused() {
        let error = NetworkFit::fit(&networks()[..11], 0.1).unwrap_err();
        assert!(error.to_string().contains("at least 12"), "{error}");
    }
}
