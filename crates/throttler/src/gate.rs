//! The two gates and their derivatives, which stay finite at weight 0 and 1.

use burn::config::Config;
use burn::tensor::{DType, FloatDType, Tensor};

/// The curve `f` with `alpha = f(u)` that made the weights. It enters the derivative only.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum GateFamily {
    /// Laplace distribution function, slope `min(alpha, beta)`.
    Laplace,
    /// Logistic function, slope `alpha beta`.
    Sigmoid,
}

impl GateFamily {
    /// `f'(u)` from `alpha` and `beta = 1 - alpha`.
    fn slope(self, weights: Tensor<2>, complement: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Laplace => weights.min_pair(complement),
            Self::Sigmoid => weights * complement,
        }
    }
}

/// The factors of the token and of the noise; both `[batch, n_tokens]`.
pub(crate) struct Gates {
    /// `sqrt(alpha)`
    pub(crate) open: Tensor<2>,
    /// `sqrt(beta)`
    pub(crate) closed: Tensor<2>,
}

/// The gates with their derivative in the threshold argument: Eq. (8) of docs/method.md.
///
/// `d sqrt(alpha)/du = w / (2 sqrt(alpha))` and `d sqrt(beta)/du = -w / (2 sqrt(beta))` with `w = f'(u)`.
/// With respect to `alpha` both would be infinite at one end; with respect to `u` they are at most
/// 1/2 in size and vanish at both ends, because `w` does so faster than the root. The values come
/// from `weights` and `complement`, the gradient runs through `argument` alone.
pub(crate) fn gates(
    family: GateFamily,
    weights: Tensor<2>,
    complement: Tensor<2>,
    argument: Tensor<2>,
) -> Gates {
    let weights = statistic(weights.without_autodiff());
    let complement = statistic(complement.without_autodiff()).cast(weights.dtype());
    let open = weights.clone().sqrt();
    let closed = complement.clone().sqrt();
    if !argument.is_autodiff() {
        return Gates { open, closed };
    }
    let argument = argument.cast(weights.dtype());
    let value = argument.clone().without_autodiff();
    // Zero in value, one in gradient.
    let departure = argument - value;
    // Far below every root that is not itself 0; where the root is 0 so is the slope.
    let floor = if weights.dtype() == DType::F64 {
        1e-200
    } else {
        1e-30
    };
    let half_slope = family.slope(weights, complement) * 0.5;
    let open_slope = half_slope.clone() / open.clone().clamp_min(floor);
    let closed_slope = half_slope.neg() / closed.clone().clamp_min(floor);
    Gates {
        open: departure.clone() * open_slope + open,
        closed: departure * closed_slope + closed,
    }
}

/// f64 stays, every other precision becomes f32.
pub(crate) fn statistic<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F64 => x,
        _ => x.cast(FloatDType::F32),
    }
}
