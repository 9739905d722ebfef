//! What is said where no subnet fits a budget.

use std::fmt;

use network::units::{Bytes, Quantity};

use crate::cost::costs::Costs;
use crate::space::arch::ArchSpec;

/// Why no subnet fits, and what could be reached instead.
#[derive(Clone, Debug)]
pub struct Infeasible {
    /// Name of the space.
    pub space: String,
    /// Each ceiling with the exact least value that any subnet has.
    pub limits: Vec<UnmetLimit>,
    /// The subnet with the smallest overrun (largest ratio of cost to ceiling) that was seen.
    pub closest: ArchSpec,
    /// What it costs.
    pub closest_costs: Costs,
    /// Memory that it needs at its peak.
    pub closest_memory: Bytes,
}

/// A ceiling and the least that can be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnmetLimit {
    /// What is limited.
    pub quantity: Quantity,
    /// The ceiling.
    pub ceiling: f64,
    /// The exact least value over the whole space; for peak memory a bound below it.
    pub least: f64,
    /// The middle value of random subnets.
    pub median: f64,
    /// The exact largest value over the whole space; for peak memory the largest that was looked at.
    pub most: f64,
}

impl fmt::Display for Infeasible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no subnet of space `{}` fits the budget", self.space)?;
        let mut alone = self.limits.iter().filter(|limit| limit.least > limit.ceiling).peekable();
        match self.limits.as_slice() {
            _ if alone.peek().is_some() => {}
            // Blocks may need more memory together than each of them alone.
            [UnmetLimit { quantity, ceiling, .. }] => {
                write!(f, ": none was found with {quantity} within {}", quantity.format(*ceiling))?;
            }
            _ => write!(f, ": each ceiling can be met alone, but not all together")?,
        }
        for UnmetLimit { quantity, ceiling, least, median, most } in alone {
            let [ceiling, least, median, most] = [ceiling, least, median, most].map(|value| quantity.format(*value));
            write!(f, "; {quantity} is at least {least}, the budget {ceiling} (median {median}, largest {most})")?;
        }
        Ok(())
    }
}

impl Infeasible {
    pub(crate) fn hint(&self) -> String {
        let closest = self.limits.iter().filter_map(|UnmetLimit { quantity, .. }| {
            let memory = (*quantity == Quantity::PeakMemory).then_some(self.closest_memory.0 as f64);
            Some(format!("{quantity} {}", quantity.format(memory.or(self.closest_costs.get(*quantity))?)))
        });
        let closest = closest.collect::<Vec<_>>().join(", ");
        format!("the nearest subnet has {closest}, at resolution {}", self.closest.resolution())
    }
}
