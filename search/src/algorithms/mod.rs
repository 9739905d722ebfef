//! How to look for the subnets that an evaluator scores highest within a budget: one algorithm a file.
//!
//! Each takes compiled costs, a budget and an [`objective::Evaluator`], and returns an [`outcome::SearchOutcome`] with
//! every evaluation in order. What several of them do is in `steps`.

pub mod objective;

pub mod history;
pub mod outcome;

pub mod evolution;

pub mod random;

pub mod nsga2;

pub mod pareto;

pub mod additive;
pub mod exact;

mod steps;
