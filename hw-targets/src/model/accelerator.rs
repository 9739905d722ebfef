//! Energy of operators on an accelerator that is described, not measured.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::accelerator::{Accelerator, estimate_network, layers_of};
use crate::cost::Estimate;
use crate::error::HwError;
use crate::model::{CostModel, Uncovered};
use network::op::{Op, Workload};

/// Standard deviation of one operator, as a fraction: that of AlexNet's five convolutions around their mean deviation
/// from the published tool (+1, −3, −24, −30, −29 %). What they have in common is the target's common error.
pub(crate) const STD_REL: f64 = 0.15;

/// Counted accesses ([`crate::accelerator`]) of one image, 16-bit and without zeros, times the energy of one
/// multiply-accumulate. Pooling has no layer there and costs nothing.
#[derive(Debug)]
pub struct AcceleratorModel {
    accelerator: Accelerator,
    unit_joules: f64,
    common_rel: f64,
    /// Of one operator in joules. The best mapping of an operator is searched for once, however often it is asked for.
    counted: Mutex<HashMap<Op, f64>>,
}

impl AcceleratorModel {
    /// `unit_joules` is the energy of one 16-bit multiply-accumulate, above zero.
    pub fn new(accelerator: Accelerator, unit_joules: f64, common_rel: f64) -> Self {
        Self { accelerator, unit_joules, common_rel, counted: Mutex::default() }
    }

    fn count(&self, op: &Op) -> Result<f64, HwError> {
        let layers = layers_of(&Workload { resolution: op.input().size, ops: vec![op.clone()] }, 1)?;
        Ok(estimate_network(&layers, &self.accelerator)?.total() * self.unit_joules)
    }
}

impl CostModel for AcceleratorModel {
    fn cost(&self, op: &Op, _network_resolution: u32) -> Result<Estimate, Uncovered> {
        // A thread that panicked left whole entries only. The lock is not held while a mapping is searched for.
        let known = self.counted.lock().unwrap_or_else(PoisonError::into_inner).get(op).copied();
        let value = match known {
            Some(value) => value,
            None => {
                let value = self.count(op).map_err(|error| Uncovered { near: error.to_string() })?;
                self.counted.lock().unwrap_or_else(PoisonError::into_inner).insert(op.clone(), value);
                value
            }
        };
        Ok(Estimate { value, std: STD_REL * value, common_rel: self.common_rel, fitted: false, outside: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerator::NetworkEnergy;
    use crate::library::TargetLibrary;
    use crate::testing::Picker;
    use network::op::Conv;
    use network::units::Measured;

    #[test]
    fn a_network_is_the_sum_of_its_operators_counted_once() {
        let target = TargetLibrary::new(None).find("eyeriss").unwrap();
        let accelerator = Accelerator::builtin("eyeriss").unwrap();
        let mut picker = Picker(4);
        for resolution in [160, 224] {
            let workload = picker.network(resolution);
            let whole: NetworkEnergy = estimate_network(&layers_of(&workload, 1).unwrap(), &accelerator).unwrap();
            let expected = whole.total() * accelerator.unit_joules().unwrap();
            for _ in 0..2 {
                let energy = target.cost_of(&workload).unwrap().energy.unwrap();
                assert!((energy.value / expected - 1.0).abs() < 1e-12, "{} {expected}", energy.value);
                assert!((energy.common_rel - 0.5).abs() < 1e-9 && energy.std > 0.0 && !energy.fitted);
            }
            let pool = workload.ops.iter().find(|op| matches!(op, Op::Pool(_))).unwrap();
            assert_eq!(target.cost_in(Measured::Energy, pool, resolution).unwrap().value, 0.0);
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_uncovered_and_says_why() {
        let accelerator = Accelerator::builtin("eyeriss").unwrap();
        let model = AcceleratorModel::new(accelerator, 1e-12, 0.1);
        let conv = Picker(4).network(224).ops.swap_remove(0);
        let Op::Conv(stem) = conv else { panic!("{conv}") };
        // Higher than the array has rows.
        let error = model.cost(&Op::Conv(Conv { kernel: 13, padding: 6, ..stem }), 224).unwrap_err();
        assert!(!error.near.is_empty() && model.cost(&conv, 224).is_ok(), "{error:?}");
    }
}
