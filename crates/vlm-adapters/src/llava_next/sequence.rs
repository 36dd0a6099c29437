//! The part of a sequence that belongs to an image of LLaVA-NeXT.

use diffprune_pruner::{Layout, PositionRule};
use serde::{Deserialize, Serialize};

use crate::{VisualSequence, VisualSlot, VisualSource};

/// Which newline vectors, one at the end of each row of the map, stand in the sequence. They are no tokens: methods do
/// not see them, and budgets do not count them.
///
/// Kept tokens keep their places in the full sequence. In it every row has its newline under [`Newlines::All`] and
/// [`Newlines::KeptRows`], and none has under [`Newlines::None`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Newlines {
    /// All of them, whatever was kept: closest to what the model was trained on.
    #[default]
    All,
    /// Those of rows in which a token was kept.
    KeptRows,
    /// None: the flat sequence of pruning papers.
    None,
}

impl Newlines {
    /// The places of an image's tokens `keep`: the small whole image in raster order, then the map row by row, each row
    /// with its newline where there is one.
    ///
    /// Features stand in the order of `keep`; a newline stands before the first of them whose place is behind its own.
    ///
    /// # Panics
    /// When `layout` has not two segments, or no token of a kept index.
    pub fn sequence(self, layout: &Layout, keep: &[usize], rule: PositionRule) -> VisualSequence {
        let [small, map] = &layout.segments[..] else {
            panic!(
                "an image of LLaVA-NeXT has two segments, found {}",
                layout.segments.len()
            );
        };
        let (first, grid) = (small.grid.n_tokens(), map.grid);
        let stride = match self {
            Self::None => grid.cols,
            Self::All | Self::KeptRows => grid.cols + 1,
        };
        let row_of = |token: usize| token.checked_sub(first).map(|cell| cell / grid.cols);
        let mut ends: Vec<usize> = match self {
            Self::All => (0..grid.rows).collect(),
            Self::KeptRows => keep.iter().filter_map(|&token| row_of(token)).collect(),
            Self::None => Vec::new(),
        };
        ends.sort_unstable();
        ends.dedup();
        let mut ends = ends
            .into_iter()
            .map(|row| place(VisualSource::Separator, first + row * stride + grid.cols))
            .peekable();
        let mut slots = Vec::with_capacity(keep.len() + ends.len());
        for (row, &token) in keep.iter().enumerate() {
            assert!(
                token < layout.n_tokens(),
                "token {token} of {}",
                layout.n_tokens()
            );
            let at = match row_of(token) {
                None => token,
                Some(row) => first + row * stride + (token - first) % grid.cols,
            };
            while let Some(end) = ends.next_if(|end| end.offset[0] < at) {
                slots.push(end);
            }
            slots.push(place(VisualSource::Feature(row), at));
        }
        slots.extend(ends);
        let sequence = VisualSequence {
            slots,
            span: first + grid.rows * stride,
        };
        match rule {
            PositionRule::Keep => sequence,
            PositionRule::Reindex => sequence.reindexed(),
        }
    }
}

fn place(source: VisualSource, offset: usize) -> VisualSlot {
    VisualSlot {
        source,
        offset: [offset; 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune_pruner::{Area, Grid, Segment};

    /// A view of 2 by 2 cells and a map of 2 rows by 3 columns.
    fn layout() -> Layout {
        let segment = |rows, cols| Segment {
            grid: Grid { rows, cols },
            area: Area::IMAGE,
        };
        Layout {
            segments: vec![segment(2, 2), segment(2, 3)],
            views: Vec::new(),
        }
    }

    /// Offsets, newlines negated.
    fn offsets(keep: &[usize], newlines: Newlines, rule: PositionRule) -> (Vec<i64>, usize) {
        let sequence = newlines.sequence(&layout(), keep, rule);
        let sign = |source| if source == VisualSource::Separator { -1 } else { 1 };
        let offsets = sequence
            .slots
            .iter()
            .map(|slot| sign(slot.source) * slot.offset[0] as i64);
        (offsets.collect(), sequence.span)
    }

    #[test]
    fn newlines_end_the_rows_that_the_policy_names() {
        let all: Vec<usize> = (0..10).collect();
        let full = vec![0, 1, 2, 3, 4, 5, 6, -7, 8, 9, 10, -11];
        assert_eq!(
            offsets(&all, Newlines::All, PositionRule::Keep),
            (full.clone(), 12)
        );
        assert_eq!(offsets(&all, Newlines::KeptRows, PositionRule::Keep), (full, 12));
        assert_eq!(
            offsets(&all, Newlines::None, PositionRule::Keep),
            ((0..10).collect(), 10)
        );
        let keep = [1, 7, 9];
        assert_eq!(
            offsets(&keep, Newlines::All, PositionRule::Keep),
            (vec![1, -7, 8, 10, -11], 12)
        );
        assert_eq!(
            offsets(&keep, Newlines::KeptRows, PositionRule::Keep),
            (vec![1, 8, 10, -11], 12)
        );
        assert_eq!(
            offsets(&keep, Newlines::None, PositionRule::Keep),
            (vec![1, 7, 9], 10)
        );
        assert_eq!(
            offsets(&keep, Newlines::All, PositionRule::Reindex),
            (vec![0, -1, 2, 3, -4], 5)
        );
        assert_eq!(
            offsets(&[2], Newlines::KeptRows, PositionRule::Keep),
            (vec![2], 12)
        );
    }

    #[test]
    fn merged_tokens_stand_in_the_methods_order() {
        let found = offsets(&[9, 1, 4, 4], Newlines::All, PositionRule::Keep);
        assert_eq!(found, (vec![-7, 10, 1, 4, 4, -11], 12));
        let sequence = Newlines::All.sequence(&layout(), &[9, 1, 4, 4], PositionRule::Keep);
        assert_eq!(sequence.slots[1].source, VisualSource::Feature(0));
        assert_eq!(sequence.n_features(), 4);
    }
}
