//! Which patches attend to which: windows and whole images as sets of cells, grouped by size.

use std::ops::Range;

use diffprune_pruner::Grid;

/// The cells of a batch of images, by window and by image.
///
/// Cells are numbered in raster order, image after image; each stands for `merge * merge` patches that always move
/// together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowPlan {
    /// For each image, the range of its cells.
    pub images: Vec<Range<usize>>,
    /// The cells of each window, image after image; windows and the cells inside them are in raster order. Windows at
    /// the right and lower edge are smaller; none is empty.
    pub windows: Vec<Vec<usize>>,
}

impl WindowPlan {
    /// The plan of images with `grids` of cells and windows of `side` by `side` cells.
    ///
    /// # Panics
    /// If `side` is zero.
    pub fn new(grids: &[Grid], side: usize) -> Self {
        assert!(side > 0, "a window must have at least one cell");
        let (mut images, mut windows, mut first) = (Vec::new(), Vec::new(), 0);
        for grid in grids {
            for top in (0..grid.rows).step_by(side) {
                for left in (0..grid.cols).step_by(side) {
                    let rows = top..(top + side).min(grid.rows);
                    let cols = left..(left + side).min(grid.cols);
                    let cell = |row: usize| cols.clone().map(move |col| first + row * grid.cols + col);
                    windows.push(rows.flat_map(cell).collect());
                }
            }
            images.push(first..first + grid.n_tokens());
            first += grid.n_tokens();
        }
        Self { images, windows }
    }

    /// Number of cells of all images.
    pub fn n_cells(&self) -> usize {
        self.images.last().map_or(0, |image| image.end)
    }

    /// The cells in window order: the order in which the reference implementation keeps its hidden states.
    pub fn window_index(&self) -> Vec<usize> {
        self.windows.concat()
    }
}

/// Cells sorted so that sets of equal size stand side by side: each group of them is one batch, and no attention is
/// ever wider than a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grouping {
    /// For each place the cell that stands there.
    pub(super) order: Vec<usize>,
    /// Number of sets and cells of one set, group after group.
    pub(super) groups: Vec<[usize; 2]>,
}

impl Grouping {
    /// Groups sets of cells by size; sets of one size keep their order.
    pub(super) fn new(sets: impl IntoIterator<Item = Vec<usize>>) -> Self {
        let mut sets: Vec<Vec<usize>> = sets.into_iter().collect();
        sets.sort_by_key(|set| std::cmp::Reverse(set.len()));
        let groups = sets
            .chunk_by(|a, b| a.len() == b.len())
            .map(|group| [group.len(), group[0].len()])
            .collect();
        Self {
            order: sets.concat(),
            groups,
        }
    }
}

/// The place of each number of a permutation.
pub(super) fn inverse(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    for (place, &cell) in order.iter().enumerate() {
        places[cell] = place;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edge_windows_are_smaller_and_none_is_empty() {
        let plan = WindowPlan::new(&[Grid { rows: 2, cols: 3 }, Grid { rows: 1, cols: 2 }], 2);
        let windows: [&[usize]; 3] = [&[0, 1, 3, 4], &[2, 5], &[6, 7]];
        assert_eq!(plan.windows, windows);
        assert_eq!(plan.images, [0..6, 6..8]);
        let grouping = Grouping::new(plan.windows.clone());
        assert_eq!(grouping.groups, [[1, 4], [2, 2]]);
        let whole = WindowPlan::new(&[Grid { rows: 4, cols: 4 }], 2);
        assert_eq!(Grouping::new(whole.windows).groups, [[4, 4]]);
    }

    proptest! {
        #[test]
        fn every_cell_is_in_the_one_window_of_its_place(
            sizes in prop::collection::vec((1usize..12, 1usize..12), 1..4), side in 1usize..6
        ) {
            let grids: Vec<Grid> = sizes.iter().map(|&(rows, cols)| Grid { rows, cols }).collect();
            let plan = WindowPlan::new(&grids, side);
            let grouping = Grouping::new(plan.windows.clone());
            let mut cells = grouping.order.clone();
            cells.sort_unstable();
            prop_assert_eq!(cells, (0..plan.n_cells()).collect::<Vec<_>>());
            let places = inverse(&grouping.order);
            prop_assert!(grouping.order.iter().enumerate().all(|(place, &cell)| places[cell] == place));
            let n_grouped: usize = grouping.groups.iter().map(|[n, size]| n * size).sum();
            prop_assert_eq!(n_grouped, plan.n_cells());
            prop_assert!(grouping.groups.len() <= 4 * grids.len(), "at most four sizes per image");
            // Two cells share a window exactly when they share an image and both coordinates divided by the side.
            let window_of = |cell: usize| plan.windows.iter().position(|window| window.contains(&cell));
            let place_of = |cell: usize| {
                let image = plan.images.iter().position(|image| image.contains(&cell)).unwrap();
                let place = cell - plan.images[image].start;
                let cols = grids[image].cols;
                (image, place / cols / side, place % cols / side)
            };
            for a in 0..plan.n_cells() {
                for b in [0, a / 2, plan.n_cells() - 1] {
                    prop_assert_eq!(window_of(a) == window_of(b), place_of(a) == place_of(b));
                }
            }
        }
    }
}
