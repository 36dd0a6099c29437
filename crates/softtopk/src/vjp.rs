//! The backward pass: the solved values joined to the gradient graph.

use burn::tensor::{DType, Tensor};

use crate::config::ThresholdKind;
use crate::soft::{SoftTopKOutput, Solution};

/// The differentiable arguments of one solve, in working precision.
pub(crate) struct Tracked {
    /// `[batch, n_tokens]`
    pub(crate) scores: Tensor<2>,
    /// `[batch, 1]`
    pub(crate) k: Tensor<2>,
    /// `[batch, 1]`
    pub(crate) tau: Tensor<2>,
}

/// Gives the solved values the analytic vector-Jacobian product: Eq. (4) of docs/method.md.
///
/// With `w = f'(u)`, `W = sum w` and weighted means `m(x) = sum w x / W`, an upstream vector `v` on the
/// weights yields `w (v - m(v)) / tau` for the scores, `m(v)` for the budget and
/// `-sum v w (u - m(u)) / tau` for the temperature. It is written as a first-order expansion whose
/// coefficients are constants and whose value is zero: differentiating
/// `u = (s - lambda) / tau` under the budget gives
/// `d lambda = sum w ds / W - m(u) d tau - tau dk / W` and `du = (ds - d lambda - u d tau) / tau`.
/// Where no slope is left (`W` underflows) the threshold does not move.
pub(crate) fn linearise(kind: ThresholdKind, tracked: Tracked, solution: Solution) -> SoftTopKOutput {
    let Solution {
        weights,
        complement,
        threshold,
        argument,
        live,
    } = solution;
    if ![&tracked.scores, &tracked.k, &tracked.tau]
        .iter()
        .any(|t| t.is_autodiff())
    {
        return SoftTopKOutput {
            weights,
            complement,
            threshold,
            argument,
        };
    }
    let tau = tracked.tau.clone().without_autodiff();
    let d_scores = departure(tracked.scores);
    let d_k = departure(tracked.k);
    let d_tau = departure(tracked.tau);

    let mut slope = kind.slope(argument.clone(), weights.clone(), complement.clone());
    if let Some(live) = &live {
        slope = slope * live.clone();
    }
    let inverse_total = inverse_or_zero(slope.clone().sum_dim(1));
    let share = slope.clone() * inverse_total.clone();
    let mean_argument = (share.clone() * argument.clone()).sum_dim(1);

    let d_threshold = (d_scores.clone() * share).sum_dim(1)
        - d_tau.clone() * mean_argument
        - d_k * (inverse_total * tau.clone());
    let mut d_argument = (d_scores - d_threshold.clone() - d_tau * argument.clone()) / tau;
    if let Some(live) = live {
        d_argument = d_argument * live;
    }
    let d_weights = d_argument.clone() * slope;
    SoftTopKOutput {
        weights: d_weights.clone() + weights,
        complement: d_weights.neg() + complement,
        threshold: d_threshold + threshold,
        argument: d_argument + argument,
    }
}

/// `x - stop(x)`: zero in value, one in gradient.
pub(crate) fn departure<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let value = x.clone().without_autodiff();
    x - value
}

/// `1 / x` where `x` is large enough to be inverted, else 0.
fn inverse_or_zero(x: Tensor<2>) -> Tensor<2> {
    let tiny = match x.dtype() {
        DType::F64 => 1e-290,
        _ => 1e-30,
    };
    let flat = x.clone().lower_elem(tiny);
    x.mask_fill(flat.clone(), 1.0).recip().mask_fill(flat, 0.0)
}
