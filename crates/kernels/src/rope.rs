//! Rotary position embedding in the rotate-half convention of the Llama and Qwen checkpoints.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use crate::fused::{self, FusedOps};
use crate::reference;

/// Cosines and sines of `position * theta^(-2 j / head_dim)` for `j` in `0..head_dim / 2`, in f32.
///
/// # Shapes
/// - `position_ids`: `[b, n]`
/// - outputs: `[b, n, head_dim / 2]` each
pub fn rope_tables(position_ids: Tensor<2, Int>, head_dim: usize, theta: f64) -> (Tensor<3>, Tensor<3>) {
    reference::rope_tables(position_ids, head_dim, theta)
}

/// Turns the pair `(x_j, x_(j + d/2))` by the angle of the tables: `(x_j cos - x_(j+d/2) sin, x_(j+d/2) cos + x_j sin)`.
///
/// The tables are constants: no gradient flows into them.
///
/// # Shapes
/// - `x` and output: `[b, n, h, d]`, `d` even
/// - `cos`, `sin`: `[b, n, d / 2]`, or `[1, n, d / 2]` for all of a batch
pub fn rope_halves(x: Tensor<4>, cos: Tensor<3>, sin: Tensor<3>) -> Tensor<4> {
    let [batch, n, _, d] = x.dims();
    let fits = |y: &Tensor<3>| {
        fused::serves(y)
            && matches!(y.dims(), [b, m, half] if (b == batch || b == 1) && m == n && 2 * half == d)
    };
    if !(fused::serves(&x) && fits(&cos) && fits(&sin) && cos.dims() == sin.dims()) {
        return reference::rope_halves(x, cos, sin);
    }
    let (cos, sin) = (
        cos.without_autodiff().into_dispatch(),
        sin.without_autodiff().into_dispatch(),
    );
    Tensor::from_dispatch(Dispatch::fused_rope(x.into_dispatch(), cos, sin, false))
}
