//! One number per multiply-accumulate and one per network, fitted to a handful of networks measured whole.
//!
//! Microcontroller boards are published with three or four networks each, which determine no more than that. The fit
//! minimises relative errors ([`crate::model::fit`]); every network is also predicted by a fit to the others. Leaving
//! out the smallest or the largest asks the others to extrapolate, so the error of one network inside the range comes
//! from those between.

use std::collections::BTreeMap;

use crate::cost::Estimate;
use crate::error::HwError;
use crate::model::fit::{fit_relative, mean_absolute, root_mean_square};
use crate::model::{CostModel, Uncovered};
use network::layers::LayerKind;
use network::op::{Activation, Op};

/// Two coefficients, and as many networks more so that leaving one out says something.
const LEAST_NETWORKS: usize = 4;
/// Largest depthwise kernel of the measured networks.
const MEASURED_KERNEL: u32 = 3;

/// A network measured whole.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredMacs {
    /// Its name.
    pub network: String,
    /// Its multiply-accumulates.
    pub macs: u64,
    /// What it costs, in SI units.
    pub value: f64,
}

/// A model of one quantity of one device, in SI units.
#[derive(Clone, Debug, PartialEq)]
pub struct PerMac {
    /// Cost of a multiply-accumulate; above zero.
    pub per_mac: f64,
    /// Cost of a network on top of its operators.
    pub constant: f64,
    /// Smallest and largest number of multiply-accumulates among the measured networks.
    pub macs: [u64; 2],
    /// Signed relative error of each network when fitted without it, by the network's name.
    pub left_out: BTreeMap<String, f64>,
    /// Standard deviation of a network inside the range, as a fraction: root mean square of those errors, without the
    /// smallest and the largest network's.
    pub rel_error: f64,
    /// Error common to all networks, as a fraction.
    pub common_rel: f64,
}

impl PerMac {
    /// Fits networks of different sizes and their costs.
    ///
    /// # Errors
    /// [`HwError::NoFit`] with fewer than four networks, or where more multiply-accumulates do not cost more.
    pub fn fit(measured: &[MeasuredMacs], common_rel: f64) -> Result<Self, HwError> {
        let problem = |problem: String| HwError::NoFit { what: "cost per multiply-accumulate".to_string(), problem };
        if measured.len() < LEAST_NETWORKS {
            let networks = measured.len();
            return Err(problem(format!("{networks} networks are too few: at least {LEAST_NETWORKS} are needed")));
        }
        let rows: Vec<Vec<f64>> = measured.iter().map(|network| vec![network.macs as f64, 1.0]).collect();
        let values: Vec<f64> = measured.iter().map(|network| network.value).collect();
        let fit = fit_relative(&rows, &values, &vec![0.0; values.len()]);
        let (per_mac, constant) = (fit.coefficients[0], fit.coefficients[1]);
        if per_mac <= 0.0 {
            return Err(problem("networks with more multiply-accumulates do not cost more".to_string()));
        }
        let sizes = measured.iter().map(|network| network.macs);
        let macs = [sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0)];
        let named = measured.iter().zip(&fit.left_out);
        let between: Vec<f64> =
            named.clone().filter(|(network, _)| !macs.contains(&network.macs)).map(|(_, error)| *error).collect();
        Ok(Self {
            per_mac,
            constant,
            macs,
            left_out: named.map(|(network, error)| (network.network.clone(), *error)).collect(),
            rel_error: root_mean_square(&between),
            common_rel,
        })
    }

    /// Mean absolute relative error of a network when fitted without it, the smallest and the largest included.
    pub fn loo_mape(&self) -> f64 {
        mean_absolute(&self.left_out.values().copied().collect::<Vec<f64>>())
    }
}

impl CostModel for PerMac {
    /// Pooling has no multiply-accumulates, and so no cost of its own: it is in what the others cost.
    fn cost(&self, op: &Op, _network_resolution: u32) -> Result<Estimate, Uncovered> {
        let value = self.per_mac * op.macs().0 as f64;
        let unmeasured = op.layers().iter().any(|layer| match layer.kind {
            LayerKind::Depthwise(window, _) => window.kernel > MEASURED_KERNEL,
            LayerKind::Conv(_, weights) => weights.groups > 1,
            LayerKind::Activation(activation) => matches!(activation, Activation::HSwish | Activation::HSigmoid),
            LayerKind::Scale => true,
            _ => false,
        });
        // A guess: three times the error, as one doubling beyond the range of a fitted model.
        let rel = self.rel_error * if unmeasured { 3.0 } else { 1.0 };
        Ok(Estimate { value, std: rel * value, common_rel: self.common_rel, fitted: true, outside: unmeasured })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table_op::TableOp;
    use crate::testing::mobilenet_v1;

    fn networks(value: fn(u64) -> f64) -> Vec<MeasuredMacs> {
        let network = |macs: u64| MeasuredMacs { network: macs.to_string(), macs, value: value(macs) };
        [300_000, 2_700_000, 7_500_000, 12_500_000].map(network).to_vec()
    }

    #[test]
    fn a_device_that_obeys_the_model_is_found_again() {
        let fit = PerMac::fit(&networks(|macs| 5e-10 * macs as f64 + 7e-5), 0.1).unwrap();
        assert!((fit.per_mac / 5e-10 - 1.0).abs() < 1e-9 && (fit.constant / 7e-5 - 1.0).abs() < 1e-9, "{fit:?}");
        assert!(fit.loo_mape() < 1e-9 && fit.macs == [300_000, 12_500_000]);
        let network = mobilenet_v1(25, 96);
        let sum: f64 = network.ops.iter().map(|op| fit.cost(op, 96).unwrap().value).sum();
        assert!((sum / (5e-10 * network.macs().0 as f64) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_error_of_a_network_is_that_of_those_between() {
        // The smallest costs thrice what the others say, which only its own leaving out may show in full.
        let fit = PerMac::fit(&networks(|macs| if macs < 1_000_000 { 4.5e-4 } else { 5e-10 * macs as f64 }), 0.1);
        let fit = fit.unwrap();
        assert!(fit.left_out["300000"] < -0.6, "{fit:?}");
        let between = root_mean_square(&[fit.left_out["2700000"], fit.left_out["7500000"]]);
        assert!((fit.rel_error - between).abs() < 1e-12 && fit.loo_mape() > fit.left_out["7500000"].abs());
    }

    #[test]
    fn what_was_not_measured_is_flagged_and_pooling_costs_nothing_of_its_own() {
        let fit = PerMac::fit(&networks(|macs| (macs as f64).sqrt() * 1e-6), 0.1).unwrap();
        let ops = mobilenet_v1(25, 96).ops;
        let plain = fit.cost(&ops[3], 96).unwrap();
        assert!(plain.fitted && !plain.outside && plain.std > 0.0);
        let block = TableOp::of(&ops[3]).unwrap();
        for odd in [
            TableOp { kernel: 5, ..block },
            TableOp { se_channels: 8, ..block },
            TableOp { activation: Activation::HSwish, ..block },
        ] {
            let cost = fit.cost(&odd.op(), 96).unwrap();
            assert!(cost.outside && cost.std / cost.value > 2.9 * plain.std / plain.value, "{odd}");
        }
        let pool = ops.iter().find(|op| matches!(op, Op::Pool(_))).unwrap();
        assert_eq!(fit.cost(pool, 96).unwrap().value, 0.0);
    }

    #[test]
    fn what_determines_nothing_is_refused() {
        let few = PerMac::fit(&networks(|macs| macs as f64)[..3], 0.1).unwrap_err();
        assert!(few.to_string().contains("at least 4"), "{few}");
        let falling = PerMac::fit(&networks(|macs| 1.0 / macs as f64), 0.1).unwrap_err();
        assert!(falling.to_string().contains("do not cost more"), "{falling}");
    }
}
