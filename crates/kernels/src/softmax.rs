//! Softmax of the last axis.

use burn::tensor::Tensor;

use crate::reference;

/// Softmax over the last axis: `exp(x_j - max x) / sum_i exp(x_i - max x)`, sums in f32.
///
/// # Shapes
/// - `x` and output: `[.., d]`
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    reference::softmax(x)
}
