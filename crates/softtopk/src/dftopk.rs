//! DFTopK: a sigmoid around the middle between two order statistics.

use burn::tensor::Tensor;

use crate::config::ThresholdKind;
use crate::family::SATURATED;
use crate::rank::token_ranks;
use crate::rows::Rows;
use crate::soft::{SoftTopKInput, SoftTopKOutput};
use crate::vjp::departure;

/// `alpha_i = sigmoid((s_i - (s_[k] + s_[k+1]) / 2) / tau)`, `s_[j]` the j-th largest score (DFTopK, Zhu et al. 2025).
///
/// - Mass: free. Half way between the two scores at the edge is not where the weights sum to `k`.
/// - Range: strictly between 0 and 1; order and differences of the scores alone matter. The noise gate can run on
///   its argument as on that of the sigmoid threshold.
/// - Gradient: exact. The threshold's part of it goes to the two tokens at the edge alone, which is noisy.
/// - Cost: a sort per row on the CPU, counts of comparisons elsewhere; no solve.
///
/// The budget is rounded to whole tokens and has no gradient. `k` of at least the number of real tokens opens every
/// gate, `k <= 0` closes all; masked tokens have weight 0 and do not count. Scores must be finite.
pub fn dftopk(input: SoftTopKInput) -> SoftTopKOutput {
    let rows = Rows::whole(input);
    let scores = rows.scores.clone();
    let [batch, n_tokens] = scores.dims();
    let ranks = token_ranks(scores.clone(), rows.mask.clone())
        .float()
        .cast(scores.dtype());
    let score_at = |rank: Tensor<2>| {
        let there = ranks.clone().equal(rank.expand([batch, n_tokens]));
        let only = there.float().cast(scores.dtype());
        (scores.clone() * only).sum_dim(1)
    };
    let threshold = (score_at(rows.k.clone() - 1.0) + score_at(rows.k.clone())) * 0.5;
    let argument = (scores.clone() - threshold.clone()) / rows.tau.clone();
    let argument = rows.fix(argument, SATURATED, -SATURATED);
    let value = argument.clone().without_autodiff();
    let (weights, complement) = ThresholdKind::Sigmoid.weights(value.clone());
    if !argument.is_autodiff() {
        return SoftTopKOutput {
            weights,
            complement,
            threshold,
            argument,
        };
    }
    let slope = ThresholdKind::Sigmoid.slope(value, weights.clone(), complement.clone());
    let moved = departure(argument.clone()) * slope;
    SoftTopKOutput {
        weights: moved.clone() + weights,
        complement: moved.neg() + complement,
        threshold,
        argument,
    }
}
