//! Negative log-likelihood of one class per row.

use burn::tensor::{Int, Tensor, activation};

use super::statistics_dtype;

/// See [`crate::cross_entropy`].
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows, _] = logits.dims();
    let wide = statistics_dtype(logits.dtype());
    let log_probabilities = activation::log_softmax(logits.cast(wide), 1);
    log_probabilities
        .gather(1, targets.reshape([rows, 1]))
        .reshape([rows])
        .neg()
}
