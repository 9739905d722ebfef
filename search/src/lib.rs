//! What a network is (space, subnet, lowering to operators) and how to look for one.
//!
//! ```
//! use hw_targets::budget::Budget;
//! use network::units::Macs;
//! use search::arch::ArchSpec;
//! use search::dense::CostTables;
//! use search::evolution::{EvolutionSettings, evolve};
//! use search::space::SearchSpace;
//!
//! let space = SearchSpace::builtin("mcu-cifar")?;
//! let tables = CostTables::counts_only(&space, space.resolutions())?;
//! let budget = Budget::new(None, None, Some(Macs(5_000_000)), None)?;
//! // Anything that scores architectures: here, more blocks are better.
//! let blocks = |arch: &ArchSpec| arch.stages().iter().map(|stage| stage.blocks.len() as f64).sum();
//! let mut evaluator = |archs: &[ArchSpec]| Ok(archs.iter().map(blocks).collect());
//! let settings = EvolutionSettings { evaluations: 2_000, ..Default::default() };
//! let best = evolve(&tables, &budget, &mut evaluator, &settings)?.best();
//! assert_eq!(best.score, 10.0);
//! println!("{}", space.to_subnet_json(&best.arch));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Spaces and points: [`space`], [`space_file`], [`arch`], [`arch_file`], [`count`]. Shapes and operators: [`subnet`],
//! [`lower`], [`fbnet`]. Search: [`dense`], [`infeasible`], [`objective`], [`evolution`], [`random`], [`nsga2`],
//! [`pareto`], [`additive`], [`exact`], [`history`].

pub mod additive;
mod annealing;
pub mod arch;
pub mod arch_file;
pub mod count;
pub mod crossover;
pub mod dense;
mod enumerate;
pub mod error;
pub mod evolution;
pub mod exact;
pub mod fbnet;
mod feasible;
mod features;
mod genome;
pub mod history;
pub mod infeasible;
mod knapsack;
mod local;
pub mod lower;
pub mod mutate;
pub mod nsga2;
pub mod objective;
pub mod outcome;
mod pairwise;
pub mod pareto;
pub mod random;
mod sample;
pub mod space;
pub mod space_file;
pub mod subnet;
mod surrogate;
