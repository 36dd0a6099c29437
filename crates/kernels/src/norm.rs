//! Normalisations of the last axis.

use burn::tensor::Tensor;

use crate::reference;

/// Layer normalisation of the last axis: `(x - mean) / sqrt(var + eps) * gamma + beta`, biased variance, f32 sums.
///
/// # Shapes
/// - `x` and output: `[.., d]`
/// - `gamma`, `beta`: `[d]`
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<D> {
    reference::layer_norm(x, gamma, beta, eps)
}

/// Root-mean-square normalisation of the last axis: `x / sqrt(mean(x^2) + eps) * gamma`, f32 sums.
///
/// # Shapes
/// - `x` and output: `[.., d]`
/// - `gamma`: `[d]`
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, eps: f64) -> Tensor<D> {
    reference::rms_norm(x, gamma, eps)
}
