//! What a search is held against: random subnets, one setting everywhere, and the largest subnet that fits.

use std::collections::BTreeSet;

use hw_targets::budget::Budget;
use hw_targets::cost::NetworkCost;
use network::units::Quantity;
use search::arch::ArchSpec;
use search::arch_file::ArchFile;
use search::dense::CostTables;
use search::space::{SearchSpace, Stage};
use serde_json::json;

use crate::error::Result;

/// Random subnets of which the best counts.
pub(crate) const DRAWS: usize = 1000;

/// A simple way to a subnet that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// The best by the predictor of 1,000 random subnets that fit.
    Random,
    /// The best by the predictor of those that have one depth, one kernel size and one expand ratio everywhere.
    Uniform,
    /// The largest subnet, at the highest resolution at which it fits.
    Largest,
}

impl Baseline {
    /// All of them.
    pub const ALL: [Baseline; 3] = [Baseline::Random, Baseline::Uniform, Baseline::Largest];

    /// Its name in a file.
    pub fn name(self) -> &'static str {
        match self {
            Baseline::Random => "random-1000",
            Baseline::Uniform => "uniform",
            Baseline::Largest => "largest",
        }
    }
}

/// Choices that a stage offers.
type Of = fn(&Stage) -> &[u32];

/// Subnets with one depth, one kernel size and one expand ratio everywhere, at each of `resolutions`; a stage that does not
/// offer one takes its nearest.
pub(crate) fn uniform(space: &SearchSpace, resolutions: &[u32]) -> Result<Vec<ArchSpec>> {
    let all = |of: Of| -> BTreeSet<u32> { space.stages().iter().flat_map(of).copied().collect() };
    let (depths, kernels, expands): (Of, Of, Of) =
        (|stage| &stage.depths, |stage| &stage.kernels, |stage| &stage.expands);
    let nearest = |choices: &[u32], wish: u32| {
        choices.iter().copied().min_by_key(|choice| (choice.abs_diff(wish), *choice)).unwrap_or(wish)
    };
    let mut seen = BTreeSet::new();
    let mut subnets = Vec::new();
    for resolution in resolutions {
        for depth in all(depths) {
            for kernel in all(kernels) {
                for expand in all(expands) {
                    let stage = |stage: &Stage| {
                        let block = json!({"kernel": nearest(kernels(stage), kernel), "expand": nearest(expands(stage), expand)});
                        vec![block; nearest(depths(stage), depth) as usize]
                    };
                    let stages: Vec<_> = space.stages().iter().map(stage).collect();
                    let file = json!({
                        "schema": "ofa.subnet/1", "space": space.id().to_string(), "resolution": resolution, "stages": stages,
                    });
                    if seen.insert(file.to_string()) {
                        subnets.push(space.parse(&ArchFile::from_json(&file.to_string())?)?);
                    }
                }
            }
        }
    }
    Ok(subnets)
}

/// Those of `subnets` that keep `budget`.
pub(crate) fn affordable(subnets: Vec<ArchSpec>, tables: &CostTables, budget: &Budget) -> Vec<ArchSpec> {
    let keeps = |arch: &ArchSpec| {
        let costs = tables.cost(arch);
        // The peak is no sum over blocks, which is what tables hold.
        let peak = || NetworkCost::exact(&tables.space().lower(arch)).value(Quantity::PeakMemory);
        budget.limits().all(|(quantity, limit)| {
            let cost = if quantity == Quantity::PeakMemory { peak() } else { costs.get(quantity) };
            cost.is_some_and(|cost| cost <= limit)
        })
    };
    subnets.into_iter().filter(keeps).collect()
}
