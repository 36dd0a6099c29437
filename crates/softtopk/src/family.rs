//! The curve `f`, its complement and its slope, on tensors and on single numbers.

use burn::tensor::Tensor;

use crate::config::ThresholdKind;

/// Threshold argument given to rows where nothing is left to decide: `f` is exactly 0 or 1 there.
pub(crate) const SATURATED: f64 = 1.0e4;

impl ThresholdKind {
    /// `(f(u), 1 - f(u))` for one number, each without cancellation.
    pub(crate) fn weights_at(self, u: f64) -> (f64, f64) {
        let e = (-u.abs()).exp();
        let (small, large) = match self {
            Self::Laplace => (0.5 * e, 1.0 - 0.5 * e),
            Self::Sigmoid => (e / (1.0 + e), 1.0 / (1.0 + e)),
        };
        if u > 0.0 { (large, small) } else { (small, large) }
    }

    /// `(f(u), 1 - f(u))`, each without cancellation, in operations that every device has.
    pub(crate) fn weights<const D: usize>(self, u: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        let sign = u.clone().sign();
        let e = u.abs().neg().exp();
        let (small, large) = match self {
            Self::Laplace => {
                let small = e * 0.5;
                (small.clone(), small.neg() + 1.0)
            }
            Self::Sigmoid => {
                let large = (e.clone() + 1.0).recip();
                (e * large.clone(), large)
            }
        };
        // `up` is 1 above the threshold, 0 below and 1/2 on it, where small and large agree.
        let up = (sign + 1.0) * 0.5;
        let down = up.clone().neg() + 1.0;
        let weights = large.clone() * up.clone() + small.clone() * down.clone();
        let complement = small * up + large * down;
        (weights, complement)
    }

    /// `f'(u)` from `f(u)` and `1 - f(u)`.
    pub(crate) fn slope<const D: usize>(self, weights: Tensor<D>, complement: Tensor<D>) -> Tensor<D> {
        match self {
            // exp(-|u|)/2 is whichever of the two is smaller.
            Self::Laplace => weights.min_pair(complement),
            Self::Sigmoid => weights * complement,
        }
    }
}
