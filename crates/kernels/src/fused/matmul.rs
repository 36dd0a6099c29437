//! Matrix products inside one attention head: small, packed, and on one thread.

use super::simd::{fma, stamped};

/// Columns of a panel, the unit in which right-hand sides are packed.
pub(super) const PANEL: usize = 16;

/// Rows of a tile: six by sixteen sums fill twelve of AVX2's sixteen registers.
const TILE_ROWS: usize = 6;

/// `n` rounded up to whole panels.
pub(super) fn padded(n: usize) -> usize {
    n.next_multiple_of(PANEL)
}

/// A matrix in a larger buffer: element `(i, j)` lies at `i * row + j * col`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// The buffer, from the first element on.
    pub(super) data: &'a [f32],
    /// Distance of neighbouring rows.
    pub(super) row: usize,
    /// Distance of neighbouring columns.
    pub(super) col: usize,
}

impl<'a> View<'a> {
    /// A matrix whose rows are dense.
    pub(super) fn rows(data: &'a [f32], row: usize) -> Self {
        View { data, row, col: 1 }
    }

    /// Rows and columns exchanged.
    pub(super) fn transposed(self) -> Self {
        View {
            data: self.data,
            row: self.col,
            col: self.row,
        }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row + (cols - 1) * self.col < self.data.len()
    }
}

/// A right-hand side, cut into panels of sixteen columns; the last panel is filled up with zeros.
#[derive(Default)]
pub(super) struct Packed {
    data: Vec<f32>,
    /// Rows of every panel.
    k: usize,
}

impl Packed {
    /// Packs the `k x n` matrix `b`, in the memory of what was packed before.
    pub(super) fn fill(&mut self, b: View, k: usize, n: usize) {
        assert!(b.holds(k, n));
        self.k = k;
        self.data.clear();
        self.data.resize(padded(n) * k, 0.0);
        pack(b, k, n, &mut self.data);
    }
}

fn pack(b: View, k: usize, n: usize, out: &mut [f32]) {
    for (panel, out) in out.chunks_exact_mut((k * PANEL).max(1)).enumerate() {
        let first = panel * PANEL;
        let cols = PANEL.min(n - first);
        if b.col == 1 && cols == PANEL {
            for (i, out) in out.chunks_exact_mut(PANEL).enumerate() {
                let start = i * b.row + first;
                out.copy_from_slice(&b.data[start..start + PANEL]);
            }
        } else if b.row == 1 {
            for j in 0..cols {
                let source = &b.data[(first + j) * b.col..][..k];
                for (i, &value) in source.iter().enumerate() {
                    out[i * PANEL + j] = value;
                }
            }
        } else {
            for i in 0..k {
                for j in 0..cols {
                    out[i * PANEL + j] = b.data[i * b.row + (first + j) * b.col];
                }
            }
        }
    }
}

/// One tile: `MR` rows of `c` from `MR` rows of `a` and one panel of `b`.
///
/// # Safety
/// `a` must hold `MR x k` elements with its strides, `b` must hold `k x 16`, `c` must hold `MR` rows of 16.
#[inline(always)]
unsafe fn tile<const FMA: bool, const MR: usize>(
    k: usize,
    a: *const f32,
    (row, col): (usize, usize),
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    add: bool,
) {
    let mut sums = [[0.0f32; PANEL]; MR];
    for p in 0..k {
        // SAFETY: `p < k`, and every row of a panel has 16 elements.
        let b = unsafe { &*b.add(p * PANEL).cast::<[f32; PANEL]>() };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `r < MR` and `p < k`.
            let a = unsafe { *a.add(r * row + p * col) };
            for j in 0..PANEL {
                sums[j] = fma::<FMA>(a, b[j], sums[j]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: `r < MR`, and every row of `c` has 16 elements here.
        let c = unsafe { &mut *c.add(r * c_row).cast::<[f32; PANEL]>() };
        for j in 0..PANEL {
            c[j] = if add { c[j] + sums[j] } else { sums[j] };
        }
    }
}

#[inline(always)]
fn product<const FMA: bool>(
    (m, n, k): (usize, usize, usize),
    a: View,
    b: &Packed,
    c: &mut [f32],
    c_row: usize,
    add: bool,
) {
    let cols = padded(n);
    assert!(a.holds(m, k) && k <= b.k && cols * b.k <= b.data.len());
    assert!(m == 0 || cols == 0 || (m - 1) * c_row + cols <= c.len());
    let strides = (a.row, a.col);
    for panel in 0..cols / PANEL {
        let b = b.data[panel * PANEL * b.k..].as_ptr();
        let mut i = 0;
        while i < m {
            let rows = TILE_ROWS.min(m - i);
            // SAFETY: the assertions above cover every place of the three matrices.
            unsafe {
                let a = a.data.as_ptr().add(i * a.row);
                let c = c.as_mut_ptr().add(i * c_row + panel * PANEL);
                match rows {
                    6 => tile::<FMA, 6>(k, a, strides, b, c, c_row, add),
                    5 => tile::<FMA, 5>(k, a, strides, b, c, c_row, add),
                    4 => tile::<FMA, 4>(k, a, strides, b, c, c_row, add),
                    3 => tile::<FMA, 3>(k, a, strides, b, c, c_row, add),
                    2 => tile::<FMA, 2>(k, a, strides, b, c, c_row, add),
                    _ => tile::<FMA, 1>(k, a, strides, b, c, c_row, add),
                }
            }
            i += rows;
        }
    }
}

stamped!(
    /// `c = a b`, or `c += a b` if `add`: `a` is `m x k`, `b` is the upper left `k x n` of what was packed, and the
    /// rows of `c`, `c_row` apart, hold `n` rounded up to whole panels.
    pub(super) fn matmul(
        sizes: (usize, usize, usize), a: View<'_>, b: &Packed, c: &mut [f32], c_row: usize, add: bool,
    ) => product::<FMA>(sizes, a, b, c, c_row, add)
);

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 37 + seed * 11) % 23) as f32 - 11.0)
            .collect()
    }

    #[test]
    fn products_of_all_sizes_and_layouts_are_exact_for_small_integers() {
        for (m, n, k) in [
            (1, 1, 1),
            (6, 16, 4),
            (7, 17, 5),
            (13, 33, 31),
            (5, 40, 0),
            (11, 3, 9),
        ] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            for a_transposed in [false, true] {
                for b_transposed in [false, true] {
                    let a_view = View {
                        data: &a,
                        row: if a_transposed { 1 } else { k },
                        col: 1,
                    };
                    let a_view = if a_transposed {
                        View { col: m, ..a_view }
                    } else {
                        a_view
                    };
                    let b_view = if b_transposed {
                        View::rows(&b, k).transposed()
                    } else {
                        View::rows(&b, n)
                    };
                    let mut packed = Packed::default();
                    packed.fill(b_view, k, n);
                    let c_row = padded(n) + 3;
                    let mut c = vec![1.0; m * c_row];
                    matmul((m, n, k), a_view, &packed, &mut c, c_row, true);
                    for i in 0..m {
                        for j in 0..n {
                            let exact: f32 = (0..k)
                                .map(|p| {
                                    a[i * a_view.row + p * a_view.col] * b[p * b_view.row + j * b_view.col]
                                })
                                .sum();
                            assert_eq!(c[i * c_row + j], exact + 1.0, "{m} {n} {k} at {i} {j}");
                        }
                    }
                }
            }
        }
    }
}
