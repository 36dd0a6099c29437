//! Normalisations of the last axis.

use burn::tensor::{Shape, Tensor};

use super::{in_statistics_dtype, statistics_dtype};

/// See [`crate::layer_norm`].
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<D> {
    let wide = statistics_dtype(x.dtype());
    in_statistics_dtype(x, |x| {
        let centred = x.clone() - x.mean_dim(D - 1);
        let variance = (centred.clone() * centred.clone()).mean_dim(D - 1);
        let normal = centred / (variance + eps).sqrt();
        normal * along_last(gamma.cast(wide)) + along_last(beta.cast(wide))
    })
}

/// See [`crate::rms_norm`].
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, eps: f64) -> Tensor<D> {
    let wide = statistics_dtype(x.dtype());
    in_statistics_dtype(x, |x| {
        let mean_square = (x.clone() * x.clone()).mean_dim(D - 1);
        x / (mean_square + eps).sqrt() * along_last(gamma.cast(wide))
    })
}

/// `[d]` to `[1, .., 1, d]`.
fn along_last<const D: usize>(x: Tensor<1>) -> Tensor<D> {
    let [width] = x.dims();
    let mut shape = [1; D];
    shape[D - 1] = width;
    x.reshape(Shape::from(shape))
}
