//! Softmax of the last axis.

#[cfg(feature = "fused")]
use burn::backend::Dispatch;
use burn::tensor::{Tensor, activation};

#[cfg(feature = "fused")]
use crate::fused::{self, FusedOps};
use crate::reference::in_statistics_dtype;

/// Softmax over the last axis: `exp(x_j - max x) / sum_i exp(x_i - max x)`, sums in f32.
///
/// # Shapes
/// - `x` and output: `[.., d]`
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "fused")]
    if fused::serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_softmax(x.into_dispatch()));
    }
    composed(x)
}

/// See [`softmax`].
pub fn composed<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    in_statistics_dtype(x, |x| activation::softmax(x, D - 1))
}
