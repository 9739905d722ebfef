//! What a subnet costs and which subnets fit a budget: a device compiled against a space, then additions.
//!
//! [`dense::CostTables`] asks a device about every operator that a space can have; from then on a cost is a row of sums.

pub(crate) mod costs;

pub(crate) mod infeasible;

pub mod dense;

mod enumerate;
pub(crate) mod feasible;
