//! Activations: value, and gradient recomputed from the input.

use super::simd::{erf, exp, fma, sigmoid, stamped};
use crate::activation::QUICK_GELU_SLOPE;

/// A function of one number, with its derivative.
trait Unary {
    /// The function.
    fn value<const FMA: bool>(x: f32) -> f32;
    /// Its derivative.
    fn slope<const FMA: bool>(x: f32) -> f32;
}

struct Gelu;
struct QuickGelu;
struct Silu;

impl Unary for Gelu {
    #[inline(always)]
    fn value<const FMA: bool>(x: f32) -> f32 {
        let half = 0.5 * x;
        fma::<FMA>(half, erf::<FMA>(x * core::f32::consts::FRAC_1_SQRT_2), half)
    }

    #[inline(always)]
    fn slope<const FMA: bool>(x: f32) -> f32 {
        const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;
        let phi = fma::<FMA>(0.5, erf::<FMA>(x * core::f32::consts::FRAC_1_SQRT_2), 0.5);
        fma::<FMA>(x * FRAC_1_SQRT_TAU, exp::<FMA>(-0.5 * x * x), phi)
    }
}

impl Unary for QuickGelu {
    #[inline(always)]
    fn value<const FMA: bool>(x: f32) -> f32 {
        x * sigmoid::<FMA>(QUICK_GELU_SLOPE as f32 * x)
    }

    #[inline(always)]
    fn slope<const FMA: bool>(x: f32) -> f32 {
        let gate = sigmoid::<FMA>(QUICK_GELU_SLOPE as f32 * x);
        gate * fma::<FMA>(QUICK_GELU_SLOPE as f32 * x, 1.0 - gate, 1.0)
    }
}

impl Unary for Silu {
    #[inline(always)]
    fn value<const FMA: bool>(x: f32) -> f32 {
        x * sigmoid::<FMA>(x)
    }

    #[inline(always)]
    fn slope<const FMA: bool>(x: f32) -> f32 {
        let gate = sigmoid::<FMA>(x);
        gate * fma::<FMA>(x, 1.0 - gate, 1.0)
    }
}

#[inline(always)]
fn map<const FMA: bool, U: Unary>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = U::value::<FMA>(x);
    }
}

#[inline(always)]
fn pull_back<const FMA: bool, U: Unary>(x: &[f32], grad: &mut [f32]) {
    for (grad, &x) in grad.iter_mut().zip(x) {
        *grad *= U::slope::<FMA>(x);
    }
}

#[inline(always)]
fn gated<const FMA: bool>(gate: &[f32], up: &[f32], y: &mut [f32]) {
    for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
        *y = Silu::value::<FMA>(gate) * up;
    }
}

#[inline(always)]
fn gated_pull_back<const FMA: bool>(gate: &[f32], up: &[f32], grad_up: &mut [f32], grad_gate: &mut [f32]) {
    for (((grad_up, grad_gate), &gate), &up) in grad_up.iter_mut().zip(grad_gate).zip(gate).zip(up) {
        let open = sigmoid::<FMA>(gate);
        let grad = *grad_up;
        *grad_gate = grad * up * open * fma::<FMA>(gate, 1.0 - open, 1.0);
        *grad_up = grad * gate * open;
    }
}

stamped!(pub(super) fn gelu(x: &[f32], y: &mut [f32]) => map::<FMA, Gelu>(x, y));
stamped!(pub(super) fn quick_gelu(x: &[f32], y: &mut [f32]) => map::<FMA, QuickGelu>(x, y));
stamped!(pub(super) fn silu(x: &[f32], y: &mut [f32]) => map::<FMA, Silu>(x, y));
stamped!(
    /// Turns the gradient of the output, in place, into that of the input `x`.
    pub(super) fn gelu_grad(x: &[f32], grad: &mut [f32]) => pull_back::<FMA, Gelu>(x, grad)
);
stamped!(
    /// See [`gelu_grad`].
    pub(super) fn quick_gelu_grad(x: &[f32], grad: &mut [f32]) => pull_back::<FMA, QuickGelu>(x, grad)
);
stamped!(
    /// See [`gelu_grad`].
    pub(super) fn silu_grad(x: &[f32], grad: &mut [f32]) => pull_back::<FMA, Silu>(x, grad)
);
stamped!(
    /// `y = silu(gate) * up`.
    pub(super) fn swiglu(gate: &[f32], up: &[f32], y: &mut [f32]) => gated::<FMA>(gate, up, y)
);
stamped!(
    /// Turns the gradient of the output, in place, into that of `up`, and writes that of `gate`.
    pub(super) fn swiglu_grad(gate: &[f32], up: &[f32], grad: &mut [f32], grad_gate: &mut [f32]) =>
        gated_pull_back::<FMA>(gate, up, grad, grad_gate)
);
