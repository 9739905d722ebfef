//! One point of a sweep: what is searched for, on what, and how.

use std::fmt;

use network::units::Quantity;
use serde_json::{Value, json};

use crate::search::algorithm::Algorithm;
use crate::sweep::baseline::Baseline;

/// A ceiling as a file says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ceiling {
    /// In SI units or as a count.
    Absolute(f64),
    /// So much of the way from the cheapest to the most expensive subnet of the target's own space, 0 to 1.
    Share(f64),
}

/// A budget as a file says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The ceilings, in order of [`Quantity::ALL`].
    pub ceilings: Vec<(Quantity, Ceiling)>,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |(quantity, ceiling): &(Quantity, Ceiling)| match ceiling {
            // Budgets that differ are called differently, up to the twelfth digit.
            Ceiling::Absolute(value) => format!("{quantity} {}", quantity.format_exactly(*value)),
            Ceiling::Share(share) => format!("{quantity} {}%", (1e10 * share).round() / 1e8),
        };
        match self.ceilings.as_slice() {
            [] => f.write_str("no budget"),
            ceilings => f.write_str(&ceilings.iter().map(word).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// How a subnet is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By a search.
    Search(Algorithm),
    /// By something to hold a search against.
    Baseline(Baseline),
}

impl Method {
    /// Its name in a file.
    pub fn name(self) -> &'static str {
        match self {
            Method::Search(algorithm) => algorithm.name(),
            Method::Baseline(baseline) => baseline.name(),
        }
    }

    /// Whether chance has a part in it.
    pub fn is_random(self) -> bool {
        !matches!(self, Method::Baseline(Baseline::Uniform | Baseline::Largest))
    }
}

/// One point of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// A target's name or path.
    pub target: String,
    /// A bundle's name or path, or what a bundle that the sweep trains is called; without one, the target's default.
    pub bundle: Option<String>,
    /// A model that is fitted to the bundle's measurements, or a predictor's file; without one, the bundle's own predictor.
    pub predictor: Option<String>,
    /// What must be kept.
    pub budget: Wanted,
    /// How it is looked for.
    pub method: Method,
    /// What everything random follows from; 0 where nothing is random.
    pub seed: u64,
}

impl Point {
    /// What tells it from the others, for a file.
    pub(crate) fn json(&self) -> Value {
        let mut object = json!({
            "target": self.target, "bundle": self.bundle, "budget": self.budget.to_string(), "method": self.method.name(),
            "is_baseline": matches!(self.method, Method::Baseline(_)), "seed": self.seed,
        });
        // Where there is none, as in records from before there were any.
        if let Some(predictor) = &self.predictor {
            object["predictor"] = predictor.as_str().into();
        }
        object
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Point { target, bundle, predictor, budget, method, seed } = self;
        write!(f, "{target}, {budget}, {}", method.name())?;
        if let Some(bundle) = bundle {
            write!(f, ", bundle {bundle}")?;
        }
        if let Some(predictor) = predictor {
            write!(f, ", predictor {predictor}")?;
        }
        match method.is_random() {
            true => write!(f, ", seed {seed}"),
            false => Ok(()),
        }
    }
}
