//! Negative log-likelihood of one class per row.

#[cfg(feature = "fused")]
use burn::backend::Dispatch;
#[cfg(feature = "fused")]
use burn::tensor::DType;
use burn::tensor::{Int, Tensor, activation};

#[cfg(feature = "fused")]
use crate::fused::{self, FusedOps};
use crate::reference::statistics_dtype;

/// Cross entropy per row, not averaged: `log sum_j exp(logits_j) - logits_target`, in f32 (in f64 for f64 logits).
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `targets`: `[rows]`, each in `0..vocab`
/// - output: `[rows]`
///
/// # Panics
/// On the CPU if a target is outside the vocabulary.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    #[cfg(feature = "fused")]
    if fused::serves(&logits)
        && matches!(targets.dtype(), DType::I32 | DType::I64)
        && targets.dims() == [logits.dims()[0]]
    {
        return Tensor::from_dispatch(Dispatch::fused_cross_entropy(
            logits.into_dispatch(),
            targets.into_dispatch(),
        ));
    }
    composed(logits, targets)
}

/// See [`cross_entropy`].
pub fn composed(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let wide = statistics_dtype(logits.dtype());
    let log_probabilities = activation::log_softmax(logits.cast(wide), 1);
    log_probabilities
        .gather(1, targets.reshape([rows, 1]))
        .reshape([rows])
        .neg()
}
