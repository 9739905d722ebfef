//! What can be asked of a network on a device, and limited.

use std::fmt;
use std::ops::{Index, IndexMut};

use super::amounts::{Bytes, Joules, Macs, Params, Seconds, UnitError};

/// What a target can answer and a budget can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quantity {
    /// Energy of one inference, in joules.
    Energy,
    /// Time of one inference, in seconds.
    Latency,
    /// Multiply-accumulates.
    Macs,
    /// Parameters.
    Params,
    /// Bytes of an int8 network's weights and constants ([`crate::memory::flash`]).
    Flash,
    /// Bytes of memory that one int8 inference needs at its peak ([`crate::memory::peak_memory`]).
    PeakMemory,
}

/// A [`Quantity`] that a device is measured for: it does not follow from the network alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measured {
    /// Energy of one inference, in joules.
    Energy,
    /// Time of one inference, in seconds.
    Latency,
}

impl Measured {
    /// Both.
    pub const ALL: [Measured; 2] = [Measured::Energy, Measured::Latency];

    /// As the quantity that it is.
    pub const fn quantity(self) -> Quantity {
        match self {
            Measured::Energy => Quantity::Energy,
            Measured::Latency => Quantity::Latency,
        }
    }

    /// The word on the command line, in files and messages: `energy`, `latency`.
    pub fn name(self) -> &'static str {
        self.quantity().name()
    }

    /// Key in JSON: `energy_mj`, `latency_ms`.
    pub fn json_key(self) -> &'static str {
        self.quantity().json_key()
    }

    /// Column of the measured value in files of operators and of networks: `energy_mJ`, `latency_ms`.
    pub fn column(self) -> &'static str {
        match self {
            Measured::Energy => "energy_mJ",
            Measured::Latency => "latency_ms",
        }
    }

    /// How many of the unit of [`Measured::json_key`] make one SI unit.
    pub fn json_scale(self) -> f64 {
        self.quantity().json_scale()
    }

    /// Prints a value given in SI units with its unit: `50 mJ`, `41.7 ms`.
    pub fn format(self, value: f64) -> String {
        self.quantity().format(value)
    }
}

impl From<Measured> for Quantity {
    fn from(measured: Measured) -> Self {
        measured.quantity()
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value for energy and one for latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerMeasured<T> {
    /// Of the energy.
    pub energy: T,
    /// Of the latency.
    pub latency: T,
}

impl<T> PerMeasured<T> {
    /// The value that `of` gives for each; energy is asked first.
    pub fn from_fn(mut of: impl FnMut(Measured) -> T) -> Self {
        Self { energy: of(Measured::Energy), latency: of(Measured::Latency) }
    }

    /// As [`PerMeasured::from_fn`], up to the first error.
    ///
    /// # Errors
    /// Those of `of`.
    pub fn try_from_fn<E>(mut of: impl FnMut(Measured) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self { energy: of(Measured::Energy)?, latency: of(Measured::Latency)? })
    }
}

impl<T> Index<Measured> for PerMeasured<T> {
    type Output = T;

    fn index(&self, of: Measured) -> &T {
        match of {
            Measured::Energy => &self.energy,
            Measured::Latency => &self.latency,
        }
    }
}

impl<T> IndexMut<Measured> for PerMeasured<T> {
    fn index_mut(&mut self, of: Measured) -> &mut T {
        match of {
            Measured::Energy => &mut self.energy,
            Measured::Latency => &mut self.latency,
        }
    }
}

impl Quantity {
    /// All of them.
    pub const ALL: [Quantity; 6] =
        [Quantity::Energy, Quantity::Latency, Quantity::Macs, Quantity::Params, Quantity::Flash, Quantity::PeakMemory];

    /// What a device is measured for, if it is that.
    pub fn measured(self) -> Option<Measured> {
        match self {
            Quantity::Energy => Some(Measured::Energy),
            Quantity::Latency => Some(Measured::Latency),
            Quantity::Macs | Quantity::Params | Quantity::Flash | Quantity::PeakMemory => None,
        }
    }

    /// Whether it follows from the network alone, on any device.
    pub fn is_exact(self) -> bool {
        self.measured().is_none()
    }

    /// Whether a network's is the sum of its operators'; peak memory is not.
    pub fn is_sum(self) -> bool {
        self != Quantity::PeakMemory
    }

    /// The word on the command line and in messages: `energy`, `latency`, `macs`, `params`, `flash`, `peak-memory`.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Energy => "energy",
            Quantity::Latency => "latency",
            Quantity::Macs => "macs",
            Quantity::Params => "params",
            Quantity::Flash => "flash",
            Quantity::PeakMemory => "peak-memory",
        }
    }

    /// Key in JSON: `energy_mj`, `latency_ms`, `macs`, `params`, `flash_bytes`, `peak_memory_bytes`.
    pub fn json_key(self) -> &'static str {
        match self {
            Quantity::Energy => "energy_mj",
            Quantity::Latency => "latency_ms",
            Quantity::Macs => "macs",
            Quantity::Params => "params",
            Quantity::Flash => "flash_bytes",
            Quantity::PeakMemory => "peak_memory_bytes",
        }
    }

    /// How many of the unit of [`Quantity::json_key`] make one SI unit.
    pub fn json_scale(self) -> f64 {
        match self {
            Quantity::Energy | Quantity::Latency => 1e3,
            _ => 1.0,
        }
    }

    /// A value as a user would write it.
    pub fn example(self) -> &'static str {
        match self {
            Quantity::Energy => "50mJ",
            Quantity::Latency => "20ms",
            Quantity::Macs => "300M",
            Quantity::Params => "5M",
            Quantity::Flash => "1MiB",
            Quantity::PeakMemory => "320KiB",
        }
    }

    /// Reads a value as a user writes it ([`Quantity::example`]), in SI units or as a count.
    ///
    /// # Errors
    /// As the quantity's own type.
    pub fn read(self, text: &str) -> Result<f64, UnitError> {
        Ok(match self {
            Quantity::Energy => text.parse::<Joules>()?.0,
            Quantity::Latency => text.parse::<Seconds>()?.0,
            Quantity::Macs => text.parse::<Macs>()?.0 as f64,
            Quantity::Params => text.parse::<Params>()?.0 as f64,
            Quantity::Flash | Quantity::PeakMemory => text.parse::<Bytes>()?.0 as f64,
        })
    }

    /// Prints a value given in SI units with its unit: `50 mJ`, `41.7 ms`, `21 M`.
    pub fn format(self, value: f64) -> String {
        match self {
            Quantity::Energy => Joules(value).to_string(),
            Quantity::Latency => Seconds(value).to_string(),
            Quantity::Macs | Quantity::Params => Macs(value.max(0.0).round() as u64).to_string(),
            Quantity::Flash | Quantity::PeakMemory => Bytes(value.max(0.0).round() as u64).to_string(),
        }
    }

    /// The same with as many digits as it takes to tell it from others: `2.0001 mJ`, `5000001`.
    pub fn format_exactly(self, value: f64) -> String {
        let short = self.format(value);
        if self.read(&short).is_ok_and(|read| (read - value).abs() <= 1e-11 * value.abs()) {
            return short;
        }
        let digits: f64 = format!("{:.11e}", value * self.json_scale()).parse().unwrap_or(value);
        match self {
            Quantity::Energy => format!("{digits} mJ"),
            Quantity::Latency => format!("{digits} ms"),
            Quantity::Macs | Quantity::Params => format!("{digits}"),
            Quantity::Flash | Quantity::PeakMemory => format!("{digits} B"),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_are_written_differently() {
        let exactly = |quantity: Quantity, text: &str| quantity.format_exactly(quantity.read(text).unwrap());
        for (quantity, text) in [
            (Quantity::Energy, "50 mJ"),
            (Quantity::Energy, "2.0001 mJ"),
            (Quantity::Energy, "2.0002 mJ"),
            (Quantity::Latency, "0.5779866201 ms"),
            (Quantity::Macs, "21 M"),
            (Quantity::Macs, "5000001"),
            (Quantity::PeakMemory, "13160 B"),
            (Quantity::Flash, "1 MiB"),
        ] {
            let written = exactly(quantity, text);
            assert_eq!(quantity.read(&written), quantity.read(text), "{text}: {written}");
            let shown = quantity.format(quantity.read(text).unwrap());
            assert!(written == text || written == shown, "{text}: {written}");
        }
        assert_eq!(exactly(Quantity::Energy, "2.0001mJ"), "2.0001 mJ");
        assert_eq!(exactly(Quantity::Energy, "50mJ"), Quantity::Energy.format(0.05));
    }
}
