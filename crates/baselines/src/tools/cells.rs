//! A token grid cut into K compact cells, one for each token that may stay.

use std::ops::Range;

use diffprune_pruner::{Grid, Layout};

/// A rectangle of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    rows: Range<usize>,
    cols: Range<usize>,
}

impl Cell {
    /// Number of tokens in the cell.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() * self.cols.len()
    }

    /// Raster index of the cell's `nth` token.
    pub(crate) fn token(&self, nth: usize, grid: Grid) -> usize {
        (self.rows.start + nth / self.cols.len()) * grid.cols + self.cols.start + nth % self.cols.len()
    }

    /// Raster index of the token nearest to the middle (the upper left one of equals).
    pub(crate) fn middle(&self, grid: Grid) -> usize {
        let row = self.rows.start + (self.rows.len() - 1) / 2;
        let col = self.cols.start + (self.cols.len() - 1) / 2;
        row * grid.cols + col
    }
}

/// Cuts the grid into `k` cells: bands of rows, each band cut into cells of about equal width.
///
/// The number of bands is the one with the least squared distance between tokens and the middles of their cells.
/// Cells are disjoint, cover the grid, and their middles ascend in raster order. `k` is in `1..=grid.n_tokens()`.
pub(crate) fn cells(grid: Grid, k: usize) -> Vec<Cell> {
    let fewest = k.div_ceil(grid.cols);
    let most = grid.rows.min(k);
    let spread = |n_bands: usize| {
        band_cells(grid, k, n_bands)
            .map(|cell| twelvefold_spread(&cell))
            .sum::<usize>()
    };
    let n_bands = (fewest..=most)
        .min_by_key(|&n_bands| spread(n_bands))
        .unwrap_or(1);
    band_cells(grid, k, n_bands).collect()
}

/// A cell of one of the segments of a layout.
#[derive(Debug, Clone)]
pub(crate) struct LayoutCell {
    cell: Cell,
    grid: Grid,
    first: usize,
}

impl LayoutCell {
    /// Number of tokens in the cell.
    pub(crate) fn len(&self) -> usize {
        self.cell.len()
    }

    /// Index of the cell's `nth` token.
    pub(crate) fn token(&self, nth: usize) -> usize {
        self.first + self.cell.token(nth, self.grid)
    }

    /// Indices of the cell's tokens.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).map(|nth| self.token(nth))
    }

    /// Index of the token nearest to the middle.
    pub(crate) fn middle(&self) -> usize {
        self.first + self.cell.middle(self.grid)
    }
}

/// `k` cells over all segments of a layout, shared out in proportion to their tokens.
pub(crate) fn layout_cells(layout: &Layout, k: usize) -> Vec<LayoutCell> {
    let shares = layout.share(k);
    let of_segment = |((first, segment), k): ((usize, &diffprune_pruner::Segment), usize)| {
        let grid = segment.grid;
        let cells = if k == 0 { Vec::new() } else { cells(grid, k) };
        cells
            .into_iter()
            .map(move |cell| LayoutCell { cell, grid, first })
    };
    layout.offsets().zip(shares).flat_map(of_segment).collect()
}

/// The cells of one number of bands.
fn band_cells(grid: Grid, k: usize, n_bands: usize) -> impl Iterator<Item = Cell> {
    (0..n_bands).flat_map(move |band| {
        let rows = share(grid.rows, n_bands, band);
        let n_cells = share(k, n_bands, band).len();
        (0..n_cells).map(move |cell| Cell {
            rows: rows.clone(),
            cols: share(grid.cols, n_cells, cell),
        })
    })
}

/// The `part`-th of `n_parts` nearly equal runs of `0..total`.
fn share(total: usize, n_parts: usize, part: usize) -> Range<usize> {
    part * total / n_parts..(part + 1) * total / n_parts
}

/// Twelve times the summed squared distance of a cell's tokens to its middle, a whole number.
fn twelvefold_spread(cell: &Cell) -> usize {
    let (height, width) = (cell.rows.len(), cell.cols.len());
    cell.len() * (height * height + width * width - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_partition_the_grid_with_ascending_middles() {
        for (rows, cols) in [(12, 12), (1, 1), (1, 9), (7, 1), (3, 11), (24, 24), (5, 2)] {
            let grid = Grid { rows, cols };
            for k in 1..=grid.n_tokens() {
                let cells = cells(grid, k);
                assert_eq!(cells.len(), k, "{rows}x{cols} k {k}");
                let mut seen: Vec<usize> = cells
                    .iter()
                    .flat_map(|cell| (0..cell.len()).map(|nth| cell.token(nth, grid)))
                    .collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..grid.n_tokens()), "{rows}x{cols} k {k}");
                let middles: Vec<usize> = cells.iter().map(|cell| cell.middle(grid)).collect();
                assert!(
                    middles.windows(2).all(|pair| pair[0] < pair[1]),
                    "{rows}x{cols} k {k}"
                );
            }
        }
    }

    #[test]
    fn a_ninth_of_a_square_is_squares_of_nine() {
        let grid = Grid { rows: 12, cols: 12 };
        assert!(
            cells(grid, 16)
                .iter()
                .all(|cell| cell.rows.len() == 3 && cell.cols.len() == 3)
        );
    }
}
