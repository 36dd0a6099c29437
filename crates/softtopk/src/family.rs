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
        let (up, small) = self.tail(u);
        let down = up.clone().neg() + 1.0;
        let large = small.clone().neg() + 1.0;
        let weights = large.clone() * up.clone() + small.clone() * down.clone();
        let complement = small * up + large * down;
        (weights, complement)
    }

    /// Sum of `f(u)` over dimension `dim` of the real tokens, minus `k`, with the digits of the tails.
    ///
    /// Tokens above the threshold count as one less their complement. Where `k` of them are above, the
    /// ones cancel against `k` exactly and only the tails remain, instead of being lost in a sum of ones.
    pub(crate) fn excess<const D: usize>(
        self,
        u: Tensor<D>,
        real: Tensor<D>,
        k: Tensor<D>,
        dim: usize,
    ) -> Tensor<D> {
        let (up, small) = self.tail(u);
        let tails = (up.clone() * -2.0 + 1.0) * small * real.clone();
        let ones = (up * real).sum_dim(dim) - k;
        tails.sum_dim(dim) + ones
    }

    /// 1 above the threshold, 0 below and 1/2 on it; and the smaller of `f(u)` and `1 - f(u)`.
    fn tail<const D: usize>(self, u: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        let up = (u.clone().sign() + 1.0) * 0.5;
        let e = u.abs().neg().exp();
        let small = match self {
            Self::Laplace => e * 0.5,
            Self::Sigmoid => e.clone() / (e + 1.0),
        };
        (up, small)
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
