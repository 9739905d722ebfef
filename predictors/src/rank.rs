//! How well predictions order and hit measured values: Kendall τ-b, Spearman, Pearson, RMSE.
//!
//! τ-b after Kendall (1945), with the O(n log n) counting of Knight (1966, J. Am. Stat. Assoc. 61, 436–439): sort by the
//! first variable, count exchanges while merge-sorting the second. A correlation is `None` where it is undefined: fewer
//! than two values, a NaN, or a variable that never changes.

/// Kendall's τ-b of two equally long lists, in [−1, 1]; ties count for neither order.
///
/// # Panics
/// If the lists differ in length.
pub fn kendall_tau_b(x: &[f64], y: &[f64]) -> Option<f64> {
    check(x, y)?;
    // Adding 0.0 turns −0.0 into 0.0, which `total_cmp` would otherwise tell apart.
    let mut pairs: Vec<(f64, f64)> = x.iter().zip(y).map(|(&x, &y)| (x + 0.0, y + 0.0)).collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let all = choose_two(pairs.len());
    let tied_x = tied_pairs(&pairs, |a, b| a.0 == b.0);
    let tied_both = tied_pairs(&pairs, |a, b| a == b);
    let mut ordered: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    let discordant = exchanges(&mut ordered);
    let tied_y = tied_pairs(&ordered, |a, b| a == b);
    if tied_x == all || tied_y == all {
        return None;
    }
    let agreement = (all - tied_x - tied_y + tied_both) as f64 - 2.0 * discordant as f64;
    // One root of the product rather than two: exactly ±1 for equal and for opposite orders.
    let pairs = (all - tied_x) as f64 * (all - tied_y) as f64;
    Some((agreement / pairs.sqrt()).clamp(-1.0, 1.0))
}

/// Spearman's ρ: Pearson's correlation of ranks, ties sharing their average rank.
///
/// # Panics
/// If the lists differ in length.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    check(x, y)?;
    pearson(&average_ranks(x), &average_ranks(y))
}

/// Pearson's correlation.
///
/// # Panics
/// If the lists differ in length.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    check(x, y)?;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (dx, dy) = (x - mean_x, y - mean_y);
        (xx, yy, xy) = (xx + dx * dx, yy + dy * dy, xy + dx * dy);
    }
    (xx > 0.0 && yy > 0.0).then(|| (xy / xx.sqrt() / yy.sqrt()).clamp(-1.0, 1.0))
}

/// Root of the mean squared difference, in the unit of the values; NaN for empty lists.
///
/// # Panics
/// If the lists differ in length.
pub fn rmse(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len(), "RMSE of lists of different lengths");
    (x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / x.len() as f64).sqrt()
}

/// Ranks from 1; equal values share the mean of the ranks they take up.
pub(crate) fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| (values[a] + 0.0).total_cmp(&(values[b] + 0.0)));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for run in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let shared = start as f64 + (run.len() as f64 + 1.0) / 2.0;
        run.iter().for_each(|&index| ranks[index] = shared);
        start += run.len();
    }
    ranks
}

/// Arithmetic mean; NaN for an empty list.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample variance (divided by n − 1); NaN for fewer than two values.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let centre = mean(values);
    values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
}

fn check(x: &[f64], y: &[f64]) -> Option<()> {
    assert_eq!(x.len(), y.len(), "correlation of lists of different lengths");
    (x.len() >= 2 && !x.iter().chain(y).any(|value| value.is_nan())).then_some(())
}

fn choose_two(n: usize) -> u64 {
    let n = n as u64;
    n * n.saturating_sub(1) / 2
}

/// Pairs inside runs of neighbours that `same` calls equal.
fn tied_pairs<T>(sorted: &[T], same: impl FnMut(&T, &T) -> bool) -> u64 {
    sorted.chunk_by(same).map(|run| choose_two(run.len())).sum()
}

/// Sorts `values` by merging and returns how many pairs stood in strictly falling order.
fn exchanges(values: &mut [f64]) -> u64 {
    let mut from = values.to_vec();
    let mut into = values.to_vec();
    let mut count = 0;
    let mut width = 1;
    while width < from.len() {
        for (source, target) in from.chunks(2 * width).zip(into.chunks_mut(2 * width)) {
            let (left, right) = source.split_at(width.min(source.len()));
            let (mut l, mut r) = (0, 0);
            for slot in target {
                let take_right = l == left.len() || (r < right.len() && right[r] < left[l]);
                if take_right {
                    count += (left.len() - l) as u64;
                    *slot = right[r];
                    r += 1;
                } else {
                    *slot = left[l];
                    l += 1;
                }
            }
        }
        std::mem::swap(&mut from, &mut into);
        width *= 2;
    }
    values.copy_from_slice(&from);
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const X: [f64; 12] = [12., 2., 1., 12., 2., 7., 7., 3., 9., 12., 5., 5.];
    const Y: [f64; 12] = [1., 4., 7., 1., 0., 4., 4.5, 4., -2., 3., 0., 8.];

    /// Two hundred values with many ties.
    fn long() -> (Vec<f64>, Vec<f64>) {
        let a: Vec<f64> = (0..200).map(|i| f64::from(i * 7919 % 101) / 10.0).collect();
        let b = (0..200).map(|i| f64::from((i * i * 31 + 17 * i) % 97 / 7) + 0.5 * a[i as usize]).collect();
        (a, b)
    }

    fn close(got: Option<f64>, expected: f64) {
        assert!((got.unwrap() - expected).abs() < 1e-12, "{got:?} is not {expected}");
    }

    /// Values of `scipy.stats` 1.17.1 (`kendalltau`, `spearmanr`, `pearsonr`).
    #[test]
    fn scipy_agrees() {
        close(kendall_tau_b(&X, &Y), -0.2644718419629145);
        close(spearman(&X, &Y), -0.35062667910522505);
        close(pearson(&X, &Y), -0.3946722719779546);
        let (a, b) = long();
        close(kendall_tau_b(&a, &b), 0.30327660970670284);
        close(spearman(&a, &b), 0.4281963967372017);
        close(pearson(&a, &b), 0.4483550547839898);
        close(Some(rmse(&a, &b)), 5.145943790987228);
    }

    #[test]
    fn undefined_correlations_are_none() {
        assert_eq!(kendall_tau_b(&[1.0], &[2.0]), None);
        assert_eq!(kendall_tau_b(&[1.0, 1.0], &[2.0, 3.0]), None);
        assert_eq!(kendall_tau_b(&[1.0, f64::NAN], &[2.0, 3.0]), None);
        assert_eq!(spearman(&[4.0, 4.0], &[2.0, 3.0]), None);
        assert_eq!(kendall_tau_b(&[0.0, -0.0, 1.0], &[1.0, 1.0, 2.0]), Some(1.0));
    }

    /// τ-b by its definition, over all pairs.
    fn by_definition(x: &[f64], y: &[f64]) -> Option<f64> {
        let (mut agreement, mut differ_x, mut differ_y) = (0.0, 0.0, 0.0);
        for i in 0..x.len() {
            for j in 0..i {
                let sign = |a: f64, b: f64| if a == b { 0.0 } else { (a - b).signum() };
                let (a, b) = (sign(x[i], x[j]), sign(y[i], y[j]));
                (agreement, differ_x, differ_y) = (agreement + a * b, differ_x + a * a, differ_y + b * b);
            }
        }
        (differ_x > 0.0 && differ_y > 0.0).then(|| agreement / f64::sqrt(differ_x) / f64::sqrt(differ_y))
    }

    proptest! {
        #[test]
        fn counting_by_merging_is_the_definition(pairs in prop::collection::vec((-4i8..5, -20i8..20), 0..60)) {
            let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().map(|&(x, y)| (f64::from(x), f64::from(y))).unzip();
            match (kendall_tau_b(&x, &y), by_definition(&x, &y)) {
                (Some(got), Some(expected)) => prop_assert!((got - expected).abs() < 1e-12),
                (got, expected) => prop_assert_eq!(got, expected),
            }
        }

        #[test]
        fn ranks_ignore_monotone_maps(x in prop::collection::vec(-50i32..50, 2..60)) {
            let x: Vec<f64> = x.into_iter().map(f64::from).collect();
            let y: Vec<f64> = x.iter().map(|x| (x / 20.0).exp()).collect();
            if let Some(tau) = kendall_tau_b(&x, &y) {
                prop_assert!((tau - 1.0).abs() < 1e-12);
                prop_assert!((spearman(&x, &y).unwrap() - 1.0).abs() < 1e-12);
            }
        }
    }
}
