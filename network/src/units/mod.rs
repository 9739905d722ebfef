//! Amounts that cannot be mixed up, and what can be asked for in them.

mod amounts;
mod quantity;

pub use amounts::{Bytes, Joules, Macs, Params, Seconds, UnitError};
pub use quantity::{Measured, PerMeasured, Quantity};
