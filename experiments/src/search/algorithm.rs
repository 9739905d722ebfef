//! Search algorithms by name, and with all that each needs, checked.

use std::collections::BTreeSet;

use hw_targets::budget::Budget;
use network::units::Quantity;
use predictors::ensemble::AccuracyPredictor;
use search::arch::ArchSpec;
use search::nsga2::Objective;

use crate::error::{Error, Result};

/// A search algorithm, by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Populations and climbs ([`search::evolution`]).
    Evolution,
    /// Climbs from random subnets.
    Local,
    /// Random subnets.
    Random,
    /// Several objectives ([`search::nsga2`]).
    Nsga2,
    /// The certified front of an additive predictor ([`search::exact`]).
    Exact,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Algorithm; 5] =
        [Algorithm::Evolution, Algorithm::Local, Algorithm::Random, Algorithm::Nsga2, Algorithm::Exact];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Evolution => "evolution",
            Algorithm::Local => "local",
            Algorithm::Random => "random",
            Algorithm::Nsga2 => "nsga2",
            Algorithm::Exact => "exact",
        }
    }
}

/// An objective by its name: `accuracy`, or the name of a quantity that is a sum over operators.
pub fn objective(name: &str) -> Option<Objective> {
    if name == "accuracy" {
        return Some(Objective::Score);
    }
    let mut sums = Quantity::ALL.into_iter().filter(|quantity| quantity.is_sum());
    sums.find(|quantity| quantity.name() == name).map(Objective::Cost)
}

/// What is looked for, and how.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// The subnets with the highest predicted top-1.
    Single(Single),
    /// What no other subnet is better than in every objective.
    Front(Vec<Objective>),
    /// The front of an additive predictor along one cost, certified.
    Exact {
        /// The cost.
        along: Quantity,
        /// Accuracy, and the cost where it is an objective.
        objectives: Vec<Objective>,
    },
}

/// How the subnets with the highest predicted top-1 are looked for.
#[derive(Clone, Debug)]
pub(crate) enum Single {
    /// Climbs, between populations that anneal or from random subnets; `start` come first.
    Evolve {
        /// Whether populations anneal.
        anneals: bool,
        /// Subnets to begin with.
        start: Vec<ArchSpec>,
    },
    /// Random subnets.
    Random,
}

impl Plan {
    /// `algorithm` for these objectives and this budget.
    ///
    /// # Errors
    /// [`Error::NoStart`], [`Error::Objectives`], [`Error::NotExact`].
    pub(crate) fn new(
        algorithm: Algorithm,
        objectives: &[Objective],
        start: Vec<ArchSpec>,
        predictor: &AccuracyPredictor,
        budget: &Budget,
    ) -> Result<Plan> {
        let name = algorithm.name();
        if !start.is_empty() && !matches!(algorithm, Algorithm::Evolution | Algorithm::Local) {
            return Err(Error::NoStart { algorithm: name });
        }
        let takes_several = matches!(algorithm, Algorithm::Nsga2 | Algorithm::Exact);
        if objectives.is_empty() || (objectives != [Objective::Score] && !takes_several) {
            return Err(Error::Objectives { algorithm: name });
        }
        Ok(match algorithm {
            Algorithm::Evolution => Plan::Single(Single::Evolve { anneals: true, start }),
            Algorithm::Local => Plan::Single(Single::Evolve { anneals: false, start }),
            Algorithm::Random => Plan::Single(Single::Random),
            Algorithm::Nsga2 => Plan::Front(objectives.to_vec()),
            Algorithm::Exact => {
                Plan::Exact { along: the_cost(objectives, predictor, budget)?, objectives: objectives.to_vec() }
            }
        })
    }

    /// Whether `quantity` is an objective.
    pub(crate) fn optimises(&self, quantity: Quantity) -> bool {
        match self {
            Plan::Single(_) => false,
            Plan::Front(objectives) | Plan::Exact { objectives, .. } => objectives.contains(&Objective::Cost(quantity)),
        }
    }
}

/// The one cost that is an objective or limited.
fn the_cost(objectives: &[Objective], predictor: &AccuracyPredictor, budget: &Budget) -> Result<Quantity> {
    let costs = objectives.iter().filter_map(|objective| match objective {
        Objective::Cost(quantity) => Some(*quantity),
        Objective::Score => None,
    });
    // Peak memory rules out choices instead of adding up.
    let limited = budget.limits().map(|(quantity, _)| quantity).filter(|of| of.is_sum());
    let wanted: BTreeSet<Quantity> = costs.chain(limited).collect();
    match (wanted.first(), predictor.is_additive()) {
        (Some(&quantity), true) if wanted.len() == 1 => Ok(quantity),
        (_, additive) => Err(Error::NotExact { additive }),
    }
}
