//! GradTopK: the inclusion probabilities of a random subset of exactly `k` tokens.

use std::f64::consts::PI;

use burn::tensor::{DType, Tensor, TensorData};

use crate::config::{SoftTopKConfig, ThresholdKind};
use crate::rows::Rows;
use crate::soft::{K, SoftTopKInput, Tau, is_cpu};
use crate::vjp::departure;

/// `alpha_i = d log e_k(exp(x)) / d x_i` with `x = s / tau` and `e_k` the elementary symmetric polynomial: the chance
/// that token `i` is in a subset of `k` tokens drawn with weight `exp(sum x)` (GradTopK).
///
/// - Mass: exactly `k`. Equal to softmax at `k = 1`.
/// - Range: `[0, 1]`; order and differences of the scores alone matter.
/// - Gradient: exact; the Jacobian is the covariance of the inclusions divided by `tau`.
/// - Cost: `O(n^1.5)` time and memory per row, in tensor operations on every device; in f64 on the CPU.
///
/// No recursion over the polynomials: the subset is a set of independent tokens with probabilities
/// `p_i = sigmoid((s_i - lambda) / tau)`, given that their number `N` is `k`, and that for any `lambda`. With the
/// `lambda` of the sigmoid threshold `k` is the mean of `N`, so `P(N = k)` is never small, and
/// `alpha_i = P(N = k, i in) / P(N = k)` comes from the characteristic function of `N` without cancellation.
///
/// The budget is rounded to whole tokens and has no gradient. `k` of at least the number of real tokens opens every
/// gate, `k <= 0` closes all; masked tokens have weight 0 and do not count. Scores must be finite.
///
/// # Shapes
/// - output: `[batch, n_tokens]`
pub fn gradtopk(input: SoftTopKInput) -> Tensor<2> {
    let rows = Rows::whole(input);
    let wide = match is_cpu(&rows.k.device()) {
        true => DType::F64,
        false => rows.scores.dtype(),
    };
    solve(&rows, wide)
}

/// [`gradtopk`] with the characteristic function in the precision `wide`.
fn solve(rows: &Rows, wide: DType) -> Tensor<2> {
    let Inclusion {
        weights,
        square,
        real,
        imaginary,
        real_factor,
        imaginary_factor,
        threshold,
    } = Inclusion::new(rows, wide);
    let value = rows.fix(weights.clone(), 1.0, 0.0);
    if !(rows.scores.is_autodiff() || rows.tau.is_autodiff()) {
        return value;
    }
    // The Jacobian times a direction; it is symmetric, so the gradient is the same product.
    let [batch, n_tokens] = weights.dims();
    let argument = (rows.scores.clone() - threshold) / rows.tau.clone();
    let d = departure(argument);
    let column = d.clone().reshape([batch, 1, n_tokens]);
    let along = (column.clone() * real.clone()).sum_dim(2);
    let across = (column * imaginary.clone()).sum_dim(2);
    let (along, across) = (
        along.clone() * real_factor.clone() - across.clone() * imaginary_factor.clone(),
        across * real_factor + along * imaginary_factor,
    );
    let pairs = (along * real - across * imaginary)
        .sum_dim(1)
        .reshape([batch, n_tokens]);
    let own = d.clone() * (weights.clone() - square);
    let mean = (d * weights.clone()).sum_dim(1);
    let moved = pairs + own - mean * weights;
    rows.fix(moved, 0.0, 0.0) + value
}

/// Values of one solve, detached; `n_frequencies` points of the characteristic function.
struct Inclusion {
    /// `P(i in | N = k)`, `[batch, n_tokens]`
    weights: Tensor<2>,
    /// The term of a token with itself in the sum over pairs, `[batch, n_tokens]`.
    square: Tensor<2>,
    /// Share of each token in the characteristic function, `[batch, n_frequencies, n_tokens]`.
    real: Tensor<3>,
    imaginary: Tensor<3>,
    /// Weight of each frequency, `[batch, n_frequencies, 1]`.
    real_factor: Tensor<3>,
    imaginary_factor: Tensor<3>,
    /// `lambda`, `[batch, 1]`
    threshold: Tensor<2>,
}

impl Inclusion {
    fn new(rows: &Rows, wide: DType) -> Self {
        let dtype = rows.scores.dtype();
        let scores = rows.scores.clone().without_autodiff();
        let device = scores.device();
        let [batch, n_tokens] = scores.dims();
        let per_row = |x: &Tensor<2>| x.clone().without_autodiff().cast(wide).reshape([batch]);
        let independent = SoftTopKConfig::new()
            .with_kind(ThresholdKind::Sigmoid)
            .with_z_score(false)
            .init()
            .forward(SoftTopKInput {
                scores: scores.cast(wide),
                k: K::Rows(per_row(&rows.k)),
                tau: Tau::Rows(per_row(&rows.tau)),
                mask: rows.mask.clone(),
            });

        let frequencies = Frequencies::new(n_tokens);
        let constant = |values: Vec<f64>| {
            let shape = [1, values.len(), 1];
            Tensor::<3>::from_data(TensorData::new(values, shape), (&device, wide))
        };
        let angle = constant(frequencies.angles.clone());
        let cosine = constant(frequencies.angles.iter().map(|t| t.cos()).collect());
        let sine = constant(frequencies.angles.iter().map(|t| t.sin()).collect());
        // 1 - cos(t) without cancellation.
        let fall = constant(
            frequencies
                .angles
                .iter()
                .map(|t| 2.0 * (0.5 * t).sin().powi(2))
                .collect(),
        );
        let multiplicity = constant(frequencies.multiplicity);

        let p = independent.weights.reshape([batch, 1, n_tokens]);
        let q = independent.complement.reshape([batch, 1, n_tokens]);
        let pq = p.clone() * q.clone();
        // With z = exp(i t), the factor of a token is q + p z; its square modulus, and its angle.
        let modulus = ((pq.clone() * fall.clone() * -2.0) + 1.0).clamp_min(1e-30);
        let turn = (p.clone() * sine.clone()).atan2((p.clone() * fall).neg() + 1.0);
        // Characteristic function times exp(-i k t), divided by the probability that N = k.
        let size = (modulus.clone().log().sum_dim(2) * 0.5).exp() * multiplicity;
        let turn = turn.sum_dim(2) - angle * rows.k.clone().cast(wide).reshape([batch, 1, 1]);
        let (real_factor, imaginary_factor) = (size.clone() * turn.clone().cos(), size * turn.sin());
        let chance = real_factor.clone().sum_dim(1).reshape([batch, 1]);
        let chance = rows.one_where_decided(chance).reshape([batch, 1, 1]);
        let (real_factor, imaginary_factor) = (real_factor / chance.clone(), imaginary_factor / chance);
        // p z / (q + p z)
        let real = p.clone() * (p + q * cosine) / modulus.clone();
        let imaginary = pq * sine / modulus;

        let over_frequencies = |x: Tensor<3>| x.sum_dim(1).reshape([batch, n_tokens]);
        let weights = over_frequencies(
            real.clone() * real_factor.clone() - imaginary.clone() * imaginary_factor.clone(),
        );
        let square = over_frequencies(
            (real.clone() * real.clone() - imaginary.clone() * imaginary.clone()) * real_factor.clone()
                - real.clone() * imaginary.clone() * imaginary_factor.clone() * 2.0,
        );
        Self {
            weights: weights.clamp(0.0, 1.0).cast(dtype),
            square: square.cast(dtype),
            real: real.cast(dtype),
            imaginary: imaginary.cast(dtype),
            real_factor: real_factor.cast(dtype),
            imaginary_factor: imaginary_factor.cast(dtype),
            threshold: independent.threshold.cast(dtype),
        }
    }
}

/// Points at which the characteristic function of `N` is read.
struct Frequencies {
    /// `2 pi m / points`, for `m` from 0 to `(points - 1) / 2`; the other half is the mirror image.
    angles: Vec<f64>,
    /// The weight of each, divided by `points`.
    multiplicity: Vec<f64>,
}

impl Frequencies {
    /// As many points as are needed to tell `N = k` from `N = k + points`.
    ///
    /// `n + 1` points are always enough. Fewer are where numbers that far from the mean have a probability below
    /// rounding: by Bernstein's inequality with a variance of at most `n / 4`, `exp(-40)` is reached at
    /// `points^2 = 80 (n / 4 + points / 3)`.
    fn new(n_tokens: usize) -> Self {
        let n = n_tokens as f64;
        let enough = (40.0 / 3.0 + (1600.0 / 9.0 + 20.0 * n).sqrt())
            .ceil()
            .min(n + 1.0) as usize;
        // Odd, so that -1 is not among the points: a token with probability 1/2 would vanish there.
        let points = enough | 1;
        let half = 0..=points / 2;
        Self {
            angles: half
                .clone()
                .map(|m| 2.0 * PI * m as f64 / points as f64)
                .collect(),
            multiplicity: half
                .map(|m| if m == 0 { 1.0 } else { 2.0 } / points as f64)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use diffprune_test_support::normal;

    use super::*;

    /// The computation of devices other than the CPU.
    #[test]
    fn single_precision_is_close() {
        let (scores, up) = (normal::<2>(1, [3, 576]), normal::<2>(2, [3, 576]));
        for (k, tau) in [(1.0, 0.3), (64.0, 1.0), (64.0, 0.1), (64.0, 0.01), (575.0, 0.5)] {
            let [double, single] = [DType::F64, DType::F32].map(|wide| {
                let scores = scores.clone().autodiff().require_grad();
                let rows = Rows::whole(SoftTopKInput {
                    scores: scores.clone(),
                    k: K::Batch(k),
                    tau: Tau::Batch(tau),
                    mask: None,
                });
                let weights = solve(&rows, wide);
                let grads = (weights.clone() * up.clone()).sum().backward();
                (weights.without_autodiff(), scores.grad(&grads).unwrap() * tau)
            });
            let far = |a: Tensor<2>, b: Tensor<2>| (a - b).abs().max().into_scalar::<f32>();
            let (value, gradient) = (far(double.0, single.0), far(double.1, single.1));
            assert!(
                value < 5e-5 && gradient < 5e-4,
                "{k} {tau}: {value:e} {gradient:e}"
            );
        }
    }
}
