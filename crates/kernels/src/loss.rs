//! Negative log-likelihood of one class per row.

use burn::tensor::{Int, Tensor};

use crate::reference;

/// Cross entropy per row, not averaged: `log sum_j exp(logits_j) - logits_target`, in f32 (in f64 for f64 logits).
///
/// # Shapes
/// - `logits`: `[rows, vocab]`
/// - `targets`: `[rows]`, each in `0..vocab`
/// - output: `[rows]`
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    reference::cross_entropy(logits, targets)
}
