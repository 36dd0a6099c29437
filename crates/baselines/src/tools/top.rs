//! Scores to the host, and the indices of the best.

use burn::tensor::{DType, Tensor};
use diffprune_pruner::{PruneError, PruningContext};

/// The scores of each image's real tokens, in f32.
///
/// # Shapes
/// - scores: `[b, n]`
///
/// # Errors
/// [`PruneError::Shape`] when the scores do not belong to these tokens, [`PruneError::NotFinite`] when a real token has
/// no finite score.
pub fn host_scores(
    context: &PruningContext,
    scores: Tensor<2>,
    method: &str,
    what: &'static str,
) -> Result<Vec<Vec<f32>>, PruneError> {
    let [batch, width] = scores.dims();
    let [wanted_batch, wanted_width, _] = context.tokens.dims();
    if batch != wanted_batch {
        return Err(PruneError::Shape {
            what: "rows of scores",
            found: batch,
            wanted: wanted_batch,
        });
    }
    if width != wanted_width {
        return Err(PruneError::Shape {
            what: "scores of an image",
            found: width,
            wanted: wanted_width,
        });
    }
    let values: Vec<f32> = scores
        .into_data()
        .convert_dtype(DType::F32)
        .iter::<f32>()
        .collect();
    let rows: Vec<Vec<f32>> = (0..batch)
        .map(|row| values[row * width..row * width + context.n_tokens(row)].to_vec())
        .collect();
    match rows
        .iter()
        .position(|row| row.iter().any(|score| !score.is_finite()))
    {
        Some(row) => Err(PruneError::NotFinite {
            method: method.to_string(),
            what,
            row,
        }),
        None => Ok(rows),
    }
}

/// The `k` places with the highest scores; among equals those that stand first in `ties`.
pub fn highest(scores: &[f32], k: usize, mut ties: Vec<usize>) -> Vec<usize> {
    if k < ties.len() / 2 {
        // Sorting only what stays gives the same.
        let mut places: Vec<usize> = (0..ties.len()).collect();
        let order = |a: &usize, b: &usize| scores[ties[*b]].total_cmp(&scores[ties[*a]]).then(a.cmp(b));
        places.select_nth_unstable_by(k, order);
        places.truncate(k);
        places.sort_unstable_by(order);
        return places.into_iter().map(|place| ties[place]).collect();
    }
    ties.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    ties.truncate(k);
    ties
}

/// The `k` places with the highest scores; ties go to the lower place.
pub(crate) fn top_k(scores: &[f32], k: usize) -> Vec<usize> {
    highest(scores, k, (0..scores.len()).collect())
}

/// Values scaled to 0..1, with `epsilon` added before the division; all 1 when there are no differences.
pub(crate) fn min_max(values: &[f32], epsilon: f32) -> Vec<f32> {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if most <= least {
        return vec![1.0; values.len()];
    }
    let scale = |&value: &f32| (value - least + epsilon) / (most - least);
    values.iter().map(scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_first_named() {
        let scores = [1.0, 3.0, 3.0, 2.0, 3.0];
        assert_eq!(highest(&scores, 2, (0..5).collect()), [1, 2]);
        assert_eq!(highest(&scores, 2, (0..5).rev().collect()), [4, 2]);
        assert_eq!(highest(&scores, 4, (0..5).collect()), [1, 2, 4, 3]);
        let scores: Vec<f32> = (0..50).map(|i| ((i * 7) % 11) as f32).collect();
        let all = highest(&scores, 50, (0..50).collect());
        for k in 0..50 {
            assert_eq!(highest(&scores, k, (0..50).collect()), all[..k]);
        }
    }
}
