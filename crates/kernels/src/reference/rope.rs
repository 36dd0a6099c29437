//! Rotary position embedding, rotate-half convention.

use burn::tensor::{DType, FloatDType, Int, Tensor, TensorData};

use super::in_statistics_dtype;

/// See [`crate::rope_tables`].
pub fn rope_tables(position_ids: Tensor<2, Int>, head_dim: usize, theta: f64) -> (Tensor<3>, Tensor<3>) {
    let half = head_dim / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|j| theta.powf(-2.0 * j as f64 / head_dim as f64) as f32)
        .collect();
    let device = position_ids.device();
    let frequencies =
        Tensor::<3>::from_data(TensorData::new(frequencies, [1, 1, half]), (&device, DType::F32));
    let positions: Tensor<3> = position_ids.cast(FloatDType::F32).unsqueeze_dim(2);
    let angles = positions * frequencies;
    (angles.clone().cos(), angles.sin())
}

/// See [`crate::rope_halves`].
pub fn rope_halves(x: Tensor<4>, cos: Tensor<3>, sin: Tensor<3>) -> Tensor<4> {
    let [batch, n, heads, head_dim] = x.dims();
    let half = head_dim / 2;
    let wide = super::statistics_dtype(x.dtype());
    let cos: Tensor<4> = cos.cast(wide).without_autodiff().unsqueeze_dim(2);
    let sin: Tensor<4> = sin.cast(wide).without_autodiff().unsqueeze_dim(2);
    in_statistics_dtype(x, |x| {
        let first = x.clone().slice([0..batch, 0..n, 0..heads, 0..half]);
        let second = x.slice([0..batch, 0..n, 0..heads, half..head_dim]);
        let rotated_first = first.clone() * cos.clone() - second.clone() * sin.clone();
        let rotated_second = second * cos + first * sin;
        Tensor::cat(vec![rotated_first, rotated_second], 3)
    })
}
