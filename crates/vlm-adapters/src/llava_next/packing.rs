//! Which cells of an image's views are tokens, and in which order they stand.

use std::ops::Range;

use diffprune_pruner::{Area, Grid, Layout, Segment, View};
use serde::{Deserialize, Serialize};

use super::Newlines;
use crate::AnyRes;

/// Which features of an image are tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NextTokens {
    /// Those that the model itself uses: rows and columns of the map that show only the canvas's black border are cut
    /// off. The number differs from image to image.
    #[default]
    Unpadded,
    /// All features of all views: 2880 = 5 * 576 on four tiles, the number that pruning papers quote.
    All,
}

/// Options of LLaVA-NeXT alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NextOptions {
    /// Which features are tokens.
    pub tokens: NextTokens,
    /// Which newline vectors stand in the sequence.
    pub newlines: Newlines,
}

impl NextOptions {
    /// The flat sequence of pruning papers: every feature of every view, no newline.
    pub fn papers() -> Self {
        Self {
            tokens: NextTokens::All,
            newlines: Newlines::None,
        }
    }

    /// The same options with these features as tokens.
    pub fn with_tokens(self, tokens: NextTokens) -> Self {
        Self { tokens, ..self }
    }

    /// The same options with these newline vectors.
    pub fn with_newlines(self, newlines: Newlines) -> Self {
        Self { newlines, ..self }
    }
}

/// The order of the features of an image's views: first the raster of the small whole image, then the raster of the
/// map that the tiles form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packing {
    /// Cells along one side of a view.
    side: usize,
    /// The tiles.
    tiles: Grid,
    /// Rows of the map that have a place.
    rows: Range<usize>,
    /// Columns of the map that have a place.
    cols: Range<usize>,
}

impl Packing {
    /// The packing of an image of `width` by `height` pixels on a canvas of `tiles`, each of `side` by `side` cells.
    pub fn new(width: u32, height: u32, tiles: Grid, side: usize, tokens: NextTokens) -> Self {
        let (n_rows, n_cols) = (tiles.rows * side, tiles.cols * side);
        let (rows, cols) = match tokens {
            NextTokens::All => (0..n_rows, 0..n_cols),
            NextTokens::Unpadded => unpadded(width, height, n_rows, n_cols),
        };
        Self {
            side,
            tiles,
            rows,
            cols,
        }
    }

    /// Tokens of the image.
    pub fn n_tokens(&self) -> usize {
        self.side * self.side + self.rows.len() * self.cols.len()
    }

    /// Rows and columns of the map that have a place. Either may be zero for images more than 48 times as long as they
    /// are wide (72 times on a canvas of three tiles).
    pub fn map(&self) -> Grid {
        Grid {
            rows: self.rows.len(),
            cols: self.cols.len(),
        }
    }

    /// For each token the feature that it is, `view * side^2 + cell`.
    pub fn sources(&self) -> Vec<usize> {
        let cells = self.side * self.side;
        let map = self.rows.clone().flat_map(|row| {
            self.cols.clone().map(move |col| {
                let tile = row / self.side * self.tiles.cols + col / self.side;
                (1 + tile) * cells + row % self.side * self.side + col % self.side
            })
        });
        (0..cells).chain(map).collect()
    }

    /// The layout of the tokens: a segment and a view for the small whole image, a segment for the map (which
    /// may be empty), a view for each tile.
    pub fn layout(&self, width: u32, height: u32, anyres: &AnyRes) -> Layout {
        let small = Grid {
            rows: self.side,
            cols: self.side,
        };
        let segments = vec![
            Segment {
                grid: small,
                area: Area::IMAGE,
            },
            Segment {
                grid: self.map(),
                area: self.area(width, height, anyres),
            },
        ];
        let cells = self.side * self.side;
        let mut tokens = vec![None; (1 + self.tiles.n_tokens()) * cells];
        for (token, source) in self.sources().into_iter().enumerate() {
            tokens[source] = Some(token);
        }
        let view = |tokens: &[Option<usize>]| View {
            grid: small,
            tokens: tokens.to_vec(),
        };
        Layout {
            segments,
            views: tokens.chunks(cells).map(view).collect(),
        }
    }

    /// The part of the image that the map covers.
    fn area(&self, width: u32, height: u32, anyres: &AnyRes) -> Area {
        let inner = anyres.inner(width, height, self.tiles);
        let offset = anyres.offset(inner, self.tiles);
        let pixels = f64::from(anyres.side()) / self.side as f64;
        let share = |cell: usize, offset: u32, inner: u32| {
            (cell as f64 * pixels - f64::from(offset)) / f64::from(inner)
        };
        Area {
            left: share(self.cols.start, offset.0, inner.0),
            top: share(self.rows.start, offset.1, inner.1),
            right: share(self.cols.end, offset.0, inner.0),
            bottom: share(self.rows.end, offset.1, inner.1),
        }
    }
}

/// Rows and columns of a map of `n_rows` by `n_cols` cells that show the image. The border is cut alike on both
/// sides, so that one row or column of it may stay.
fn unpadded(width: u32, height: u32, n_rows: usize, n_cols: usize) -> (Range<usize>, Range<usize>) {
    let (width, height) = (f64::from(width), f64::from(height));
    let (map_width, map_height) = (n_cols as f64, n_rows as f64);
    // The rounding undoes errors of the division, which would cost a whole row.
    let whole = |x: f64| ((x * 1e7).round() / 1e7) as usize;
    let middle = |wanted: usize, n: usize| {
        let cut = n.saturating_sub(wanted) / 2;
        cut..n - cut
    };
    if width / height > map_width / map_height {
        (middle(whole(height * (map_width / width)), n_rows), 0..n_cols)
    } else {
        (0..n_rows, middle(whole(width * (map_height / height)), n_cols))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LlavaNextConfig;
    use proptest::prelude::*;

    #[test]
    fn published_counts() {
        let anyres = AnyRes::new(&LlavaNextConfig::vicuna_7b()).unwrap();
        let count = |width, height, tokens| {
            let packing = Packing::new(width, height, anyres.grid(width, height), 24, tokens);
            (packing.n_tokens(), packing.map().rows)
        };
        assert_eq!(count(640, 427, NextTokens::Unpadded), (2144 - 32, 32));
        assert_eq!(count(672, 672, NextTokens::Unpadded), (2880, 48));
        assert_eq!(count(640, 427, NextTokens::All), (2880, 48));
        assert_eq!(count(336, 336, NextTokens::Unpadded), (576 + 576, 24));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Floating point agrees with whole numbers, cells with views, and areas with pixels.
        #[test]
        fn every_token_has_one_place(width in 1u32..5000, height in 1u32..5000, all in any::<bool>()) {
            let anyres = AnyRes::new(&LlavaNextConfig::tiny()).unwrap();
            let (tiles, side) = (anyres.grid(width, height), 4);
            let tokens = if all { NextTokens::All } else { NextTokens::Unpadded };
            let packing = Packing::new(width, height, tiles, side, tokens);
            let (n_rows, n_cols) = (tiles.rows * side, tiles.cols * side);
            let (w, h) = (width as usize, height as usize);
            let kept = |wanted: usize, n: usize| n - (n - wanted) / 2 * 2;
            let map = packing.map();
            if all {
                prop_assert_eq!((map.rows, map.cols), (n_rows, n_cols));
            } else if w * n_rows > h * n_cols {
                prop_assert_eq!((map.rows, map.cols), (kept(h * n_cols / w, n_rows), n_cols));
            } else {
                prop_assert_eq!((map.rows, map.cols), (n_rows, kept(w * n_rows / h, n_cols)));
            }
            let layout = packing.layout(width, height, &anyres);
            prop_assert_eq!(layout.n_tokens(), packing.n_tokens());
            let mut seen: Vec<usize> = layout.views.iter().flat_map(|view| view.tokens.iter().flatten().copied()).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..packing.n_tokens()).collect::<Vec<_>>());
            let area = layout.segments[1].area;
            if map.n_tokens() > 0 {
                // A border of less than two cells may stay, and the cut takes no more than one cell of the image.
                let (inner, cell) = (anyres.inner(width, height, tiles), 14.0);
                for (from, to, pixels) in [(area.left, area.right, inner.0), (area.top, area.bottom, inner.1)] {
                    let limit = 2.0 * cell / f64::from(pixels);
                    if all {
                        prop_assert!(from <= 0.0 && to >= 1.0);
                    } else {
                        prop_assert!(from.abs() < limit && (to - 1.0).abs() < limit, "{from} {to}");
                    }
                }
            }
        }
    }
}
