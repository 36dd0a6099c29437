//! Layouts for tests.

use diffprune_pruner::{Area, Grid, Layout, Segment, View};

/// LLaVA-NeXT: the whole image as `side` by `side` tokens, and `tiles` of as many that are stitched and cut to the shape
/// of an image of `height` by `width`.
pub fn next_layout(tiles: Grid, side: usize, height: usize, width: usize) -> Layout {
    let (rows, cols) = (tiles.rows * side, tiles.cols * side);
    let (mut top, mut left) = (0, 0);
    if width * rows > height * cols {
        top = (rows - height * cols / width) / 2;
    } else {
        left = (cols - width * rows / height) / 2;
    }
    let square = Grid {
        rows: side,
        cols: side,
    };
    let map = Grid {
        rows: rows - 2 * top,
        cols: cols - 2 * left,
    };
    let first = square.n_tokens();
    let whole = View {
        grid: square,
        tokens: (0..first).map(Some).collect(),
    };
    let tile = |tile: usize| {
        let cell = |cell: usize| {
            let row = (tile / tiles.cols * side + cell / side).checked_sub(top)?;
            let col = (tile % tiles.cols * side + cell % side).checked_sub(left)?;
            (row < map.rows && col < map.cols).then(|| first + row * map.cols + col)
        };
        View {
            grid: square,
            tokens: (0..first).map(cell).collect(),
        }
    };
    let segment = |grid| Segment {
        grid,
        area: Area::IMAGE,
    };
    Layout {
        segments: vec![segment(square), segment(map)],
        views: std::iter::once(whole)
            .chain((0..tiles.n_tokens()).map(tile))
            .collect(),
    }
}
