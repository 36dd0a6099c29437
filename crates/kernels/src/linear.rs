//! Linear layers over a batch of sequences.

use burn::nn::Linear;
use burn::tensor::Tensor;

/// Applies `layer` to every token, seen as one long list of `b * n` rows.
///
/// Burn's gradient of the weight of a three-axis input first materialises `[b, d_in, d_out]`; with two axes it is one
/// product.
///
/// # Shapes
/// - `x`: `[b, n, d_in]`
/// - output: `[b, n, d_out]`
pub fn linear3(layer: &Linear, x: Tensor<3>) -> Tensor<3> {
    let [batch, n, d_in] = x.dims();
    let y = layer.forward::<2>(x.reshape([batch * n, d_in]));
    let [_, d_out] = y.dims();
    y.reshape([batch, n, d_out])
}
