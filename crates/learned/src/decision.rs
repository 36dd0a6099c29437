//! From two logits per token to a decision in training, and to scores at inference.

use burn::tensor::{Bool, Tensor, activation};
use diffprune_softtopk::{gumbel_noise, gumbel_softmax_ste};

use crate::{GateInput, Gated};

/// The input of a predictor's decision in training.
#[derive(Debug, Clone)]
pub struct DecisionInput {
    /// `[batch, n_tokens, d]`
    pub tokens: Tensor<3>,
    /// `[batch, n_tokens]`, 1 = kept by all decisions so far. `None`: all are.
    pub keep: Option<Tensor<2>>,
    /// Standard Gumbel noise, `[batch, n_tokens, 2]`.
    pub noise: Tensor<3>,
    /// Temperature of the two-class softmax that the gradient belongs to.
    pub tau: f64,
    /// `[batch, n_tokens]`, true = real token. `None`: all are.
    pub mask: Option<Tensor<2, Bool>>,
}

/// `keep * one_hot(argmax(logits + noise))[0]`, with the straight-through gradient of the softmax at temperature `tau`.
/// A token that was dropped before stays dropped.
///
/// # Shapes
/// - logits (class 0 keeps), noise (standard Gumbel): `[batch, n_tokens, 2]`
/// - keep: `[batch, n_tokens]`, 1 = kept so far and real
/// - output: `[batch, n_tokens]`, zeros and ones
pub fn keep_decision(logits: Tensor<3>, noise: Tensor<3>, tau: f64, keep: Tensor<2>) -> Tensor<2> {
    let decision = gumbel_softmax_ste(logits, noise, tau, true);
    let keep = keep.cast(decision.dtype());
    decision * keep
}

/// Logarithm of the probability of keeping: larger is kept first.
///
/// # Shapes
/// - logits (class 0 keeps): `[batch, n_tokens, 2]`
/// - output: `[batch, n_tokens]`
pub fn keep_scores(logits: Tensor<3>) -> Tensor<2> {
    let [batch, n_tokens, _] = logits.dims();
    let class = |i: usize| logits.clone().narrow(2, i, 1).reshape([batch, n_tokens]);
    activation::log_sigmoid(class(0) - class(1))
}

/// Tokens times hard decisions, with the ratio loss of this weight: the gate of both predictors.
pub(crate) fn decided(
    input: &GateInput<'_>,
    ratio_weight: f64,
    decide: impl FnOnce(DecisionInput) -> Tensor<2>,
) -> Gated {
    let [images, n_tokens, _] = input.descriptors.dims();
    let device = input.device();
    // Token by token, so that padding changes nothing.
    let noise = (0..images)
        .map(|row| gumbel_noise([1, 2 * n_tokens], input.draws.seed(row), &device).reshape([1, n_tokens, 2]));
    let weights = decide(DecisionInput {
        tokens: input.descriptors.clone(),
        keep: None,
        noise: Tensor::cat(noise.collect(), 0),
        tau: input.tau,
        mask: input.mask.clone(),
    });
    let penalty = input.ratio_penalty(&weights, ratio_weight);
    input.scaled(weights, penalty)
}
