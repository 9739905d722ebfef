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
//! Read [`space`] first: what can be chosen, and a choice with every shape. Then [`cost`]: what it costs, and what fits a
//! budget. Then [`algorithms`]: how the best of that is found. [`refine`] goes on from there, between the points of the grid.

pub mod error;
pub mod space;

pub mod cost;

pub mod algorithms;

pub mod refine;

pub use algorithms::{additive, evolution, exact, history, nsga2, objective, outcome, pareto, random};
pub use cost::dense;
pub use space::{arch, arch_file, schema, subnet};
