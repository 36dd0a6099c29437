//! Activations, one pass over memory each.

#[cfg(feature = "fused")]
use burn::backend::Dispatch;
use burn::tensor::Tensor;

#[cfg(feature = "fused")]
use crate::fused::{self, Activation, FusedOps};
use crate::reference;

/// Slope inside the sigmoid of [`quick_gelu`], as published with the CLIP models.
pub(crate) const QUICK_GELU_SLOPE: f64 = 1.702;

/// Gaussian error linear unit: `x * Phi(x)` with `Phi` the normal distribution function (the erf form).
///
/// # Shapes
/// - `x` and output: any, the same
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "fused")]
    if fused::serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_activation(x.into_dispatch(), Activation::Gelu));
    }
    reference::gelu(x)
}

/// The sigmoid approximation of [`gelu`] that CLIP uses: `x * sigmoid(1.702 x)`.
///
/// # Shapes
/// - `x` and output: any, the same
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "fused")]
    if fused::serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_activation(
            x.into_dispatch(),
            Activation::QuickGelu,
        ));
    }
    reference::quick_gelu(x)
}

/// Sigmoid linear unit: `x * sigmoid(x)`.
///
/// # Shapes
/// - `x` and output: any, the same
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "fused")]
    if fused::serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_activation(x.into_dispatch(), Activation::Silu));
    }
    reference::silu(x)
}

/// Gated unit of the Llama family: `silu(gate) * up`, without keeping `silu(gate)`.
///
/// # Shapes
/// - `gate`, `up` and output: any, the same (no broadcasting)
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "fused")]
    if fused::serves(&gate) && fused::serves(&up) && gate.dims() == up.dims() {
        return Tensor::from_dispatch(Dispatch::fused_swiglu(gate.into_dispatch(), up.into_dispatch()));
    }
    reference::swiglu(gate, up)
}
