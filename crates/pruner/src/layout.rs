//! The layout of one image's visual tokens.

use serde::{Deserialize, Serialize};

/// Rows and columns of a raster of visual tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grid {
    /// Number of token rows.
    pub rows: usize,
    /// Number of token columns.
    pub cols: usize,
}

impl Grid {
    /// Number of tokens, `rows * cols`.
    pub fn n_tokens(&self) -> usize {
        self.rows * self.cols
    }
}

/// A rectangle in shares of the original image's width and height: 0 is its left or upper edge, 1 its right or lower
/// one. Padding around an image lies outside 0..1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Lower edge.
    pub bottom: f64,
}

impl Area {
    /// The whole image.
    pub const IMAGE: Self = Self {
        left: 0.0,
        top: 0.0,
        right: 1.0,
        bottom: 1.0,
    };

    /// The square around a centred image of `width` by `height` pixels, as padding to a square makes it.
    pub fn padded_square(width: u32, height: u32) -> Self {
        Self::centred_square(width.max(height), width, height)
    }

    /// The largest centred square of an image of `width` by `height` pixels, as cropping to a square makes it.
    pub fn cropped_square(width: u32, height: u32) -> Self {
        Self::centred_square(width.min(height), width, height)
    }

    fn centred_square(side: u32, width: u32, height: u32) -> Self {
        let part = |whole: u32| f64::from(side) / f64::from(whole.max(1));
        let (x, y) = (part(width), part(height));
        Self {
            left: (1.0 - x) / 2.0,
            top: (1.0 - y) / 2.0,
            right: (1.0 + x) / 2.0,
            bottom: (1.0 + y) / 2.0,
        }
    }

    /// The rectangle of cell (`row`, `col`) when this area is cut into `grid`.
    pub fn cell(&self, grid: Grid, row: usize, col: usize) -> Self {
        let at = |from: f64, to: f64, part: usize, parts: usize| {
            from + (to - from) * part as f64 / parts.max(1) as f64
        };
        Self {
            left: at(self.left, self.right, col, grid.cols),
            top: at(self.top, self.bottom, row, grid.rows),
            right: at(self.left, self.right, col + 1, grid.cols),
            bottom: at(self.top, self.bottom, row + 1, grid.rows),
        }
    }
}

/// A raster of tokens that stand side by side in the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Rows and columns.
    pub grid: Grid,
    /// The part of the image that the raster covers.
    pub area: Area,
}

/// The part of the image that the vision encoder saw at once: all of it, or a tile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Rows and columns of the encoder's own raster.
    pub grid: Grid,
    /// For each cell of `grid` in raster order the index of its token; `None` where the cell fell outside the image.
    pub tokens: Vec<Option<usize>>,
}

/// The tokens of one image, in sequence order.
///
/// LLaVA-1.5 and Qwen2.5-VL have one segment and one view. LLaVA-NeXT has two segments (the small whole image, then the
/// map of all tiles) and a view for the whole image and for each tile: the tokens of a tile are not neighbours in the
/// sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// Rasters, in sequence order; their tokens are all tokens.
    pub segments: Vec<Segment>,
    /// The parts that the encoder saw at once.
    pub views: Vec<View>,
}

impl Layout {
    /// One raster that covers `area`, seen at once.
    pub fn single(grid: Grid, area: Area) -> Self {
        Self {
            segments: vec![Segment { grid, area }],
            views: vec![View {
                grid,
                tokens: (0..grid.n_tokens()).map(Some).collect(),
            }],
        }
    }

    /// Number of tokens.
    pub fn n_tokens(&self) -> usize {
        self.segments.iter().map(|segment| segment.grid.n_tokens()).sum()
    }

    /// The segments with the index of their first token.
    pub fn offsets(&self) -> impl Iterator<Item = (usize, &Segment)> {
        self.segments.iter().scan(0, |next, segment| {
            let first = *next;
            *next += segment.grid.n_tokens();
            Some((first, segment))
        })
    }

    /// The part of the image that token `index` covers; `None` beyond the last token.
    pub fn area(&self, index: usize) -> Option<Area> {
        let (first, segment) = self
            .offsets()
            .find(|(first, segment)| (*first..first + segment.grid.n_tokens()).contains(&index))?;
        let (row, col) = (
            (index - first) / segment.grid.cols,
            (index - first) % segment.grid.cols,
        );
        Some(segment.area.cell(segment.grid, row, col))
    }

    /// `k` shared out among the segments in proportion to their tokens, the largest remainders first (ties to the
    /// earlier segment); no segment gets more than it has when `k` is at most the number of tokens.
    pub fn share(&self, k: usize) -> Vec<usize> {
        let total = self.n_tokens().max(1);
        let sizes = || self.segments.iter().map(|segment| segment.grid.n_tokens());
        let mut shares: Vec<usize> = sizes().map(|size| size * k / total).collect();
        let mut order: Vec<usize> = (0..shares.len()).collect();
        let remainders: Vec<usize> = sizes().map(|size| size * k % total).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(remainders[i]));
        let left = k.saturating_sub(shares.iter().sum());
        order.into_iter().take(left).for_each(|i| shares[i] += 1);
        shares
    }

    /// `k` shared out evenly among the views: the budgets of methods that choose in each tile by itself, 64 each for
    /// 320 tokens of five views. Earlier views get one more where `k` cannot be divided; what a view with few tokens
    /// cannot take (padding was cut from it) goes to the others.
    pub fn share_views(&self, k: usize) -> Vec<usize> {
        let tokens = |view: &View| view.tokens.iter().flatten().count();
        let sizes: Vec<usize> = self.views.iter().map(tokens).collect();
        let mut shares = vec![0; sizes.len()];
        // The smallest views first: what they leave is known before the larger ones are served.
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|&i| (sizes[i], std::cmp::Reverse(i)));
        let mut left = k.min(sizes.iter().sum());
        for (served, &i) in order.iter().enumerate() {
            shares[i] = sizes[i].min(left / (sizes.len() - served));
            left -= shares[i];
        }
        shares
    }
}

impl From<Grid> for Layout {
    fn from(grid: Grid) -> Self {
        Self::single(grid, Area::IMAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_up_and_follow_the_sizes() {
        let segment = |rows, cols| Segment {
            grid: Grid { rows, cols },
            area: Area::IMAGE,
        };
        let layout = Layout {
            segments: vec![segment(4, 4), segment(6, 8)],
            views: Vec::new(),
        };
        for k in 0..=64 {
            let shares = layout.share(k);
            assert_eq!(shares.iter().sum::<usize>(), k);
            assert!(shares[0] <= 16 && shares[1] <= 48);
        }
        assert_eq!(layout.share(8), [2, 6]);
    }

    #[test]
    fn views_share_evenly_as_far_as_they_can() {
        let shares = |sizes: &[usize], k| {
            let view = |&n: &usize| View {
                grid: Grid { rows: 1, cols: 600 },
                tokens: (0..600).map(|i| (i < n).then_some(i)).collect(),
            };
            let layout = Layout {
                segments: Vec::new(),
                views: sizes.iter().map(view).collect(),
            };
            layout.share_views(k)
        };
        assert_eq!(shares(&[576; 5], 320), [64; 5]);
        assert_eq!(shares(&[576; 5], 322), [65, 65, 64, 64, 64]);
        assert_eq!(shares(&[10, 2, 10], 12), [5, 2, 5]);
        assert_eq!(shares(&[10, 2, 10], 13), [6, 2, 5]);
        assert_eq!(shares(&[3, 0, 2], 9), [3, 0, 2]);
        assert_eq!(shares(&[4, 4, 4], 1), [1, 0, 0]);
    }

    #[test]
    fn tokens_know_their_place_on_the_image() {
        let grid = Grid { rows: 2, cols: 4 };
        let layout = Layout {
            segments: vec![
                Segment {
                    grid: Grid { rows: 1, cols: 1 },
                    area: Area::IMAGE,
                },
                Segment {
                    grid,
                    area: Area::padded_square(200, 100),
                },
            ],
            views: Vec::new(),
        };
        assert_eq!(layout.area(0), Some(Area::IMAGE));
        let last = layout.area(8).unwrap();
        assert_eq!(
            (last.left, last.top, last.right, last.bottom),
            (0.75, 0.5, 1.0, 1.5)
        );
        assert_eq!(layout.area(9), None);
    }
}
