//! The operators as an extension of Burn's backends.
//!
//! To serve another device, list it in the attribute, implement both traits for its backend, and let `serves` say so.

use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

use super::AttentionForm;

/// The activations with a fused form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FusedActivation {
    /// `x Phi(x)`
    Gelu,
    /// `x sigmoid(1.702 x)`
    QuickGelu,
    /// `x sigmoid(x)`
    Silu,
}

/// Forward passes; under autodiff they record their own backward step.
#[backend_extension(Autodiff, Flex)]
pub(crate) trait FusedOps: Backend {
    fn fused_activation(x: FloatTensor<Self>, kind: FusedActivation) -> FloatTensor<Self>;
    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    fn fused_rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
    fn fused_cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self>;
    /// `inverse` turns by the negative angle, which is the gradient.
    fn fused_rope(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        inverse: bool,
    ) -> FloatTensor<Self>;
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        form: AttentionForm,
    ) -> FloatTensor<Self>;
    /// A function of its own: the attribute does not take optional tensors.
    fn fused_masked_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: BoolTensor<Self>,
        form: AttentionForm,
    ) -> FloatTensor<Self>;
}

/// The backward steps of a backend. `stats` are a few numbers per row that forward leaves behind.
pub(crate) trait FusedGrads: FusedOps {
    fn activation_grad(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kind: FusedActivation,
    ) -> FloatTensor<Self>;
    /// Gradients of gate and up.
    fn swiglu_grad(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// From the output `p` of the softmax.
    fn softmax_grad(p: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Output and stats.
    fn layer_norm_with_stats(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Gradients of x, gamma and beta.
    fn layer_norm_grad(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    /// Output and stats.
    fn rms_norm_with_stats(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Gradients of x and gamma.
    fn rms_norm_grad(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Output and `log sum exp` per row.
    fn cross_entropy_with_stats(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Gradient of the logits.
    fn cross_entropy_grad(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        stats: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// Output and `log sum exp` per row.
    fn attention_with_stats(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: Option<BoolTensor<Self>>,
        form: AttentionForm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Gradients of queries, keys and values, as far as wanted.
    fn attention_grad(saved: SavedAttention<Self>, grad: FloatTensor<Self>)
    -> [Option<FloatTensor<Self>>; 3];
}

/// The tensors that attention keeps from its forward pass for its backward pass.
#[derive(Clone, Debug)]
pub(crate) struct SavedAttention<B: Backend> {
    /// Queries, keys and values as they went in.
    pub(crate) inputs: [FloatTensor<B>; 3],
    /// Which keys may be seen, `[b, m]`.
    pub(crate) mask: Option<BoolTensor<B>>,
    /// The result.
    pub(crate) output: FloatTensor<B>,
    /// `log sum exp` of every row, `[b, h, n]`.
    pub(crate) lse: FloatTensor<B>,
    /// Scale and masks.
    pub(crate) form: AttentionForm,
    /// Which of the three gradients are wanted.
    pub(crate) wanted: [bool; 3],
}
