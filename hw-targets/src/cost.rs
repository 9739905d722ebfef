//! What a cost is worth: its value, its error in two parts, and where it comes from.
//!
//! The error of a sum has a part that is independent from operator to operator (`std`, adding in quadrature) and a
//! part that is common to all (`common_rel`, adding linearly): sigma = sqrt(Σ std² + (Σ rel·v)²). The common part moves
//! every network of one target alike, so it matters against a budget and not for ranking two networks.

use std::fmt;

use network::memory::{flash, peak_memory};
use network::op::Workload;
use network::units::{Bytes, Macs, Measured, Params, PerMeasured, Quantity};

macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[$variant_doc])* $variant),+ }

        impl $type {
            /// All words, for messages.
            pub const WORDS: &'static str = concat!($($word, " "),+);

            /// The word used in files.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $word),+ }
            }

            /// Reads the word used in files.
            pub fn parse(word: &str) -> Option<Self> {
                Some(match word { $($word => $type::$variant,)+ _ => return None })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

words! {
    /// How a number came about.
    Method {
        /// Timed or metered on the device; how is not said.
        Measured = "measured",
        /// Metered on a supply rail of the board.
        MeasuredRail = "measured_rail",
        /// Metered at the wall plug.
        MeasuredWall = "measured_wall",
        /// Metered at the battery.
        MeasuredBattery = "measured_battery",
        /// Out of a simulator.
        Simulated = "simulated",
        /// Latency × a power.
        DerivedPower = "derived_power",
        /// A model fitted to measurements.
        Fitted = "fitted",
        /// Not said.
        Unstated = "unstated",
    }
}

words! {
    /// What a number includes. Energies of different scope are never ranked against each other.
    Scope {
        /// The chip alone, at its own supply.
        Chip = "chip",
        /// The chip and the DRAM that it reads from and writes to.
        ChipAndDram = "chip_and_dram",
        /// The rail of the cores.
        CoreRail = "core_rail",
        /// The whole board behind its supply.
        BoardDc = "board_dc",
        /// The wall plug, idle power included.
        WallAc = "wall_ac",
        /// What the work adds to the idle device.
        AboveIdle = "above_idle",
        /// One inference on the device (the scope of latencies).
        Inference = "inference",
        /// Not said.
        Unstated = "unstated",
    }
}

words! {
    /// How far a number can be trusted.
    Grade {
        /// Validated end to end on the device.
        A = "A",
        /// Sums of measured operators.
        B = "B",
        /// Fitted, or derived from another quantity.
        C = "C",
        /// Simulated.
        D = "D",
    }
}

words! {
    /// Which number of several runs.
    Statistic {
        /// Arithmetic mean.
        Mean = "mean",
        /// Middle value.
        Median = "median",
        /// Ninety of a hundred runs are below.
        P90 = "p90",
    }
}

/// What one model says about one operator, in SI units (seconds or joules).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Standard deviation, independent of other operators'.
    pub std: f64,
    /// Standard deviation shared with all operators of the target, as a fraction of the value.
    pub common_rel: f64,
    /// Whether a fitted model answered, not a measurement of this operator.
    pub fitted: bool,
    /// Whether the operator lies outside what the model was fitted to.
    pub outside: bool,
}

/// A running sum of estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CostSum {
    /// Sum of values.
    pub value: f64,
    /// Sum of the squares of the independent standard deviations.
    pub variance: f64,
    /// Sum of the common standard deviations.
    pub common: f64,
    /// How many operators a fitted model answered.
    pub fitted: u32,
    /// How many of those lie outside the fitted range.
    pub outside: u32,
}

impl CostSum {
    /// Adds one operator.
    pub fn add(&mut self, estimate: &Estimate) {
        self.value += estimate.value;
        self.variance += estimate.std * estimate.std;
        self.common += estimate.common_rel * estimate.value;
        self.fitted += u32::from(estimate.fitted);
        self.outside += u32::from(estimate.outside);
    }

    /// As the estimate of one operator that has several parts.
    pub(crate) fn estimate(&self) -> Estimate {
        Estimate {
            value: self.value,
            std: self.variance.sqrt(),
            common_rel: if self.value > 0.0 { self.common / self.value } else { 0.0 },
            fitted: self.fitted > 0,
            outside: self.outside > 0,
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &CostSum) {
        self.value += other.value;
        self.variance += other.variance;
        self.common += other.common;
        self.fitted += other.fitted;
        self.outside += other.outside;
    }
}

/// What one operator costs, in seconds and joules; a quantity that the target does not know is `None`.
pub type OpCost = PerMeasured<Option<Estimate>>;

/// What a whole network costs, with everything that must be printed beside the number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostValue {
    /// In SI units (seconds or joules).
    pub value: f64,
    /// Standard deviation of this network against others of the same target.
    pub std: f64,
    /// Standard deviation common to all networks of the target, as a fraction of the value.
    pub common_rel: f64,
    /// How it came about.
    pub method: Method,
    /// What the method stands on: what was fitted or multiplied.
    pub basis: Method,
    /// What it includes.
    pub scope: Scope,
    /// How far to trust it.
    pub grade: Grade,
    /// Where the error is better said as a factor: true value between value/f and value·f.
    pub factor: Option<f64>,
    /// Whether any operator came from a fitted model.
    pub fitted: bool,
    /// Operators outside the fitted range.
    pub outside: u32,
    /// Images that it is the cost of.
    pub batch: u32,
}

impl CostValue {
    /// Standard deviation in all: both parts in quadrature.
    pub fn sigma(&self) -> f64 {
        self.std.hypot(self.common_rel * self.value)
    }
}

/// What a whole network costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkCost {
    /// Latency, if the target knows it.
    pub latency: Option<CostValue>,
    /// Energy, if the target knows it.
    pub energy: Option<CostValue>,
    /// Multiply-accumulates.
    pub macs: Macs,
    /// Parameters.
    pub params: Params,
    /// Weights and constants in int8.
    pub flash: Bytes,
    /// Memory that one int8 inference needs at its peak.
    pub peak_memory: Bytes,
}

impl NetworkCost {
    /// What follows from the network alone.
    pub fn exact(workload: &Workload) -> NetworkCost {
        NetworkCost {
            latency: None,
            energy: None,
            macs: workload.macs(),
            params: workload.params(),
            flash: workload.ops.iter().map(flash).sum(),
            peak_memory: peak_memory(workload).total(),
        }
    }

    /// Energy or latency, if the target knows it.
    pub fn measured(&self, quantity: Measured) -> Option<&CostValue> {
        match quantity {
            Measured::Energy => self.energy.as_ref(),
            Measured::Latency => self.latency.as_ref(),
        }
    }

    /// The value of one quantity, in SI units or as a count.
    pub fn value(&self, quantity: Quantity) -> Option<f64> {
        match quantity {
            Quantity::Energy => self.energy.map(|cost| cost.value),
            Quantity::Latency => self.latency.map(|cost| cost.value),
            Quantity::Macs => Some(self.macs.0 as f64),
            Quantity::Params => Some(self.params.0 as f64),
            Quantity::Flash => Some(self.flash.0 as f64),
            Quantity::PeakMemory => Some(self.peak_memory.0 as f64),
        }
    }

    /// The standard deviation of one quantity; counts are exact.
    pub fn sigma(&self, quantity: Quantity) -> Option<f64> {
        quantity.measured().map_or(Some(0.0), |quantity| self.measured(quantity).map(CostValue::sigma))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_errors_add_and_independent_ones_average_out() {
        let mut sum = CostSum::default();
        let one = Estimate { value: 1.0, std: 0.1, common_rel: 0.3, fitted: true, outside: false };
        for _ in 0..100 {
            sum.add(&one);
        }
        assert!((sum.value - 100.0).abs() < 1e-9);
        assert!((sum.variance.sqrt() - 1.0).abs() < 1e-9);
        assert!((sum.common - 30.0).abs() < 1e-9);
        assert_eq!((sum.fitted, sum.outside), (100, 0));
    }

    #[test]
    fn words_read_back() {
        for word in Method::WORDS.split_whitespace() {
            assert_eq!(Method::parse(word).unwrap().name(), word);
        }
        assert_eq!(Grade::parse("E"), None);
    }
}
