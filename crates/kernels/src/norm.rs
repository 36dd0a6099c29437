//! Normalisations of the last axis.

#[cfg(feature = "fused")]
use burn::backend::Dispatch;
use burn::tensor::Tensor;

#[cfg(feature = "fused")]
use crate::fused::{self, FusedOps};
use crate::reference;

/// Layer normalisation of the last axis: `(x - mean) / sqrt(var + eps) * gamma + beta`, biased variance, f32 sums.
///
/// # Shapes
/// - `x` and output: `[.., d]`
/// - `gamma`, `beta`: `[d]`
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<D> {
    #[cfg(feature = "fused")]
    if fused::serves(&x) && fused::serves_row(&gamma, &x) && fused::serves_row(&beta, &x) {
        let (gamma, beta) = (gamma.into_dispatch(), beta.into_dispatch());
        return Tensor::from_dispatch(Dispatch::fused_layer_norm(x.into_dispatch(), gamma, beta, eps));
    }
    reference::layer_norm(x, gamma, beta, eps)
}

/// Root-mean-square normalisation of the last axis: `x / sqrt(mean(x^2) + eps) * gamma`, f32 sums.
///
/// # Shapes
/// - `x` and output: `[.., d]`
/// - `gamma`: `[d]`
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, eps: f64) -> Tensor<D> {
    #[cfg(feature = "fused")]
    if fused::serves(&x) && fused::serves_row(&gamma, &x) {
        return Tensor::from_dispatch(Dispatch::fused_rms_norm(
            x.into_dispatch(),
            gamma.into_dispatch(),
            eps,
        ));
    }
    reference::rms_norm(x, gamma, eps)
}
