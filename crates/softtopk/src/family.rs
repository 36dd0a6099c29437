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
            Self::MinExp if u >= 0.0 => return (1.0, 0.0),
            Self::MinExp => return (u.exp(), -u.exp_m1()),
            Self::Clip => return (u.clamp(0.0, 1.0), 1.0 - u.clamp(0.0, 1.0)),
            Self::Cubic => {
                let c = u.clamp(0.0, 1.0);
                // The product of the rounded factors may be one step above 1.
                return (c * c * c, ((1.0 - c) * (1.0 + c + c * c)).clamp(0.0, 1.0));
            }
        };
        if u > 0.0 { (large, small) } else { (small, large) }
    }

    /// `f'(u)` for one number; 0 on a kink.
    pub(crate) fn slope_at(self, u: f64) -> f64 {
        let (weight, complement) = self.weights_at(u);
        let inside = |slope: f64| if u > 0.0 && u < 1.0 { slope } else { 0.0 };
        match self {
            Self::Laplace => weight.min(complement),
            Self::Sigmoid => weight * complement,
            Self::MinExp if u < 0.0 => weight,
            Self::MinExp => 0.0,
            Self::Clip => inside(1.0),
            Self::Cubic => inside(3.0 * u * u),
        }
    }

    /// `(f(u), 1 - f(u))`, each without cancellation, in operations that every device has.
    pub(crate) fn weights<const D: usize>(self, u: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        match self {
            Self::Laplace | Self::Sigmoid => self.mirrored(u),
            Self::MinExp => {
                let below = u.clamp_max(0.0);
                // 1 - exp(-2 a) = 2 t / (1 + t) with t = tanh(a).
                let t = (below.clone().abs() * 0.5).tanh();
                (below.exp(), t.clone() * 2.0 / (t + 1.0))
            }
            Self::Clip => {
                let c = u.clamp(0.0, 1.0);
                (c.clone(), c.neg() + 1.0)
            }
            Self::Cubic => {
                let c = u.clamp(0.0, 1.0);
                let square = c.clone() * c.clone();
                let complement = (c.clone().neg() + 1.0) * (square.clone() + c.clone() + 1.0);
                // As above.
                (square * c, complement.clamp_max(1.0))
            }
        }
    }

    /// [`Self::weights`] of a curve with `f(-u) = 1 - f(u)`.
    fn mirrored<const D: usize>(self, u: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        let (up, small) = self.tail(u);
        let down = up.clone().neg() + 1.0;
        let large = small.clone().neg() + 1.0;
        let weights = large.clone() * up.clone() + small.clone() * down.clone();
        let complement = small * up + large * down;
        (weights, complement)
    }

    /// Sum of `f(u)` over dimension `dim` of the real tokens, minus `k`, with the digits of the tails.
    ///
    /// Tokens with a weight above 1/2 count as one less their complement. Where `k` of them are above, the
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

    /// 1 where `f(u)` is above 1/2, 0 below and 1/2 on it; and the smaller of `f(u)` and `1 - f(u)`.
    fn tail<const D: usize>(self, u: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        let half_step = |x: Tensor<D>| (x.sign() + 1.0) * 0.5;
        let e = |u: Tensor<D>| u.abs().neg().exp();
        match self {
            Self::Laplace => (half_step(u.clone()), e(u) * 0.5),
            Self::Sigmoid => {
                let up = half_step(u.clone());
                let e = e(u);
                (up, e.clone() / (e + 1.0))
            }
            Self::MinExp | Self::Clip | Self::Cubic => {
                let (weights, complement) = self.weights(u);
                let up = half_step(weights.clone() - complement.clone());
                (up, weights.min_pair(complement))
            }
        }
    }

    /// `f'(u)` from `u`, `f(u)` and `1 - f(u)`; 0 on a kink.
    pub(crate) fn slope<const D: usize>(
        self,
        u: Tensor<D>,
        weights: Tensor<D>,
        complement: Tensor<D>,
    ) -> Tensor<D> {
        match self {
            // exp(-|u|)/2 is whichever of the two is smaller.
            Self::Laplace => weights.min_pair(complement),
            Self::Sigmoid => weights * complement,
            Self::MinExp => weights.mask_fill(u.greater_equal_elem(0.0), 0.0),
            Self::Clip => weights.ones_like().mask_fill(outside(u), 0.0),
            Self::Cubic => (u.clone() * u.clone() * 3.0).mask_fill(outside(u), 0.0),
        }
    }

    /// `true` if the slope has no jump.
    pub(crate) fn is_smooth(self) -> bool {
        matches!(self, Self::Laplace | Self::Sigmoid)
    }

    /// `true` if weights are exactly 0 and 1 at a finite distance on both sides: with a whole budget and a wide
    /// gap at its edge the threshold is then not unique.
    pub(crate) fn is_compact(self) -> bool {
        matches!(self, Self::Clip | Self::Cubic)
    }
}

/// `true` where `u` is not strictly between 0 and 1.
fn outside<const D: usize>(u: Tensor<D>) -> Tensor<D, burn::tensor::Bool> {
    u.clone().lower_equal_elem(0.0).bool_or(u.greater_equal_elem(1.0))
}
