//! Rotary position embedding in the rotate-half convention of the Llama and Qwen checkpoints.

#[cfg(feature = "fused")]
use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

#[cfg(feature = "fused")]
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
    #[cfg(feature = "fused")]
    if fused::serves(&x) && turns(&cos, &x) && turns(&sin, &x) && cos.dims() == sin.dims() {
        let (cos, sin) = (
            cos.without_autodiff().into_dispatch(),
            sin.without_autodiff().into_dispatch(),
        );
        return Tensor::from_dispatch(Dispatch::fused_rope(x.into_dispatch(), cos, sin, false));
    }
    reference::rope_halves(x, cos, sin)
}

/// `true` if the fused form takes `table` for `x`.
#[cfg(feature = "fused")]
fn turns(table: &Tensor<3>, x: &Tensor<4>) -> bool {
    let ([batch, n, _, d], [rows, m, half]) = (x.dims(), table.dims());
    fused::serves(table) && (rows == batch || rows == 1) && m == n && 2 * half == d
}
