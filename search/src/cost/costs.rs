//! Costs that are sums over operators, as rows of columns.

use network::units::Quantity;

/// One value per [`Quantity`] that is a sum over operators, in SI units; energy and latency are absent where the device
/// does not know them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    pub(crate) values: CostRow,
    pub(crate) known: [bool; SUMS],
}

/// Quantities that are sums over operators, in the order of columns.
pub(crate) const SUMMED: [Quantity; SUMS] =
    [Quantity::Energy, Quantity::Latency, Quantity::Macs, Quantity::Params, Quantity::Flash];
/// Number of [`SUMMED`].
pub(crate) const SUMS: usize = 5;
/// The column of MACs: of two subnets that are otherwise equal, the one with fewer comes first.
pub(crate) const MACS: usize = 2;
const _: () = assert!(matches!(SUMMED[MACS], Quantity::Macs));
/// Columns of a row.
pub(crate) const COLUMNS: usize = SUMS + 1;
/// The column of what is ruled out: infinite for a choice that may not be made, else 0.
pub(crate) const RULED_OUT: usize = SUMS;
/// Values in the order of [`SUMMED`], 0 for what is not known; then [`RULED_OUT`].
pub(crate) type CostRow = [f64; COLUMNS];

/// The column of a quantity, `None` for peak memory.
pub(crate) fn column_of(quantity: Quantity) -> Option<usize> {
    SUMMED.iter().position(|known| *known == quantity)
}

impl Costs {
    /// The value in joules, seconds, bytes, or as a count; `None` for peak memory, which is not a sum.
    pub fn get(&self, quantity: Quantity) -> Option<f64> {
        let column = column_of(quantity)?;
        self.known[column].then_some(self.values[column])
    }
}

/// `count` times `value`, where none of what may be ruled out is nothing.
pub(crate) fn times(value: f64, count: usize) -> f64 {
    if count == 0 { 0.0 } else { value * count as f64 }
}

pub(crate) fn add(total: &mut CostRow, row: &CostRow) {
    for (total, value) in total.iter_mut().zip(row) {
        *total += value;
    }
}

pub(crate) fn subtract(total: &mut CostRow, row: &CostRow) {
    for (total, value) in total.iter_mut().zip(row) {
        *total -= value;
    }
}
