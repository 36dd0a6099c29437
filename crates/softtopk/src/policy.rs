//! Attention that dropped tokens take no part in, differentiable in who is dropped.

use burn::tensor::Tensor;

use crate::soft::to_working_precision;

/// Keeps a row that no one but itself is left in from dividing 0 by 0.
const EPSILON: f64 = 1e-6;

/// Masked attention weights of DynamicViT (Rao et al., NeurIPS 2021): column `j` counts as much as `policy_j`, except
/// that every token always sees itself.
///
/// ```text
/// M_ij = policy_j + (1 - policy_j) [i = j]      e_ij = exp(a_ij - max_j a_ij) M_ij
/// out_ij = (e_ij + eps / n) / (sum_j e_ij + eps),   eps = 1e-6
/// ```
///
/// The sequence keeps its length in training, and the gradient says what each dropped token would have changed. The
/// maximum is over all columns, dropped ones included. The gradient is exact, by automatic differentiation, to logits
/// and policy. Working precision f32, or f64 when the logits are f64.
///
/// # Shapes
/// - logits: `[batch, n_heads, n_tokens, n_tokens]`, queries by keys, scaled
/// - policy: `[batch, n_tokens]`, 1 = kept, 0 = dropped or padding
/// - output: as logits; rows sum to 1
pub fn policy_softmax(logits: Tensor<4>, policy: Tensor<2>) -> Tensor<4> {
    let logits = to_working_precision(logits);
    let [batch, _, n_queries, n_tokens] = logits.dims();
    let device = logits.device().without_autodiff();
    let policy = policy.cast(logits.dtype()).reshape([batch, 1, 1, n_tokens]);
    let own = Tensor::<2>::eye(n_tokens, &device).cast(logits.dtype());
    let own = own.reshape([1, 1, n_queries, n_tokens]);
    let visible = (policy.clone().neg() + 1.0) * own + policy;
    let largest = logits.clone().max_dim(3);
    let e = (logits - largest).exp() * visible;
    let total = e.clone().sum_dim(3) + EPSILON;
    (e + EPSILON / n_tokens as f64) / total
}
