//! Composed forms of every operator: the oracle of the fused ones, and the path on devices without them.
//!
//! Same signatures as the functions at the root of the crate. Where a form is short it stands beside the fused one. Only operators that every Burn device has are used,
//! nothing is read back to the host, and statistics are kept in f32 (in f64 for f64 inputs).

mod activation;
mod attention;
mod norm;
mod rope;

pub use activation::{gelu, quick_gelu, silu, swiglu};
pub use attention::{attention, attention_rows};
pub use norm::{layer_norm, rms_norm};
pub use rope::{rope_halves, rope_tables};

pub use crate::loss::composed as cross_entropy;
pub use crate::softmax::composed as softmax;

use burn::tensor::{DType, FloatDType, Tensor};

/// The type in which sums over an axis are kept: f64 stays f64, everything else becomes f32.
pub(crate) fn statistics_dtype(dtype: DType) -> FloatDType {
    match dtype {
        DType::F64 => FloatDType::F64,
        _ => FloatDType::F32,
    }
}

/// Runs `f` in the statistics type of `x` and casts its output back to the type of `x`.
pub(crate) fn in_statistics_dtype<const D: usize, const E: usize>(
    x: Tensor<D>,
    f: impl FnOnce(Tensor<D>) -> Tensor<E>,
) -> Tensor<E> {
    let dtype = x.dtype();
    let wide = statistics_dtype(dtype);
    f(x.cast(wide)).cast(FloatDType::from(dtype))
}
