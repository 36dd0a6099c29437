//! Activations and the softmax of the last axis.

use burn::tensor::{Tensor, activation};

use super::in_statistics_dtype;

/// See [`crate::gelu`].
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let phi = ((x.clone() * core::f64::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    x * phi
}

/// See [`crate::quick_gelu`].
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let gate = activation::sigmoid(x.clone() * crate::activation::QUICK_GELU_SLOPE);
    x * gate
}

/// See [`crate::silu`].
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let gate = activation::sigmoid(x.clone());
    x * gate
}

/// See [`crate::swiglu`].
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    silu(gate) * up
}

/// See [`crate::softmax`].
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    in_statistics_dtype(x, |x| activation::softmax(x, D - 1))
}
