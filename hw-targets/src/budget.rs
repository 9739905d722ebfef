//! Ceilings, and by how much a subnet misses them.

use std::fmt;

use crate::cost::NetworkCost;
use crate::error::HwError;
use crate::target::Target;
use network::units::{Joules, Macs, Params, Quantity, Seconds};

/// Ceilings on any quantities; a quantity without one is free.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// In the order of [`Quantity::ALL`].
    limits: [Option<f64>; Quantity::ALL.len()],
}

/// One ceiling that a network misses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overrun {
    /// What is too large.
    pub quantity: Quantity,
    /// The ceiling, in SI units or as a count.
    pub limit: f64,
    /// What the network costs.
    pub value: f64,
}

impl Overrun {
    /// The excess as a fraction of the ceiling, above zero.
    pub fn relative(&self) -> f64 {
        self.value / self.limit - 1.0
    }
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quantity, limit, value } = *self;
        let percent = 100.0 * self.relative();
        write!(
            f,
            "{quantity} {} is above the budget of {} by {percent:.1} %",
            quantity.format(value),
            quantity.format(limit)
        )
    }
}

impl Budget {
    /// A budget of the given ceilings; [`Budget::with`] adds others.
    ///
    /// # Errors
    /// [`HwError::BadBudget`] for zero, negative, infinite and NaN ceilings.
    pub fn new(
        energy: Option<Joules>,
        latency: Option<Seconds>,
        macs: Option<Macs>,
        params: Option<Params>,
    ) -> Result<Self, HwError> {
        let given = [
            (Quantity::Energy, energy.map(|energy| energy.0)),
            (Quantity::Latency, latency.map(|latency| latency.0)),
            (Quantity::Macs, macs.map(|macs| macs.0 as f64)),
            (Quantity::Params, params.map(|params| params.0 as f64)),
        ];
        let given = given.into_iter().filter_map(|(quantity, value)| Some((quantity, value?)));
        given.into_iter().try_fold(Self::default(), |budget, (quantity, value)| budget.with(quantity, value))
    }

    /// This budget with a ceiling on `quantity`, in SI units or as a count, in place of the one it may have had.
    ///
    /// # Errors
    /// As [`Budget::new`].
    pub fn with(mut self, quantity: Quantity, value: f64) -> Result<Self, HwError> {
        let problem = match value {
            value if value.is_nan() => "not a number",
            value if value < 0.0 => "negative",
            0.0 => "zero",
            value if value.is_infinite() => "not finite",
            _ => {
                self.limits[quantity as usize] = Some(value);
                return Ok(self);
            }
        };
        Err(HwError::BadBudget { quantity, value, problem })
    }

    /// The ceiling on one quantity, in SI units or as a count.
    pub fn limit(&self, quantity: Quantity) -> Option<f64> {
        self.limits[quantity as usize]
    }

    /// All ceilings.
    pub fn limits(&self) -> impl Iterator<Item = (Quantity, f64)> + '_ {
        Quantity::ALL.into_iter().filter_map(|quantity| Some((quantity, self.limit(quantity)?)))
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses a ceiling on a quantity that `target` cannot answer.
    ///
    /// # Errors
    /// [`HwError::UnknownQuantity`].
    pub fn check_known(&self, target: &Target) -> Result<(), HwError> {
        self.limits().try_for_each(|(quantity, _)| target.require(quantity))
    }

    /// Every ceiling that `cost` misses, the largest relative excess first. A quantity that the target does not know
    /// counts as met: [`Budget::check_known`] comes first.
    pub fn overruns(&self, cost: &NetworkCost) -> Vec<Overrun> {
        let mut overruns: Vec<Overrun> = self
            .limits()
            .filter_map(|(quantity, limit)| Some(Overrun { quantity, limit, value: cost.value(quantity)? }))
            .filter(|overrun| overrun.value > overrun.limit)
            .collect();
        overruns.sort_by(|a, b| b.relative().total_cmp(&a.relative()));
        overruns
    }

    /// Whether `cost` meets every ceiling.
    pub fn is_met(&self, cost: &NetworkCost) -> bool {
        self.overruns(cost).is_empty()
    }

    /// Whether `cost` plus one standard deviation still meets every ceiling.
    pub fn is_met_with_sigma(&self, cost: &NetworkCost) -> bool {
        self.limits().all(|(quantity, limit)| {
            cost.value(quantity).zip(cost.sigma(quantity)).is_none_or(|(value, sigma)| value + sigma <= limit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{CostValue, Grade, Method, Scope};
    use network::units::Bytes;
    use storage::failure::Failure;

    fn cost(energy: f64, macs: u64) -> NetworkCost {
        let energy = CostValue {
            value: energy,
            std: 0.0,
            common_rel: 0.3,
            method: Method::DerivedPower,
            basis: Method::Fitted,
            scope: Scope::AboveIdle,
            grade: Grade::C,
            factor: Some(1.6),
            fitted: true,
            outside: 0,
        };
        NetworkCost {
            latency: None,
            energy: Some(energy),
            macs: Macs(macs),
            params: Params(1),
            flash: Bytes(1),
            peak_memory: Bytes(1),
        }
    }

    #[test]
    fn the_largest_overrun_comes_first() {
        let budget = Budget::new(Some(Joules(0.05)), None, Some(Macs(100)), None).unwrap();
        let overruns = budget.overruns(&cost(0.06, 200));
        assert_eq!(overruns[0].quantity, Quantity::Macs);
        assert_eq!(overruns[1].to_string(), "energy 60 mJ is above the budget of 50 mJ by 20.0 %");
        assert!(budget.is_met(&cost(0.05, 100)));
        assert!(!budget.is_met_with_sigma(&cost(0.05, 100)));
        assert!(budget.is_met_with_sigma(&cost(0.03, 100)));
    }

    #[test]
    fn a_ceiling_that_nothing_meets_is_refused() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = Budget::new(Some(Joules(bad)), None, None, None).unwrap_err();
            assert_eq!(error.kind().exit_code(), 2, "{error}");
        }
        assert!(Budget::new(None, None, Some(Macs(0)), None).is_err());
        assert!(Budget::new(None, None, None, None).unwrap().is_empty());
    }
}
