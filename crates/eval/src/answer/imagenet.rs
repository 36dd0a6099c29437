//! The test without a language model: class scores, and scores of one grid on the patches of another.

use diffprune_pruner::Grid;
use serde::{Deserialize, Serialize};

/// The way from a selection on one grid to a set of patches of a coarser one. The paper does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchRule {
    /// The `k` best tokens; a patch is kept when the token at the floor of its scaled index is.
    MaskNearest,
    /// The `k` best tokens; a patch is kept when any of them overlaps it.
    MaskArea,
    /// The score map resized (bilinear, half-pixel centres, no antialias), then the `k` best patches: exactly `k`.
    #[default]
    ScoreTopk,
}

/// The patches of grid `to` that are kept, ascending, from one score per token of grid `from` in raster order.
///
/// With [`PatchRule::ScoreTopk`] there are exactly `k` (or all); with the others their number differs, and may be 0.
///
/// # Panics
/// When there is not one score per token.
pub fn patches(scores: &[f32], from: Grid, to: Grid, k: usize, rule: PatchRule) -> Vec<usize> {
    assert_eq!(scores.len(), from.n_tokens(), "one score per token");
    let best = |values: &[f32]| {
        let mut best = top_k(values, k);
        best.sort_unstable();
        best
    };
    let mask = || {
        let mut mask = vec![0.0; scores.len()];
        top_k(scores, k).into_iter().for_each(|token| mask[token] = 1.0);
        mask
    };
    let kept = |values: Vec<f32>| (0..values.len()).filter(|&patch| values[patch] > 0.0).collect();
    match rule {
        PatchRule::MaskNearest => kept(resize_nearest(&mask(), from, to)),
        PatchRule::MaskArea => kept(resize_area(&mask(), from, to)),
        PatchRule::ScoreTopk => best(&resize_bilinear(scores, from, to)),
    }
}

/// The places of the `k` largest values, largest first; equal values in order of place. NaN is smaller than all.
pub fn top_k(values: &[f32], k: usize) -> Vec<usize> {
    let value = |place: usize| {
        let value = values[place];
        if value.is_nan() { f32::NEG_INFINITY } else { value }
    };
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|&a, &b| value(b).total_cmp(&value(a)));
    places.truncate(k);
    places
}

/// True when the class is among the best `k`.
pub fn is_in_top_k(logits: &[f32], class: usize, k: usize) -> bool {
    top_k(logits, k).contains(&class)
}

/// Each value of the new grid from the token at the floor of the scaled index.
pub fn resize_nearest(values: &[f32], from: Grid, to: Grid) -> Vec<f32> {
    let source = |i: usize, from: usize, to: usize| (i * from / to).min(from.saturating_sub(1));
    fill(to, |row, col| {
        values[source(row, from.rows, to.rows) * from.cols + source(col, from.cols, to.cols)]
    })
}

/// Each value of the new grid by bilinear interpolation at half-pixel centres, edges repeated, no antialias.
pub fn resize_bilinear(values: &[f32], from: Grid, to: Grid) -> Vec<f32> {
    /// The two neighbours of a place and the weight of the second.
    fn neighbours(i: usize, from: usize, to: usize) -> (usize, usize, f64) {
        let place = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let first = (place as usize).min(from.saturating_sub(1));
        (
            first,
            (first + 1).min(from.saturating_sub(1)),
            place - first as f64,
        )
    }
    fill(to, |row, col| {
        let (top, bottom, down) = neighbours(row, from.rows, to.rows);
        let (left, right, across) = neighbours(col, from.cols, to.cols);
        let at = |row: usize, col: usize| f64::from(values[row * from.cols + col]);
        let upper = (1.0 - across) * at(top, left) + across * at(top, right);
        let lower = (1.0 - across) * at(bottom, left) + across * at(bottom, right);
        ((1.0 - down) * upper + down * lower) as f32
    })
}

/// Each value of the new grid as the mean of the tokens that it overlaps.
pub fn resize_area(values: &[f32], from: Grid, to: Grid) -> Vec<f32> {
    let span = |i: usize, from: usize, to: usize| (i * from / to)..((i + 1) * from).div_ceil(to);
    fill(to, |row, col| {
        let (rows, cols) = (span(row, from.rows, to.rows), span(col, from.cols, to.cols));
        let count = (rows.len() * cols.len()) as f32;
        let sum: f32 = rows
            .flat_map(|row| cols.clone().map(move |col| values[row * from.cols + col]))
            .sum();
        sum / count
    })
}

fn fill(grid: Grid, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    (0..grid.n_tokens())
        .map(|place| value(place / grid.cols, place % grid.cols))
        .collect()
}
