//! From two logits per token to a decision in training, and to scores at inference.

use burn::tensor::{Bool, Tensor, activation};
use diffprune_softtopk::gumbel_softmax_ste;

/// What a predictor decides on in training.
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
