//! The points of a sweep: all combinations of its axes, without those that are excluded, and with those that are included.

use crate::search::algorithm::Algorithm;
use crate::sweep::point::{Method, Point, Wanted};

/// Where something stands in the file: line and column, from 1.
pub(crate) type Place = (usize, usize);

/// Where the parts of a point stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) target: Place,
    pub(crate) budget: Place,
    pub(crate) bundle: Place,
    pub(crate) predictor: Place,
}

/// One axis of the matrix: values with their places.
pub(crate) type Axis<T> = Vec<(T, Place)>;

/// The axes of a sweep.
#[derive(Default)]
pub(crate) struct Matrix {
    pub(crate) targets: Axis<String>,
    pub(crate) budgets: Axis<Wanted>,
    pub(crate) seeds: Axis<u64>,
    pub(crate) methods: Axis<Method>,
    pub(crate) bundles: Axis<Option<String>>,
    pub(crate) predictors: Axis<Option<String>>,
}

/// An entry of `exclude`, which describes points, or of `include`, which is one.
#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) at: Option<Place>,
    pub(crate) target: Option<(String, Place)>,
    pub(crate) budget: Option<(Wanted, Place)>,
    pub(crate) seed: Option<u64>,
    pub(crate) method: Option<Method>,
    pub(crate) bundle: Option<(Option<String>, Place)>,
    pub(crate) predictor: Option<(Option<String>, Place)>,
}

impl Entry {
    /// Whether it says nothing that the point is not.
    pub(crate) fn describes(&self, point: &Point) -> bool {
        self.target.as_ref().is_none_or(|(target, _)| *target == point.target)
            && self.budget.as_ref().is_none_or(|(budget, _)| *budget == point.budget)
            && self.seed.is_none_or(|seed| seed == point.seed)
            && self.method.is_none_or(|method| method == point.method)
            && self.bundle.as_ref().is_none_or(|(bundle, _)| *bundle == point.bundle)
            && self.predictor.as_ref().is_none_or(|(predictor, _)| *predictor == point.predictor)
    }
}

/// All combinations.
pub(crate) fn all_of(matrix: &Matrix) -> Vec<(Point, Places)> {
    let mut grounds = Vec::new();
    for target in &matrix.targets {
        for bundle in &matrix.bundles {
            grounds.extend(matrix.predictors.iter().map(|predictor| (target, bundle, predictor)));
        }
    }
    let mut points = Vec::new();
    for ((target, target_at), (bundle, bundle_at), (predictor, predictor_at)) in grounds {
        for (budget, budget_at) in &matrix.budgets {
            for (method, _) in &matrix.methods {
                // What chance has no part in is one point.
                let seeds = if method.is_random() { matrix.seeds.as_slice() } else { &[(0, (0, 0))] };
                for (seed, _) in seeds {
                    let point = Point {
                        target: target.clone(),
                        bundle: bundle.clone(),
                        predictor: predictor.clone(),
                        budget: budget.clone(),
                        method: *method,
                        seed: *seed,
                    };
                    let places =
                        Places { target: *target_at, budget: *budget_at, bundle: *bundle_at, predictor: *predictor_at };
                    points.push((point, places));
                }
            }
        }
    }
    points
}

/// The points of a sweep, in order.
pub(crate) fn points(matrix: &Matrix, exclude: &[Entry], include: &[Entry]) -> Vec<(Point, Places)> {
    let mut points = all_of(matrix);
    points.retain(|(point, _)| !exclude.iter().any(|entry| entry.describes(point)));
    for entry in include {
        let (Some((target, target_at)), Some((budget, budget_at))) = (&entry.target, &entry.budget) else { continue };
        let method = entry.method.unwrap_or(Method::Search(Algorithm::Evolution));
        let (bundle, bundle_at) = entry.bundle.clone().unwrap_or((None, *target_at));
        let (predictor, predictor_at) = entry.predictor.clone().unwrap_or((None, *target_at));
        let seed = if method.is_random() { entry.seed.unwrap_or(0) } else { 0 };
        let point = Point { target: target.clone(), bundle, predictor, budget: budget.clone(), method, seed };
        if !points.iter().any(|(other, _)| *other == point) {
            let places = Places { target: *target_at, budget: *budget_at, bundle: bundle_at, predictor: predictor_at };
            points.push((point, places));
        }
    }
    points
}
