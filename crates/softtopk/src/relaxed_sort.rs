//! Relaxed sorting: the first rows of a soft permutation matrix.

use burn::tensor::{Tensor, TensorData, activation};

use crate::rank::{token_order, token_ranks};
use crate::rows::Rows;
use crate::soft::{K, SoftTopKInput};

/// The rule that makes a row of the relaxed permutation from the scores; `r` counts from 1 in descending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelaxedSort {
    /// `P_rj = softmax_j(-|s_(r) - s_j| / tau)` (Prillo and Eisenschlos, ICML 2020).
    SoftSort,
    /// `P_rj = softmax_j(((n + 1 - 2 r) s_j - sum_l |s_j - s_l|) / tau)` (Grover et al., ICLR 2019).
    NeuralSort,
}

/// `alpha = sum over r <= k of P_r`, the first `k` rows of a relaxed permutation matrix.
///
/// - Mass: exactly `k`, since every row sums to 1. A fraction of a token takes that share of the next row.
/// - Range: from 0, but **a weight can exceed 1**: columns do not sum to 1. `sqrt(1 - alpha)` does not exist then,
///   so the noise gate cannot run on it. Larger scores do not always get larger weights.
/// - Gradient: exact, by automatic differentiation of these few operations; to scores and temperature.
/// - Cost: `O(k n)` time and memory for SoftSort, `O(n^2)` for NeuralSort. With one budget per row all `n` rows of
///   the matrix are made.
///
/// `k` of at least the number of real tokens opens every gate (weight 1), `k <= 0` closes all; masked tokens have
/// weight 0 and do not count. The budget has no gradient. Scores must be finite.
///
/// # Shapes
/// - output: `[batch, n_tokens]`
pub fn relaxed_sort_topk(sort: RelaxedSort, input: SoftTopKInput) -> Tensor<2> {
    let most = match &input.k {
        K::Batch(k) => k.ceil().max(1.0) as usize,
        K::Rows(_) => usize::MAX,
    };
    let rows = Rows::new(input);
    let [batch, n_tokens] = rows.scores.dims();
    if n_tokens == 0 {
        return rows.scores;
    }
    let n_ranks = most.min(n_tokens);
    let logits = match sort {
        RelaxedSort::SoftSort => soft_sort(&rows, n_ranks),
        RelaxedSort::NeuralSort => neural_sort(&rows, n_ranks),
    };
    let logits = logits / rows.tau.clone().reshape([batch, 1, 1]);
    let logits = match &rows.mask {
        Some(mask) => {
            let padding = mask.clone().bool_not().reshape([batch, 1, n_tokens]);
            logits.mask_fill(padding.expand([batch, n_ranks, n_tokens]), -1e30)
        }
        None => logits,
    };
    let permutation = activation::softmax(logits, 2);
    // The share of each rank in the budget.
    let before = ranks_from(0, n_ranks, &rows);
    let share = (rows.k.clone().reshape([batch, 1, 1]) - before).clamp(0.0, 1.0);
    let weights = (permutation * share).sum_dim(1).reshape([batch, n_tokens]);
    rows.fix(weights, 1.0, 0.0)
}

/// `-|s_(r) - s_j|`, `[batch, n_ranks, n_tokens]`.
fn soft_sort(rows: &Rows, n_ranks: usize) -> Tensor<3> {
    let [batch, n_tokens] = rows.scores.dims();
    let order = token_order(token_ranks(rows.scores.clone(), rows.mask.clone()));
    let order = order.narrow(1, 0, n_ranks);
    let sorted = rows.scores.clone().gather(1, order).reshape([batch, n_ranks, 1]);
    (sorted - rows.scores.clone().reshape([batch, 1, n_tokens]))
        .abs()
        .neg()
}

/// `(n + 1 - 2 r) s_j - sum_l |s_j - s_l|` over real tokens, `[batch, n_ranks, n_tokens]`.
fn neural_sort(rows: &Rows, n_ranks: usize) -> Tensor<3> {
    let [batch, n_tokens] = rows.scores.dims();
    let real = rows.real();
    let count = rows.count();
    // A shift of all scores adds the same to a whole row of logits; without it they keep their digits.
    let mean = rows.scores.clone().without_autodiff().sum_dim(1) / count.clone().clamp_min(1.0);
    let scores = rows.scores.clone() - mean;
    let own = scores.clone().reshape([batch, 1, n_tokens]);
    let other = scores.reshape([batch, n_tokens, 1]);
    let apart = ((own.clone() - other).abs() * real.reshape([batch, n_tokens, 1])).sum_dim(1);
    let slope = count.reshape([batch, 1, 1]) + 1.0 - ranks_from(1, n_ranks, rows) * 2.0;
    own * slope - apart
}

/// `first, first + 1, ..`, `[1, n_ranks, 1]`.
fn ranks_from(first: usize, n_ranks: usize, rows: &Rows) -> Tensor<3> {
    let values: Vec<f64> = (first..first + n_ranks).map(|rank| rank as f64).collect();
    let device = rows.k.device();
    Tensor::from_data(
        TensorData::new(values, [1, n_ranks, 1]),
        (&device, rows.k.dtype()),
    )
}
