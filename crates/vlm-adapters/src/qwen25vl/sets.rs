//! The sets of patches that attend to one another, on the device.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffprune_kernels::rope_tables;

use super::WindowPlan;
use super::windows::{Grouping, inverse};

/// Base of the rotary frequencies.
const ROPE_THETA: f64 = 1e4;
/// Attention weights of one piece, should a device hold them.
const MAX_WEIGHTS: usize = 1 << 24;

/// The way of a batch of images through the tower. Inside it, cells stand window by window, windows of one size side
/// by side, so that only blocks over whole images rearrange anything.
pub(super) struct Tour {
    shuffle: Shuffle,
    /// Sets of blocks with windows.
    pub(super) windows: Sets,
    /// Sets of blocks with full attention.
    pub(super) images: Sets,
}

/// Patches that attend to one another, in groups of sets of one size.
pub(super) struct Sets {
    shuffle: Shuffle,
    /// Number of sets and patches of one set, group after group.
    groups: Vec<[usize; 2]>,
    /// Cosines of the rotary angles in the order of the sets, `[1, patches, head_dim / 2]`.
    pub(super) cos: Tensor<3>,
    /// Their sines.
    pub(super) sin: Tensor<3>,
    /// Most attention weights of a piece.
    pub(super) max_weights: usize,
}

/// A permutation of cells that takes their patches along; `None` is the identity.
struct Shuffle {
    patches_per_cell: usize,
    there_and_back: Option<[Tensor<1, Int>; 2]>,
}

/// One call of attention: whole sets, or some queries of one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    n_sets: usize,
    queries: Range<usize>,
    /// Patches that are seen.
    pub(super) keys: Range<usize>,
}

impl Tour {
    /// The way of the images of `plan`.
    pub(super) fn new(plan: &WindowPlan, turns: &Turns, device: &Device) -> Self {
        let group = turns.patches_per_cell;
        let windows = Grouping::new(plan.windows.clone());
        let places = inverse(&windows.order);
        let image = |cells: &Range<usize>| places[cells.clone()].to_vec();
        let images = Grouping::new(plan.images.iter().map(image));
        let image_order: Vec<usize> = images.order.iter().map(|&place| windows.order[place]).collect();
        let identity = Shuffle::new(&(0..plan.n_cells()).collect::<Vec<_>>(), group, device);
        Self {
            shuffle: Shuffle::new(&windows.order, group, device),
            images: Sets::new(
                Shuffle::new(&images.order, group, device),
                images.groups,
                turns.tables(&image_order, device),
            ),
            windows: Sets::new(identity, windows.groups, turns.tables(&windows.order, device)),
        }
    }

    /// From the order of the input to that of the tour, `[patches, d]`.
    pub(super) fn enter(&self, x: Tensor<2>) -> Tensor<2> {
        self.shuffle.apply(x, 0)
    }

    /// From the order of the tour to that of the input, `[patches, d]`.
    pub(super) fn leave(&self, x: Tensor<2>) -> Tensor<2> {
        self.shuffle.apply(x, 1)
    }
}

impl Sets {
    /// All patches as one set, in the order given.
    #[cfg(test)]
    pub(super) fn in_given_order(turns: &Turns, device: &Device) -> Self {
        let group = turns.patches_per_cell;
        let order: Vec<usize> = (0..turns.places.len() / group).collect();
        Self::new(
            Shuffle::new(&order, group, device),
            vec![[1, order.len()]],
            turns.tables(&order, device),
        )
    }

    fn new(shuffle: Shuffle, groups: Vec<[usize; 2]>, [cos, sin]: [Tensor<3>; 2]) -> Self {
        let group = shuffle.patches_per_cell;
        Self {
            shuffle,
            groups: groups.into_iter().map(|[n, size]| [n, size * group]).collect(),
            cos,
            sin,
            max_weights: MAX_WEIGHTS,
        }
    }

    /// From the order of the tour to that of the sets, `[patches, d]`.
    pub(super) fn enter(&self, x: Tensor<2>) -> Tensor<2> {
        self.shuffle.apply(x, 0)
    }

    /// From the order of the sets to that of the tour, `[patches, d]`.
    pub(super) fn leave(&self, x: Tensor<2>) -> Tensor<2> {
        self.shuffle.apply(x, 1)
    }

    /// The calls of attention that cover all queries in order. Each holds as many whole sets as `max_weights` allows,
    /// or else some queries of one set.
    pub(super) fn pieces(&self, n_heads: usize) -> Vec<Piece> {
        let (mut pieces, mut start) = (Vec::new(), 0);
        for &[n_sets, size] in &self.groups {
            let end = start + n_sets * size;
            let sets_at_once = (self.max_weights / (n_heads * size * size)).clamp(1, n_sets);
            let rows_at_once = (self.max_weights / (n_heads * size)).clamp(1, size);
            for first in (start..end).step_by(sets_at_once * size) {
                let keys = first..(first + sets_at_once * size).min(end);
                let n_sets = keys.len() / size;
                let step = if n_sets == 1 { rows_at_once } else { keys.len() };
                let piece = |row: usize| Piece {
                    n_sets,
                    queries: row..(row + step).min(keys.end),
                    keys: keys.clone(),
                };
                pieces.extend(keys.clone().step_by(step).map(piece));
            }
            start = end;
        }
        pieces
    }
}

impl Piece {
    /// The queries among those of all patches: `[1, patches, h, d]` to `[n_sets, rows, h, d]`.
    pub(super) fn queries(&self, q: &Tensor<4>) -> Tensor<4> {
        self.take(q, &self.queries)
    }

    /// The keys (or values) among those of all patches: `[1, patches, h, d]` to `[n_sets, size, h, d]`.
    pub(super) fn keys(&self, k: &Tensor<4>) -> Tensor<4> {
        self.take(k, &self.keys)
    }

    fn take(&self, x: &Tensor<4>, range: &Range<usize>) -> Tensor<4> {
        let [_, _, n_heads, head_dim] = x.dims();
        x.clone().narrow(1, range.start, range.len()).reshape([
            self.n_sets,
            range.len() / self.n_sets,
            n_heads,
            head_dim,
        ])
    }
}

impl Shuffle {
    /// The permutation that puts cell `order[i]` at place `i`.
    fn new(order: &[usize], patches_per_cell: usize, device: &Device) -> Self {
        let is_identity = order.iter().enumerate().all(|(place, &cell)| place == cell);
        let there_and_back = || [indices(order, device), indices(&inverse(order), device)];
        Self {
            patches_per_cell,
            there_and_back: (!is_identity).then(there_and_back),
        }
    }

    fn apply(&self, x: Tensor<2>, direction: usize) -> Tensor<2> {
        let Some(there_and_back) = &self.there_and_back else {
            return x;
        };
        let [n_patches, width] = x.dims();
        let group = self.patches_per_cell;
        x.reshape([n_patches / group, group * width])
            .select(0, there_and_back[direction].clone())
            .reshape([n_patches, width])
    }
}

/// The factors of the rotary angles.
pub(super) struct Turns {
    /// Row and column of every patch, in the order given.
    pub(super) places: Vec<(usize, usize)>,
    pub(super) patches_per_cell: usize,
    pub(super) head_dim: usize,
}

impl Turns {
    /// Cosines and sines for cells in `order`: the first half of the frequencies follows the row, the second the
    /// column.
    fn tables(&self, order: &[usize], device: &Device) -> [Tensor<3>; 2] {
        let patches = || {
            let group = self.patches_per_cell;
            let patches = move |&cell: &usize| &self.places[cell * group..][..group];
            order.iter().flat_map(patches)
        };
        let rows = patches().map(|&(row, _)| row as i64);
        let positions: Vec<i64> = rows.chain(patches().map(|&(_, col)| col as i64)).collect();
        let n_patches = positions.len() / 2;
        let positions = Tensor::<2, Int>::from_data(TensorData::new(positions, [2, n_patches]), device);
        let (cos, sin) = rope_tables(positions, self.head_dim / 2, ROPE_THETA);
        [cos, sin].map(|table| Tensor::cat(vec![table.clone().narrow(0, 0, 1), table.narrow(0, 1, 1)], 2))
    }
}

/// Whole numbers on a device, for choosing rows.
pub(super) fn indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune_pruner::Grid;

    #[test]
    fn pieces_hold_whole_sets_or_rows_of_one() {
        let plan = WindowPlan::new(&[Grid { rows: 2, cols: 3 }], 1);
        let turns = Turns {
            places: vec![(0, 0); 24],
            patches_per_cell: 4,
            head_dim: 8,
        };
        let mut tour = Tour::new(&plan, &turns, &Device::flex());
        let ranges = |sets: &Sets, n_heads: usize| -> Vec<_> {
            let pieces = sets.pieces(n_heads).into_iter();
            pieces
                .map(|piece| (piece.n_sets, piece.queries, piece.keys))
                .collect()
        };
        assert_eq!(ranges(&tour.windows, 2), [(6, 0..24, 0..24)]);
        tour.windows.max_weights = 4 * 2 * 16;
        assert_eq!(ranges(&tour.windows, 2), [(4, 0..16, 0..16), (2, 16..24, 16..24)]);
        tour.images.max_weights = 10 * 2 * 24;
        let all = 0..24;
        let wanted = [0..10, 10..20, 20..24].map(|rows| (1, rows, all.clone()));
        assert_eq!(ranges(&tour.images, 2), wanted);
    }
}
