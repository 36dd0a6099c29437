//! The leading eigenvectors of a symmetric matrix.
//!
//! Only a few of several hundred are wanted, so a Lanczos iteration finds them much sooner than a full decomposition:
//! it builds an orthogonal basis from products with the matrix, on which the matrix is tridiagonal, until the wanted
//! eigenvectors of that small matrix no longer change. With the basis as large as the matrix the answer is exact.

use rayon::prelude::*;

use crate::tools::host::Matrix;

/// Residual of an eigenvector, as a share of the largest eigenvalue, at which it counts as found.
const TOLERANCE: f64 = 1e-7;

/// The `q` largest eigenvalues of a symmetric matrix, falling, with unit eigenvectors.
///
/// The matrix must be positive semidefinite for the largest to be the leading ones. Of equal eigenvalues any basis may
/// come out.
pub(crate) fn leading(matrix: &Matrix, q: usize) -> Vec<(f64, Vec<f64>)> {
    let n = matrix.n_rows();
    let q = q.min(n);
    let mut basis: Vec<Vec<f64>> = Vec::new();
    let (mut diagonal, mut beside) = (Vec::new(), Vec::<f64>::new());
    let mut next = start(n, 0);
    let mut check_at = 2 * q;
    while basis.len() < n {
        let mut product = times(matrix, &next);
        diagonal.push(dot(&product, &next));
        basis.push(std::mem::take(&mut next));
        orthogonalise(&mut product, &basis);
        let length = dot(&product, &product).sqrt();
        let scale = diagonal.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let coupled = length > 1e-12 * scale;
        if !coupled && basis.len() < n {
            // The basis spans whole eigenspaces: go on in a direction that it lacks.
            product = start(n, basis.len());
            orthogonalise(&mut product, &basis);
        }
        beside.push(if coupled { length } else { 0.0 });
        normalise(&mut product);
        next = product;
        if basis.len() >= check_at {
            check_at = basis.len() + q.max(8);
            if converged(&diagonal, &beside, q) {
                break;
            }
        }
    }
    ritz_vectors(&basis, &diagonal, &beside, q)
}

/// A fixed vector with a share in every direction; `nth` gives different ones.
fn start(n: usize, nth: usize) -> Vec<f64> {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let mut vector: Vec<f64> = (1..=n)
        .map(|i| ((i + nth * n) as f64 * GOLDEN).fract() - 0.5 + 1e-3)
        .collect();
    normalise(&mut vector);
    vector
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0f64; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_blocks.remainder().iter().zip(b_blocks.remainder());
    let rest: f64 = rest.map(|(x, y)| x * y).sum();
    for (x, y) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

fn normalise(vector: &mut [f64]) {
    let length = dot(vector, vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

fn times(matrix: &Matrix, vector: &[f64]) -> Vec<f64> {
    let row = |row: &[f32]| {
        const LANES: usize = 8;
        let mut sums = [0f64; LANES];
        let (blocks, values) = (row.chunks_exact(LANES), vector.chunks_exact(LANES));
        let rest = blocks.remainder().iter().zip(values.remainder());
        let rest: f64 = rest.map(|(&x, y)| f64::from(x) * y).sum();
        for (x, y) in blocks.zip(values) {
            for lane in 0..LANES {
                sums[lane] += f64::from(x[lane]) * y[lane];
            }
        }
        sums.iter().sum::<f64>() + rest
    };
    let rows = matrix.values().par_chunks_exact(matrix.width());
    rows.with_min_len(64).map(row).collect()
}

/// Takes away what the basis spans; twice, because rounding leaves some of it the first time.
fn orthogonalise(vector: &mut [f64], basis: &[Vec<f64>]) {
    for _ in 0..2 {
        for direction in basis {
            let share = dot(vector, direction);
            vector
                .iter_mut()
                .zip(direction)
                .for_each(|(value, x)| *value -= share * x);
        }
    }
}

/// `true` if the `q` leading eigenvectors of the small matrix hardly reach beyond the basis.
fn converged(diagonal: &[f64], beside: &[f64], q: usize) -> bool {
    let m = diagonal.len();
    let mut values = diagonal.to_vec();
    let mut last_row = vec![vec![0.0; m]];
    last_row[0][m - 1] = 1.0;
    tridiagonal(&mut values, beside, &mut last_row);
    let most = values.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    falling(&values)
        .into_iter()
        .take(q)
        .all(|i| (beside[m - 1] * last_row[0][i]).abs() <= TOLERANCE * most)
}

/// The leading eigenvectors of the small matrix, in the basis of the large one.
fn ritz_vectors(basis: &[Vec<f64>], diagonal: &[f64], beside: &[f64], q: usize) -> Vec<(f64, Vec<f64>)> {
    let m = basis.len();
    let mut values = diagonal.to_vec();
    let mut rows: Vec<Vec<f64>> = (0..m)
        .map(|i| (0..m).map(|j| f64::from(u8::from(i == j))).collect())
        .collect();
    tridiagonal(&mut values, beside, &mut rows);
    let vector = |i: usize| {
        let mut vector = vec![0.0; basis[0].len()];
        for (direction, row) in basis.iter().zip(&rows) {
            vector
                .iter_mut()
                .zip(direction)
                .for_each(|(value, x)| *value += row[i] * x);
        }
        (values[i], vector)
    };
    falling(&values).into_iter().take(q).map(vector).collect()
}

/// Places of the values, the largest first.
fn falling(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order
}

/// Eigenvalues of the symmetric tridiagonal matrix with `values` on its diagonal and `beside` next to it, by implicit QL
/// steps with Wilkinson's shift. `rows` are rows of a matrix that is multiplied from the right by the eigenvectors.
fn tridiagonal(values: &mut [f64], beside: &[f64], rows: &mut [Vec<f64>]) {
    const MOST_STEPS: usize = 60;
    let m = values.len();
    let mut off = beside[..m].to_vec();
    for low in 0..m {
        for _ in 0..MOST_STEPS {
            let small = |i: &usize| off[*i].abs() <= f64::EPSILON * (values[*i].abs() + values[*i + 1].abs());
            let high = (low..m - 1).find(small).unwrap_or(m - 1);
            if high == low {
                break;
            }
            let half_gap = (values[low + 1] - values[low]) / (2.0 * off[low]);
            let shift = off[low] / (half_gap + half_gap.hypot(1.0).copysign(half_gap));
            let mut bulge = values[high] - values[low] + shift;
            let (mut sine, mut cosine, mut moved) = (1.0, 1.0, 0.0);
            let mut split = false;
            for i in (low..high).rev() {
                let (across, along) = (sine * off[i], cosine * off[i]);
                let length = f64::hypot(across, bulge);
                off[i + 1] = length;
                if length == 0.0 {
                    values[i + 1] -= moved;
                    off[high] = 0.0;
                    split = true;
                    break;
                }
                (sine, cosine) = (across / length, bulge / length);
                let rest = values[i + 1] - moved;
                let turned = (values[i] - rest) * sine + 2.0 * cosine * along;
                moved = sine * turned;
                values[i + 1] = rest + moved;
                bulge = cosine * turned - along;
                for row in rows.iter_mut() {
                    let (left, right) = (row[i], row[i + 1]);
                    row[i + 1] = sine * left + cosine * right;
                    row[i] = cosine * left - sine * right;
                }
            }
            if !split {
                values[low] -= moved;
                off[low] = bulge;
                off[high] = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Residuals and inner products of the vectors, over the largest eigenvalue.
    fn check(matrix: &Matrix, q: usize) -> Vec<f64> {
        let found = leading(matrix, q);
        assert_eq!(found.len(), q.min(matrix.n_rows()));
        let scale = found[0].0.abs().max(1e-30);
        for (i, (value, vector)) in found.iter().enumerate() {
            let product = times(matrix, vector);
            for (x, y) in product.iter().zip(vector) {
                assert!((x - value * y).abs() < 2e-6 * scale, "residual of {i}");
            }
            for (j, (_, other)) in found.iter().enumerate() {
                let wanted = f64::from(u8::from(i == j));
                assert!((dot(vector, other) - wanted).abs() < 1e-9, "{i} against {j}");
            }
        }
        assert!(found.windows(2).all(|pair| pair[0].0 >= pair[1].0));
        found.into_iter().map(|(value, _)| value).collect()
    }

    #[test]
    fn eigenvectors_of_random_matrices() {
        for (n, d, q) in [(5, 9, 5), (60, 90, 7), (120, 10, 16), (200, 300, 16)] {
            let x = diffprune_test_support::normal::<2>(1, [n, d]);
            let gram = crate::tools::host::inner_products(x.clone(), x);
            let values = check(&gram, q);
            // No eigenvalue is left out: the rest of the trace is what the others can hold.
            let trace: f64 = (0..n).map(|i| f64::from(gram.row(i)[i])).sum();
            let rest = trace - values.iter().sum::<f64>();
            assert!(
                rest > -1e-3 * trace
                    && rest <= (n - values.len()) as f64 * values[values.len() - 1] + 1e-3 * trace
            );
        }
    }

    #[test]
    fn equal_eigenvalues_are_found_as_often_as_they_occur() {
        let n = 12;
        let diagonal = [5.0, 5.0, 5.0, 2.0, 2.0, 1.0];
        let mut values = vec![0.0; n * n];
        diagonal
            .iter()
            .enumerate()
            .for_each(|(i, &x)| values[i * n + i] = x);
        let found = check(&Matrix::new(values, n), 7);
        for (found, wanted) in found.iter().zip(diagonal) {
            assert!((found - f64::from(wanted)).abs() < 1e-9, "{found} {wanted}");
        }
        assert!(
            check(&Matrix::new(vec![0.0; 9], 3), 3)
                .iter()
                .all(|value| *value == 0.0)
        );
    }
}
