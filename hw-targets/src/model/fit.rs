//! Non-negative relative least squares, with errors on what was held out.
//!
//! Coefficients minimise Σ √y ((x·w − y)/y)² under w ≥ 0: errors are relative, operators that make up most of a network
//! weigh somewhat more (with equal weights sums over networks of 224 px came out 4 % low on pixel3, with these 3 %, and
//! the error of single operators stays), and no operator can ever cost less for doing more. The active-set method is
//! Lawson & Hanson's (Solving Least Squares Problems, 1974, ch. 23) on the normal equations (Bro & de Jong 1997), in a
//! fixed order, so that the same measurements give the same coefficients. Leaving one row out subtracts it from the
//! normal equations.
//!
//! Hundreds of whole networks, each timed once, have some in them that something else disturbed:
//! [`fit_relative_robust`] gives less weight to what lies far off, and holds out tenths instead of single rows.

/// Coefficients with the errors they leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// One per feature, at or above zero.
    pub coefficients: Vec<f64>,
    /// Relative error of each row when fitted without it, or without its tenth: prediction / value − 1.
    pub left_out: Vec<f64>,
    /// Relative error of each row when fitted with it.
    pub residuals: Vec<f64>,
}

/// Fits `values` ≈ `features`·w + `offsets`; one row of features, value (above zero) and offset per measurement.
///
/// # Panics
/// If the lengths differ: rows are made by one function per class of operators.
pub fn fit_relative(features: &[Vec<f64>], values: &[f64], offsets: &[f64]) -> Fit {
    assert!(features.len() == values.len() && values.len() == offsets.len(), "one value and one offset per row");
    let Scaled { rows, targets, weights, scales } = Scaled::of(features, values, offsets);
    let width = scales.len();
    let mut equations = Normal::new(width);
    (0..rows.len()).for_each(|at| equations.add(&rows[at], targets[at], weights[at]));
    let solution = equations.solve();
    let error = |w: &[f64], at: usize| dot(&rows[at], w) - targets[at];
    let residuals = (0..rows.len()).map(|at| error(&solution, at)).collect();
    let left_out = (0..rows.len())
        .map(|at| {
            let mut without = equations.clone();
            without.add(&rows[at], targets[at], -weights[at]);
            error(&without.solve(), at)
        })
        .collect();
    let coefficients = solution.iter().zip(&scales).map(|(w, scale)| w / scale).collect();
    Fit { coefficients, left_out, residuals }
}

/// Parts that [`fit_relative_robust`] holds out in turn.
const FOLDS: usize = 10;
/// Beyond this many standard deviations a row loses weight: Huber's choice, 95 % as good as least squares where errors
/// are normal (Huber & Ronchetti, Robust Statistics, 2009, ch. 4).
const HUBER: f64 = 1.345;
/// Standard deviations in a median absolute deviation of normal errors.
const NORMAL_MAD: f64 = 1.4826;
/// Times that weights are set anew; coefficients hardly move after five.
const REWEIGHTINGS: usize = 8;

/// As [`fit_relative`], but errors beyond 1.345 standard deviations (1.4826 × their median) count linearly, not by
/// their squares: Huber's estimate by reweighting, eight times. `left_out` are the errors of each row when fitted
/// without its tenth, which are the rows 10 apart.
///
/// # Panics
/// If the lengths differ.
pub(crate) fn fit_relative_robust(features: &[Vec<f64>], values: &[f64], offsets: &[f64]) -> Fit {
    assert!(features.len() == values.len() && values.len() == offsets.len(), "one value and one offset per row");
    let scaled = Scaled::of(features, values, offsets);
    let all: Vec<usize> = (0..values.len()).collect();
    let solution = scaled.robust(&all);
    let residuals = all.iter().map(|&at| scaled.error(&solution, at)).collect();
    let mut left_out = vec![0.0; values.len()];
    for fold in 0..FOLDS {
        let others: Vec<usize> = all.iter().copied().filter(|at| at % FOLDS != fold).collect();
        let without = scaled.robust(&others);
        for at in (fold..values.len()).step_by(FOLDS) {
            left_out[at] = scaled.error(&without, at);
        }
    }
    let coefficients = solution.iter().zip(&scaled.scales).map(|(w, scale)| w / scale).collect();
    Fit { coefficients, left_out, residuals }
}

/// The problem with rows relative to their values.
struct Scaled {
    rows: Vec<Vec<f64>>,
    targets: Vec<f64>,
    weights: Vec<f64>,
    /// What columns were divided by.
    scales: Vec<f64>,
}

impl Scaled {
    fn of(features: &[Vec<f64>], values: &[f64], offsets: &[f64]) -> Self {
        let width = features.first().map_or(0, Vec::len);
        let scaled: Vec<Vec<f64>> =
            features.iter().zip(values).map(|(row, value)| row.iter().map(|x| x / value).collect()).collect();
        // Columns of mean one: the normal equations of raw features (1 beside 10⁸ MACs) would be singular in doubles.
        let scales: Vec<f64> = (0..width)
            .map(|column| {
                let mean = scaled.iter().map(|row| row[column]).sum::<f64>() / scaled.len().max(1) as f64;
                if mean > 0.0 { mean } else { 1.0 }
            })
            .collect();
        let rows: Vec<Vec<f64>> =
            scaled.iter().map(|row| row.iter().zip(&scales).map(|(x, scale)| x / scale).collect()).collect();
        let largest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let weights: Vec<f64> = values.iter().map(|value| (value / largest).sqrt()).collect();
        let targets: Vec<f64> = values.iter().zip(offsets).map(|(value, offset)| 1.0 - offset / value).collect();
        Self { rows, targets, weights, scales }
    }

    fn error(&self, w: &[f64], at: usize) -> f64 {
        dot(&self.rows[at], w) - self.targets[at]
    }

    /// Huber's estimate from the rows `of`.
    fn robust(&self, of: &[usize]) -> Vec<f64> {
        let mut shares = vec![1.0; of.len()];
        let mut solution = Vec::new();
        for _ in 0..REWEIGHTINGS {
            let mut equations = Normal::new(self.scales.len());
            for (&at, share) in of.iter().zip(&shares) {
                equations.add(&self.rows[at], self.targets[at], self.weights[at] * share);
            }
            solution = equations.solve();
            let errors: Vec<f64> = of.iter().map(|&at| self.error(&solution, at).abs()).collect();
            let mut sorted = errors.clone();
            sorted.sort_by(f64::total_cmp);
            let bound = HUBER * NORMAL_MAD * sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
            if bound < 1e-9 {
                // Half of the rows are met exactly: nothing says what is far off.
                break;
            }
            shares.iter_mut().zip(&errors).for_each(|(share, error)| *share = (bound / error).min(1.0));
        }
        solution
    }
}

/// Mean of absolute values.
pub fn mean_absolute(errors: &[f64]) -> f64 {
    errors.iter().map(|error| error.abs()).sum::<f64>() / errors.len().max(1) as f64
}

/// Root of the mean square.
pub(crate) fn root_mean_square(errors: &[f64]) -> f64 {
    (errors.iter().map(|error| error * error).sum::<f64>() / errors.len().max(1) as f64).sqrt()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// AᵀA and Aᵀb.
#[derive(Clone)]
struct Normal {
    gram: Vec<Vec<f64>>,
    right: Vec<f64>,
}

impl Normal {
    fn new(width: usize) -> Self {
        Self { gram: vec![vec![0.0; width]; width], right: vec![0.0; width] }
    }

    fn add(&mut self, row: &[f64], target: f64, weight: f64) {
        for (i, x) in row.iter().enumerate() {
            for (j, y) in row.iter().enumerate() {
                self.gram[i][j] += weight * x * y;
            }
            self.right[i] += weight * x * target;
        }
    }

    /// argmin ‖Aw − b‖² with w ≥ 0.
    fn solve(&self) -> Vec<f64> {
        let width = self.right.len();
        let mut w = vec![0.0; width];
        let mut active: Vec<usize> = Vec::new();
        let mut refused = vec![false; width];
        let tolerance = 1e-10 * self.right.iter().fold(0.0f64, |most, r| most.max(r.abs()));
        for _ in 0..20 * width.max(1) {
            let gain = |j: usize| self.right[j] - dot(&self.gram[j], &w);
            let best = (0..width)
                .filter(|j| !active.contains(j) && !refused[*j])
                .map(|j| (gain(j), j))
                .filter(|(gain, _)| *gain > tolerance)
                .reduce(|best, next| if next.0 > best.0 { next } else { best });
            let Some((_, entering)) = best else { break };
            active.push(entering);
            active.sort_unstable();
            let mut first = true;
            loop {
                let Some(candidate) = self.solve_on(&active) else {
                    // Depends on the columns already in.
                    active.retain(|&j| j != entering);
                    refused[entering] = true;
                    break;
                };
                let at = |j: usize| candidate[active.iter().position(|&k| k == j).unwrap_or(0)];
                if first && at(entering) <= 0.0 {
                    active.retain(|&j| j != entering);
                    refused[entering] = true;
                    break;
                }
                first = false;
                if candidate.iter().all(|&value| value > 0.0) {
                    active.iter().zip(&candidate).for_each(|(&j, &value)| w[j] = value);
                    refused.fill(false);
                    break;
                }
                // Walk towards the candidate until the first coefficient reaches zero, and drop it.
                let step = active
                    .iter()
                    .zip(&candidate)
                    .filter(|(_, value)| **value <= 0.0)
                    .map(|(&j, &value)| w[j] / (w[j] - value))
                    .fold(1.0f64, f64::min);
                active.iter().zip(&candidate).for_each(|(&j, &value)| w[j] += step * (value - w[j]));
                active.retain(|&j| {
                    let stays = w[j] > 1e-14;
                    if !stays {
                        w[j] = 0.0;
                    }
                    stays
                });
            }
        }
        w
    }

    /// Unconstrained solution on the columns `active`, by Cholesky; `None` if they are dependent.
    fn solve_on(&self, active: &[usize]) -> Option<Vec<f64>> {
        let size = active.len();
        let mut lower = vec![vec![0.0; size]; size];
        for i in 0..size {
            for j in 0..=i {
                let sum = self.gram[active[i]][active[j]] - dot(&lower[i][..j], &lower[j][..j]);
                if i == j {
                    if sum <= 1e-11 * self.gram[active[i]][active[i]] {
                        return None;
                    }
                    lower[i][i] = sum.sqrt();
                } else {
                    lower[i][j] = sum / lower[j][j];
                }
            }
        }
        let mut solution = vec![0.0; size];
        for i in 0..size {
            solution[i] = (self.right[active[i]] - dot(&lower[i][..i], &solution[..i])) / lower[i][i];
        }
        for i in (0..size).rev() {
            let above: f64 = (i + 1..size).map(|k| lower[k][i] * solution[k]).sum();
            solution[i] = (solution[i] - above) / lower[i][i];
        }
        Some(solution)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn objective(features: &[Vec<f64>], values: &[f64], w: &[f64]) -> f64 {
        features.iter().zip(values).map(|(row, value)| value.sqrt() * (dot(row, w) / value - 1.0).powi(2)).sum()
    }

    #[test]
    fn exact_data_give_exact_coefficients() {
        let features: Vec<Vec<f64>> = (1..9).map(|i| vec![1e8 * f64::from(i), f64::from(i * i), 1.0]).collect();
        let values: Vec<f64> = features.iter().map(|row| dot(row, &[2e-9, 0.5, 3.0])).collect();
        let fit = fit_relative(&features, &values, &[0.0; 8]);
        for (got, wanted) in fit.coefficients.iter().zip([2e-9, 0.5, 3.0]) {
            assert!((got / wanted - 1.0).abs() < 1e-6, "{got} {wanted}");
        }
        assert!(mean_absolute(&fit.left_out) < 1e-6);
    }

    #[test]
    fn a_harmful_feature_gets_zero_and_twins_do_not_loop() {
        let features: Vec<Vec<f64>> = (1..9).map(|i| vec![f64::from(i), f64::from(i), 9.0 - f64::from(i)]).collect();
        let values: Vec<f64> = (1..9).map(|i| 4.0 * f64::from(i) - 0.3).collect();
        let fit = fit_relative(&features, &values, &[0.0; 8]);
        assert_eq!(fit.coefficients[2], 0.0);
        assert!((fit.coefficients[0] + fit.coefficients[1] - 4.0).abs() < 0.3);
    }

    #[test]
    fn disturbed_rows_hardly_move_a_robust_fit() {
        let wave = |i: u32| (f64::from(i) * 0.7).sin();
        let features: Vec<Vec<f64>> = (0..200).map(|i| vec![20.0 + 10.0 * wave(i), 5.0]).collect();
        let disturbed = |i: u32| if i % 9 == 4 { 1.5 } else { 1.0 + 0.002 * (f64::from(i) * 1.9).cos() };
        let values: Vec<f64> = features.iter().zip(0..).map(|(row, i)| dot(row, &[2.0, 3.0]) * disturbed(i)).collect();
        let far = |fit: &Fit| (fit.coefficients[0] / 2.0 - 1.0).abs().max((fit.coefficients[1] / 3.0 - 1.0).abs());
        let robust = fit_relative_robust(&features, &values, &[0.0; 200]);
        let plain = fit_relative(&features, &values, &[0.0; 200]);
        assert!(far(&robust) < 0.01 && far(&plain) > 0.05, "{} {}", far(&robust), far(&plain));
        // The disturbed rows are in the errors all the same.
        assert!((mean_absolute(&robust.left_out) / mean_absolute(&robust.residuals) - 1.0).abs() < 0.1);
        assert!(mean_absolute(&robust.left_out) > 0.03);
    }

    #[test]
    fn held_out_tenths_are_not_fitted_to() {
        // Ten columns, each of which is one tenth's own: without it nothing is known about that tenth.
        let features: Vec<Vec<f64>> =
            (0..40).map(|i| (0..10).map(|j| if i % 10 == j { 1.0 } else { 0.0 }).collect()).collect();
        let fit = fit_relative_robust(&features, &[3.0; 40], &[0.0; 40]);
        assert!(fit.left_out.iter().all(|error| *error == -1.0) && mean_absolute(&fit.residuals) < 1e-9);
    }

    #[test]
    fn an_offset_is_taken_off_first() {
        let features: Vec<Vec<f64>> = (1..5).map(|i| vec![f64::from(i)]).collect();
        let values: Vec<f64> = (1..5).map(|i| 10.0 + 2.0 * f64::from(i)).collect();
        let fit = fit_relative(&features, &values, &[10.0; 4]);
        assert!((fit.coefficients[0] - 2.0).abs() < 1e-9);
    }

    proptest! {
        /// At the optimum no single coefficient can be moved within w ≥ 0 to lower the error.
        #[test]
        fn nothing_near_is_better(cells in proptest::collection::vec(0.0f64..10.0, 40), noise in proptest::collection::vec(0.5f64..20.0, 10)) {
            let features: Vec<Vec<f64>> = cells.chunks(4).map(<[f64]>::to_vec).collect();
            let fit = fit_relative(&features, &noise, &[0.0; 10]);
            let best = objective(&features, &noise, &fit.coefficients);
            for column in 0..4 {
                prop_assert!(fit.coefficients[column] >= 0.0);
                for step in [1e-3, -1e-3, 0.1, -0.1] {
                    let mut near = fit.coefficients.clone();
                    near[column] = (near[column] + step).max(0.0);
                    prop_assert!(objective(&features, &noise, &near) >= best - 1e-6 * best.max(1.0));
                }
            }
        }
    }
}
