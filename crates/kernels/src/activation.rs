//! Activations, one pass over memory each.

#[cfg(feature = "fused")]
use burn::backend::Dispatch;
use burn::config::Config;
use burn::tensor::{Tensor, activation};

#[cfg(feature = "fused")]
use crate::fused::{self, FusedActivation, FusedOps};
use crate::reference;

/// Slope inside the sigmoid of [`quick_gelu`], as published with the CLIP models.
pub(crate) const QUICK_GELU_SLOPE: f64 = 1.702;

/// The nonlinearity of a network's feed-forward parts, as its configuration names it.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// Gaussian error linear unit, erf form: [`gelu`].
    Gelu,
    /// Rectified linear unit: `max(x, 0)`.
    Relu,
}

impl Activation {
    /// Applies it to every element.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => gelu(x),
            Self::Relu => activation::relu(x),
        }
    }
}

/// Gaussian error linear unit: `x * Phi(x)` with `Phi` the normal distribution function (the erf form).
///
/// # Shapes
/// - `x` and output: any, the same
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "fused")]
    if fused::serves(&x) {
        return Tensor::from_dispatch(Dispatch::fused_activation(
            x.into_dispatch(),
            FusedActivation::Gelu,
        ));
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
            FusedActivation::QuickGelu,
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
        return Tensor::from_dispatch(Dispatch::fused_activation(
            x.into_dispatch(),
            FusedActivation::Silu,
        ));
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
