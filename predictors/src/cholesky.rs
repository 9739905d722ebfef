//! Symmetric positive definite systems in f64, on the GEMM crate, on one thread.

use gemm::Parallelism;

/// Columns of a block of the Cholesky factorisation.
const BLOCK: usize = 64;

/// Replaces the lower triangle of a positive definite `n × n` matrix by its Cholesky factor, block by block.
pub(crate) fn cholesky(matrix: &mut [f64], n: usize) {
    for first in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - first);
        let behind = first + width;
        for i in first..n {
            let (above, row) = matrix.split_at_mut(i * n);
            let row = &mut row[first..=i.min(behind - 1)];
            for j in 0..row.len() {
                if first + j < i {
                    let other = &above[(first + j) * n + first..][..=j];
                    let sum: f64 = row[..j].iter().zip(other).map(|(a, b)| a * b).sum();
                    row[j] = (row[j] - sum) / other[j];
                } else {
                    let sum: f64 = row[..j].iter().map(|value| value * value).sum();
                    row[j] = (row[j] - sum).max(f64::MIN_POSITIVE).sqrt();
                }
            }
        }
        let panel: Vec<f64> = (behind..n).flat_map(|i| matrix[i * n + first..][..width].iter().copied()).collect();
        for column in (behind..n).step_by(BLOCK) {
            let (rows, columns) = (n - column, BLOCK.min(n - column));
            let below = &panel[(column - behind) * width..];
            add_product(
                &mut matrix[column * n + column..],
                n,
                (below, width),
                (below, width),
                (rows, columns, width),
                -1.0,
            );
        }
    }
}

/// Adds `factor` · `a` · `b`ᵀ to `target`, `(rows, columns, inner)` being the sizes and each matrix row-major with its
/// own row length.
pub(crate) fn add_product(
    target: &mut [f64],
    row_length: usize,
    (a, a_length): (&[f64], usize),
    (b, b_length): (&[f64], usize),
    (rows, columns, inner): (usize, usize, usize),
    factor: f64,
) {
    if rows == 0 || columns == 0 || inner == 0 {
        return;
    }
    assert!(target.len() >= (rows - 1) * row_length + columns && columns <= row_length);
    assert!(a.len() >= (rows - 1) * a_length + inner && b.len() >= (columns - 1) * b_length + inner);
    // SAFETY: the lengths asserted above cover every place that the three strided matrices name, rows of `target` do not
    // overlap, and `target` is borrowed mutably, so that it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            target.as_mut_ptr(),
            1,
            row_length as isize,
            true,
            a.as_ptr(),
            1,
            a_length as isize,
            b.as_ptr(),
            b_length as isize,
            1,
            1.0,
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Solves `factor · x = b` in place.
pub(crate) fn solve_lower(factor: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        let row = &factor[i * n..][..=i];
        let sum: f64 = row[..i].iter().zip(&b[..i]).map(|(a, b)| a * b).sum();
        b[i] = (b[i] - sum) / row[i];
    }
}

/// Solves `factorᵀ · x = b` in place.
pub(crate) fn solve_lower_transposed(factor: &[f64], n: usize, b: &mut [f64]) {
    for i in (0..n).rev() {
        b[i] /= factor[i * n + i];
        let (value, row) = (b[i], &factor[i * n..][..i]);
        b[..i].iter_mut().zip(row).for_each(|(b, a)| *b -= value * a);
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::testing::rng;

    #[test]
    fn a_system_is_solved() {
        for n in [1, 2, 63, 64, 65, 150, 200] {
            let mut rng = rng(n as u64);
            let root: Vec<f64> = (0..n * n).map(|_| rng.random::<f64>() - 0.5).collect();
            let mut matrix = vec![0.0; n * n];
            (0..n).for_each(|i| matrix[i * n + i] = 0.5);
            add_product(&mut matrix, n, (&root, n), (&root, n), (n, n, n), 1.0);
            let right: Vec<f64> = (0..n).map(|_| rng.random()).collect();
            let mut factor = matrix.clone();
            cholesky(&mut factor, n);
            let mut solution = right.clone();
            solve_lower(&factor, n, &mut solution);
            solve_lower_transposed(&factor, n, &mut solution);
            for (row, right) in matrix.chunks_exact(n).zip(&right) {
                let got: f64 = row.iter().zip(&solution).map(|(a, x)| a * x).sum();
                assert!((got - right).abs() < 1e-9, "{got} is not {right} (n = {n})");
            }
        }
    }
}
