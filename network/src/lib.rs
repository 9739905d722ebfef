//! What a network is, without a device and without a search space.
//!
//! ```
//! use network::units::{Joules, Macs};
//!
//! let budget: Joules = "50mJ".parse()?;
//! assert_eq!(budget.as_mj(), 50.0);
//! assert_eq!(Macs(300_000_000).to_string(), "300 M");
//! # Ok::<(), network::units::UnitError>(())
//! ```

pub mod memory;
mod quantity;
pub mod units;
pub mod workload;
