//! Tokens by their place alone.

use diffprune_pruner::{Grid, PruneError, Pruner, PruningContext, Segment, Selection};

use crate::registry::Baseline;

/// Keeps the first K tokens in raster order: the top of the picture.
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstK;

/// Keeps the last K tokens in raster order: the bottom of the picture.
#[derive(Debug, Clone, Copy, Default)]
pub struct LastK;

/// Keeps the K tokens nearest to the middle of the grid; ties go to the lower index.
#[derive(Debug, Clone, Copy, Default)]
pub struct Centre;

pub(crate) const FIRST_K: Baseline = Baseline::arm("first-k", "first in raster order", || Box::new(FirstK));

pub(crate) const LAST_K: Baseline = Baseline::arm("last-k", "last in raster order", || Box::new(LastK));

pub(crate) const CENTRE: Baseline =
    Baseline::arm("centre", "nearest to the middle", || Box::new(Centre)).cost("N log N");

impl Pruner for FirstK {
    fn name(&self) -> &str {
        "first-k"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        Ok(Selection::keep(
            (0..context.batch())
                .map(|row| (0..context.budget(row)).collect())
                .collect(),
        ))
    }
}

impl Pruner for LastK {
    fn name(&self) -> &str {
        "last-k"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let row = |row: usize| (context.n_tokens(row) - context.budget(row)..context.n_tokens(row)).collect();
        Ok(Selection::keep((0..context.batch()).map(row).collect()))
    }
}

impl Pruner for Centre {
    fn name(&self) -> &str {
        "centre"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let row = |row: usize| {
            let layout = &context.layouts[row];
            let shares = layout.share(context.budget(row));
            let of_segment = |((first, segment), k): ((usize, &Segment), usize)| {
                let mut order: Vec<usize> = (0..segment.grid.n_tokens()).collect();
                order.sort_by_key(|&index| fourfold_distance(index, segment.grid));
                order.truncate(k);
                order.into_iter().map(move |index| first + index)
            };
            layout.offsets().zip(shares).flat_map(of_segment).collect()
        };
        Ok(Selection::keep((0..context.batch()).map(row).collect()))
    }
}

/// Four times the squared distance of a token to the middle of the grid, a whole number.
fn fourfold_distance(index: usize, grid: Grid) -> usize {
    let from_middle = |place: usize, extent: usize| (2 * place + 1).abs_diff(extent);
    let rows = from_middle(index / grid.cols, grid.rows);
    let cols = from_middle(index % grid.cols, grid.cols);
    rows * rows + cols * cols
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tensor};
    use diffprune_pruner::Budget;

    #[test]
    fn places_are_the_named_ones() {
        let tokens = Tensor::<3>::zeros([1, 16, 2], &Device::flex());
        let context = PruningContext::new(tokens, Grid { rows: 4, cols: 4 }, &Budget::Tokens(4)).unwrap();
        assert_eq!(FirstK.select(&context).unwrap().keep_indices(0), [0, 1, 2, 3]);
        assert_eq!(LastK.select(&context).unwrap().keep_indices(0), [12, 13, 14, 15]);
        assert_eq!(Centre.select(&context).unwrap().keep_indices(0), [5, 6, 9, 10]);
    }
}
