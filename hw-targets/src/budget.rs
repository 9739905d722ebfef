//! Ceilings on what a network may cost.

use crate::error::HwError;
use crate::target::Target;
use network::units::{Joules, Macs, Params, Quantity, Seconds};

/// Ceilings on any quantities; a quantity without one is free.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// In the order of [`Quantity::ALL`].
    limits: [Option<f64>; Quantity::ALL.len()],
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
}
