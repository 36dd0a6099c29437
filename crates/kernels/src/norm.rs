//! Normalisations of the last axis.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::fused::{self, FusedOps};
use crate::reference;

/// Layer normalisation of the last axis: `(x - mean) / sqrt(var + eps) * gamma + beta`, biased variance, f32 sums.
///
/// # Shapes
/// - `x` and output: `[.., d]`
/// - `gamma`, `beta`: `[d]`
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<D> {
    let width = x.dims()[D - 1];
    let fits = |y: &Tensor<1>| fused::serves(y) && y.dims() == [width];
    if !(fused::serves(&x) && fits(&gamma) && fits(&beta)) {
        return reference::layer_norm(x, gamma, beta, eps);
    }
    let (gamma, beta) = (gamma.into_dispatch(), beta.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_layer_norm(x.into_dispatch(), gamma, beta, eps))
}

/// Root-mean-square normalisation of the last axis: `x / sqrt(mean(x^2) + eps) * gamma`, f32 sums.
///
/// # Shapes
/// - `x` and output: `[.., d]`
/// - `gamma`: `[d]`
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, eps: f64) -> Tensor<D> {
    let width = x.dims()[D - 1];
    if !(fused::serves(&x) && fused::serves(&gamma) && gamma.dims() == [width]) {
        return reference::rms_norm(x, gamma, eps);
    }
    Tensor::from_dispatch(Dispatch::fused_rms_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        eps,
    ))
}
