//! Additive accuracy: every block's kernel size and expand ratio, and the resolution, add their share.
//!
//! Ridge regression, closed form by Cholesky in f64. The penalty does not act on the one-hot features themselves, from
//! which little can be learned when pairs are few, but on steps shared between blocks: for each block, for each stage
//! and for all blocks together there is one number for "one more block", one for each step to the next kernel size and
//! one for each step to the next expand ratio; resolutions have one number per step and a slope. So a block's share
//! leans towards that of its stage, and its stage's towards that of all, unless the pairs say otherwise. All these are
//! sums of one-hot features, so the result folds back to one number per feature: [`AdditiveModel`].
//!
//! The penalty is the one of [`PENALTIES`] with the least leave-one-out error, which ridge has in closed form.

use crate::cholesky::{cholesky, solve_lower, solve_lower_transposed};
use crate::encode::{ActiveRows, ArchEncoder, Feature};
use crate::error::{PredictorError, Result};
use crate::rank::mean;

/// Penalties tried.
pub(crate) const PENALTIES: [f64; 13] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4];

/// Fewest pairs that a fit accepts.
pub(crate) const MIN_PAIRS: usize = 8;

/// A constant and one share per feature.
#[derive(Clone, Debug, PartialEq)]
pub struct AdditiveModel {
    /// The constant.
    pub constant: f64,
    /// One share per feature of the encoder.
    pub shares: Vec<f64>,
}

impl AdditiveModel {
    /// The constant plus the shares of the features that are one.
    ///
    /// # Panics
    /// If `active` names a feature that is not there.
    pub fn predict(&self, active: &[u32]) -> f64 {
        active.iter().fold(self.constant, |sum, &feature| sum + self.shares[feature as usize])
    }

    /// [`AdditiveModel::predict`] for every row.
    #[cfg(test)]
    pub(crate) fn predict_rows(&self, rows: &ActiveRows) -> Vec<f64> {
        rows.iter().map(|active| self.predict(active)).collect()
    }
}

/// A fitted additive model and how it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct RidgeFit {
    /// The model.
    pub model: AdditiveModel,
    /// The penalty chosen.
    pub penalty: f64,
    /// Root mean squared leave-one-out error on the pairs it was fitted to, in the unit of the labels.
    pub leave_one_out_rmse: f64,
}

/// Fits `labels` (any unit) on `rows`, choosing the penalty.
///
/// # Errors
/// [`PredictorError::TooFewPairs`] for fewer than [`MIN_PAIRS`].
///
/// # Panics
/// If there are not as many labels as rows.
pub fn fit(encoder: &ArchEncoder, rows: &ActiveRows, labels: &[f64]) -> Result<RidgeFit> {
    let basis = Basis::new(encoder);
    let problem = Problem::new(&basis, rows, labels)?;
    let fits = PENALTIES.map(|penalty| problem.solve(penalty));
    let best = fits.into_iter().zip(PENALTIES).min_by(|a, b| a.0.leave_one_out_rmse.total_cmp(&b.0.leave_one_out_rmse));
    let (solution, penalty) = best.expect("there are penalties to try");
    let leave_one_out_rmse = solution.leave_one_out_rmse;
    Ok(RidgeFit { model: problem.fold(&solution), penalty, leave_one_out_rmse })
}

/// Fits with a given penalty.
///
/// # Errors
/// As [`fit`].
///
/// # Panics
/// As [`fit`].
pub(crate) fn fit_with(
    encoder: &ArchEncoder,
    rows: &ActiveRows,
    labels: &[f64],
    penalty: f64,
) -> Result<AdditiveModel> {
    let basis = Basis::new(encoder);
    let problem = Problem::new(&basis, rows, labels)?;
    Ok(problem.fold(&problem.solve(penalty)))
}

/// The steps that are penalised, as sums of one-hot features: `terms[feature]` lists (step, weight).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Basis {
    terms: Vec<Vec<(usize, f64)>>,
    /// The level of each step.
    levels: Vec<Level>,
}

/// What a step is shared by; doubles as an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// All blocks.
    All,
    /// The blocks of a stage.
    Stage,
    /// One block.
    Block,
    /// The resolution's steps, which concern no block.
    Resolution,
}

impl Level {
    /// Number of levels.
    pub(crate) const COUNT: usize = 4;
}

impl Basis {
    pub(crate) fn new(encoder: &ArchEncoder) -> Basis {
        let features = encoder.features();
        let ranks = resolution_ranks(features);
        let mut names: Vec<Step> = Vec::new();
        let terms = features
            .iter()
            .map(|&feature| {
                steps_of(feature, &ranks)
                    .into_iter()
                    .map(|(step, weight)| {
                        let known = names.iter().position(|name| *name == step);
                        let index = known.unwrap_or_else(|| {
                            names.push(step);
                            names.len() - 1
                        });
                        (index, weight)
                    })
                    .collect()
            })
            .collect();
        Basis { terms, levels: names.into_iter().map(Step::level).collect() }
    }

    /// Number of steps.
    pub(crate) fn steps(&self) -> usize {
        self.levels.len()
    }

    /// The level of each step.
    pub(crate) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The steps of every row, `[rows, steps]` row-major.
    pub(crate) fn matrix(&self, rows: &ActiveRows) -> Vec<f64> {
        let mut matrix = vec![0.0; rows.len() * self.steps()];
        for (active, row) in rows.iter().zip(matrix.chunks_exact_mut(self.steps())) {
            for &feature in active {
                for &(step, weight) in &self.terms[feature as usize] {
                    row[step] += weight;
                }
            }
        }
        matrix
    }

    /// Takes the mean of every column off `matrix` (of [`Basis::matrix`]) and returns the means.
    pub(crate) fn centre(&self, matrix: &mut [f64]) -> Vec<f64> {
        let count = (matrix.len() / self.steps()) as f64;
        let mut means = vec![0.0; self.steps()];
        for row in matrix.chunks_exact(self.steps()) {
            means.iter_mut().zip(row).for_each(|(mean, value)| *mean += value);
        }
        means.iter_mut().for_each(|mean| *mean /= count);
        for row in matrix.chunks_exact_mut(self.steps()) {
            row.iter_mut().zip(&means).for_each(|(value, mean)| *value -= mean);
        }
        means
    }

    /// Per-step numbers as per-feature numbers: what a feature adds is the sum over its steps.
    pub(crate) fn fold(&self, per_step: impl Fn(usize) -> f64) -> Vec<f64> {
        self.terms.iter().map(|terms| terms.iter().map(|&(step, weight)| weight * per_step(step)).sum()).collect()
    }
}

/// Which blocks share a step.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scope {
    Block(usize),
    Stage(usize),
    All,
}

/// One penalised number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Present(Scope),
    Kernel(Scope, usize),
    Expand(Scope, usize),
    Resolution(usize),
    ResolutionSlope,
}

impl Step {
    fn level(self) -> Level {
        match self {
            Step::Present(scope) | Step::Kernel(scope, _) | Step::Expand(scope, _) => match scope {
                Scope::Block(_) => Level::Block,
                Scope::Stage(_) => Level::Stage,
                Scope::All => Level::All,
            },
            Step::Resolution(_) | Step::ResolutionSlope => Level::Resolution,
        }
    }
}

/// Weight of a step to the next resolution: resolutions matter more than single blocks and every pair tells of them.
const RESOLUTION_WEIGHT: f64 = 2.0;

fn steps_of(feature: Feature, ranks: &[u32]) -> Vec<(Step, f64)> {
    let scopes = |stage, block| [Scope::Block(block), Scope::Stage(stage), Scope::All];
    match feature {
        // A block that is there has exactly one kernel size, so its presence is counted there.
        Feature::Kernel { stage, block, choice } => {
            let step = |scope| {
                let steps = (1..=choice).map(move |step| (Step::Kernel(scope, step), 1.0));
                std::iter::once((Step::Present(scope), 1.0)).chain(steps)
            };
            scopes(stage, block).into_iter().flat_map(step).collect()
        }
        Feature::Expand { stage, block, choice } => {
            let step = |scope| (1..=choice).map(move |step| (Step::Expand(scope, step), 1.0));
            scopes(stage, block).into_iter().flat_map(step).collect()
        }
        Feature::Resolution(resolution) => {
            let rank = ranks.iter().position(|&ranked| ranked == resolution).unwrap_or_default();
            let steps = (1..=rank).map(|step| (Step::Resolution(step), RESOLUTION_WEIGHT));
            steps.chain([(Step::ResolutionSlope, rank as f64)]).collect()
        }
    }
}

/// Resolutions with a column, ascending.
fn resolution_ranks(features: &[Feature]) -> Vec<u32> {
    let mut ranks: Vec<u32> = features
        .iter()
        .filter_map(|feature| match feature {
            Feature::Resolution(resolution) => Some(*resolution),
            _ => None,
        })
        .collect();
    ranks.sort_unstable();
    ranks
}

/// Centred steps and labels, and their products.
struct Problem<'a> {
    basis: &'a Basis,
    /// `[rows, steps]`, each column's mean taken off.
    centred: Vec<f64>,
    means: Vec<f64>,
    /// centredᵀ · centred.
    gram: Vec<f64>,
    /// centredᵀ · (labels − mean).
    moments: Vec<f64>,
    labels: Vec<f64>,
    label_mean: f64,
}

struct Solution {
    per_step: Vec<f64>,
    leave_one_out_rmse: f64,
}

impl<'a> Problem<'a> {
    fn new(basis: &'a Basis, rows: &ActiveRows, labels: &[f64]) -> Result<Problem<'a>> {
        assert_eq!(rows.len(), labels.len(), "as many labels as architectures");
        if rows.len() < MIN_PAIRS {
            return Err(PredictorError::TooFewPairs { what: "pairs to fit", got: rows.len(), needed: MIN_PAIRS });
        }
        let steps = basis.steps();
        let mut centred = basis.matrix(rows);
        let means = basis.centre(&mut centred);
        let label_mean = mean(labels);
        let labels: Vec<f64> = labels.iter().map(|label| label - label_mean).collect();
        let mut gram = vec![0.0; steps * steps];
        let mut moments = vec![0.0; steps];
        for (row, label) in centred.chunks_exact(steps).zip(&labels) {
            for (i, &value) in row.iter().enumerate() {
                moments[i] += value * label;
                gram[i * steps..][..=i].iter_mut().zip(row).for_each(|(sum, other)| *sum += value * other);
            }
        }
        Ok(Problem { basis, centred, means, gram, moments, labels, label_mean })
    }

    fn solve(&self, penalty: f64) -> Solution {
        let steps = self.means.len();
        let mut factor = self.gram.clone();
        (0..steps).for_each(|i| factor[i * steps + i] += penalty);
        cholesky(&mut factor, steps);
        let mut per_step = self.moments.clone();
        solve_lower(&factor, steps, &mut per_step);
        solve_lower_transposed(&factor, steps, &mut per_step);
        // Leave-one-out residual = residual / (1 − leverage); the constant is fitted too, hence the 1/n.
        let n = self.labels.len() as f64;
        let squares = self.centred.chunks_exact(steps).zip(&self.labels).map(|(row, label)| {
            let mut half = row.to_vec();
            solve_lower(&factor, steps, &mut half);
            let leverage = half.iter().map(|value| value * value).sum::<f64>() + 1.0 / n;
            let residual = label - row.iter().zip(&per_step).map(|(value, weight)| value * weight).sum::<f64>();
            (residual / (1.0 - leverage).max(1e-6)).powi(2)
        });
        let leave_one_out_rmse = (squares.sum::<f64>() / n).sqrt();
        Solution { per_step, leave_one_out_rmse }
    }

    fn fold(&self, solution: &Solution) -> AdditiveModel {
        let offset: f64 = self.means.iter().zip(&solution.per_step).map(|(mean, weight)| mean * weight).sum();
        AdditiveModel { constant: self.label_mean - offset, shares: self.basis.fold(|step| solution.per_step[step]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Layout;
    use crate::rank::rmse;
    use crate::testing::{rng, sample, space};

    /// Encoder, rows and noisy labels of an additive truth.
    fn additive(count: usize, noise: f64) -> (ArchEncoder, ActiveRows, Vec<f64>, Vec<f64>) {
        use rand::RngExt;
        let space = space("mcu-cifar");
        let encoder = ArchEncoder::new(Layout::Blocks, &space, space.resolutions()).unwrap();
        let rows = encoder.encode(&sample(&space, count, 4)).unwrap();
        let mut rng = rng(9);
        let shares: Vec<f64> = (0..encoder.width()).map(|_| rng.random::<f64>()).collect();
        let truth = AdditiveModel { constant: 70.0, shares }.predict_rows(&rows);
        let labels = truth.iter().map(|value| value + noise * crate::noise::normal(&mut rng)).collect();
        (encoder, rows, truth, labels)
    }

    #[test]
    fn an_additive_truth_is_found() {
        let (encoder, rows, truth, labels) = additive(400, 0.0);
        let fit = fit(&encoder, &rows, &labels).unwrap();
        assert_eq!(fit.penalty, PENALTIES[0]);
        assert!(rmse(&fit.model.predict_rows(&rows), &truth) < 1e-3);
        let (encoder, rows, truth, labels) = additive(400, 0.3);
        let fit = super::fit(&encoder, &rows, &labels).unwrap();
        let error = rmse(&fit.model.predict_rows(&rows), &truth);
        assert!(error < 0.12, "{error}");
        assert!((0.3..0.36).contains(&fit.leave_one_out_rmse), "{}", fit.leave_one_out_rmse);
    }

    #[test]
    fn the_leave_one_out_error_is_that_of_leaving_one_out() {
        let (encoder, rows, _, labels) = additive(40, 0.3);
        let penalty = 3.0;
        let basis = Basis::new(&encoder);
        let quick = Problem::new(&basis, &rows, &labels).unwrap().solve(penalty).leave_one_out_rmse;
        let left_out: Vec<f64> = (0..rows.len())
            .map(|row| {
                let others: Vec<usize> = (0..rows.len()).filter(|&other| other != row).collect();
                let kept: Vec<f64> = others.iter().map(|&other| labels[other]).collect();
                fit_with(&encoder, &rows.select(&others), &kept, penalty).unwrap().predict(rows.row(row))
            })
            .collect();
        assert!((quick - rmse(&left_out, &labels)).abs() < 1e-9);
    }

    #[test]
    fn too_few_pairs_are_an_error() {
        let (encoder, rows, _, labels) = additive(7, 0.0);
        assert!(matches!(fit(&encoder, &rows, &labels), Err(PredictorError::TooFewPairs { got: 7, .. })));
    }

    #[test]
    fn equal_labels_give_a_constant() {
        let (encoder, rows, _, _) = additive(50, 0.0);
        let fit = fit(&encoder, &rows, &[0.8; 50]).unwrap();
        assert!(fit.model.predict_rows(&rows).iter().all(|value| (value - 0.8).abs() < 1e-12));
    }
}
