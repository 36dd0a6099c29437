//! Normalisation of the scores of one image.

use burn::tensor::{Bool, Tensor};

/// Normalises every row to mean 0 and variance 1 over its real tokens: Eq. (1) of docs/method.md.
///
/// `z = (s - mean) / sqrt(var + eps)` with the population variance (divided by the count, not by
/// count - 1). The papers state neither the kind of variance nor `eps`; this is the choice made here.
/// Gradients flow through mean and variance. Masked tokens come out as 0 and take no part.
/// A row of equal scores comes out as zeros.
///
/// # Shapes
/// - scores, output: `[batch, n_tokens]`, float
/// - mask: `[batch, n_tokens]`, true = real token
pub fn z_score(scores: Tensor<2>, mask: Option<Tensor<2, Bool>>, eps: f64) -> Tensor<2> {
    let Some(mask) = mask else {
        let centred = scores.clone() - scores.mean_dim(1);
        let variance = (centred.clone() * centred.clone()).mean_dim(1);
        return centred / (variance + eps).sqrt();
    };
    let padding = mask.clone().bool_not();
    let real = mask.float().cast(scores.dtype());
    let count = real.clone().sum_dim(1).clamp_min(1.0);
    let scores = scores.mask_fill(padding, 0.0);
    let mean = scores.clone().sum_dim(1) / count.clone();
    let centred = (scores - mean) * real;
    let variance = (centred.clone() * centred.clone()).sum_dim(1) / count;
    centred / (variance + eps).sqrt()
}
