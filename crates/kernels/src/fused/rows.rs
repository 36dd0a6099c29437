//! Functions of a row: softmax, norms, cross entropy, and their gradients.

use super::simd::{exp, exp_and_sum, fma, max_of, stamped, sum_of};

#[inline(always)]
fn softmax_rows<const FMA: bool>(x: &[f32], y: &mut [f32], width: usize) {
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        y.copy_from_slice(x);
        let scale = 1.0 / exp_and_sum::<FMA>(y, max_of(x));
        for y in y {
            *y *= scale;
        }
    }
}

#[inline(always)]
fn softmax_grad_rows<const FMA: bool>(p: &[f32], grad: &mut [f32], width: usize) {
    for (p, grad) in p.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
        let along = sum_of([p, grad], |[p, grad]| p * grad);
        for (grad, &p) in grad.iter_mut().zip(p) {
            *grad = p * (*grad - along);
        }
    }
}

stamped!(
    /// Softmax of each row of `width` numbers.
    pub(super) fn softmax(x: &[f32], y: &mut [f32], width: usize) => softmax_rows::<FMA>(x, y, width)
);
stamped!(
    /// Turns the gradient of the softmax `p`, in place, into that of its argument: `p (g - sum g p)`.
    pub(super) fn softmax_grad(p: &[f32], grad: &mut [f32], width: usize) => softmax_grad_rows::<FMA>(p, grad, width)
);

#[inline(always)]
fn layer_norm_rows<const FMA: bool>(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    y: &mut [f32],
    stats: &mut [f32],
) {
    let width = gamma.len();
    let beta = &beta[..width];
    let rows = x
        .chunks_exact(width)
        .zip(y.chunks_exact_mut(width))
        .zip(stats.chunks_exact_mut(2));
    for ((x, y), stats) in rows {
        let mean = sum_of([x], |[x]| x) / width as f32;
        let square = sum_of([x], |[x]| (x - mean) * (x - mean));
        let inverse = 1.0 / (square / width as f32 + eps).sqrt();
        for i in 0..width {
            y[i] = fma::<FMA>((x[i] - mean) * inverse, gamma[i], beta[i]);
        }
        stats[0] = mean;
        stats[1] = inverse;
    }
}

#[inline(always)]
fn layer_norm_grad_rows<const FMA: bool>(
    x: &[f32],
    gamma: &[f32],
    stats: &[f32],
    grad: &mut [f32],
    grad_gamma: &mut [f32],
    grad_beta: &mut [f32],
) {
    let width = gamma.len();
    let (grad_gamma, grad_beta) = (&mut grad_gamma[..width], &mut grad_beta[..width]);
    let rows = x
        .chunks_exact(width)
        .zip(grad.chunks_exact_mut(width))
        .zip(stats.chunks_exact(2));
    for ((x, grad), stats) in rows {
        let (mean, inverse) = (stats[0], stats[1]);
        let n = width as f32;
        let sum = sum_of([grad, gamma], |[g, gamma]| g * gamma) / n;
        let along = sum_of([grad, gamma, x], |[g, gamma, x]| {
            g * gamma * ((x - mean) * inverse)
        }) / n;
        for i in 0..width {
            let normal = (x[i] - mean) * inverse;
            let g = grad[i];
            grad_gamma[i] = fma::<FMA>(g, normal, grad_gamma[i]);
            grad_beta[i] += g;
            grad[i] = inverse * fma::<FMA>(-along, normal, fma::<FMA>(g, gamma[i], -sum));
        }
    }
}

#[inline(always)]
fn rms_norm_rows<const FMA: bool>(x: &[f32], gamma: &[f32], eps: f32, y: &mut [f32], stats: &mut [f32]) {
    let width = gamma.len();
    for ((x, y), stats) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(stats) {
        let inverse = 1.0 / (sum_of([x], |[x]| x * x) / width as f32 + eps).sqrt();
        for i in 0..width {
            y[i] = x[i] * inverse * gamma[i];
        }
        *stats = inverse;
    }
}

#[inline(always)]
fn rms_norm_grad_rows<const FMA: bool>(
    x: &[f32],
    gamma: &[f32],
    stats: &[f32],
    grad: &mut [f32],
    grad_gamma: &mut [f32],
) {
    let width = gamma.len();
    let grad_gamma = &mut grad_gamma[..width];
    for ((x, grad), &inverse) in x.chunks_exact(width).zip(grad.chunks_exact_mut(width)).zip(stats) {
        let along = sum_of([grad, gamma, x], |[g, gamma, x]| g * gamma * (x * inverse)) / width as f32;
        for i in 0..width {
            let normal = x[i] * inverse;
            let g = grad[i];
            grad_gamma[i] = fma::<FMA>(g, normal, grad_gamma[i]);
            grad[i] = inverse * fma::<FMA>(-along, normal, g * gamma[i]);
        }
    }
}

stamped!(
    /// Layer normalisation of each row; `stats` receives mean and inverse deviation, row by row.
    pub(super) fn layer_norm(
        x: &[f32], gamma: &[f32], beta: &[f32], eps: f32, y: &mut [f32], stats: &mut [f32],
    ) => layer_norm_rows::<FMA>(x, gamma, beta, eps, y, stats)
);
stamped!(
    /// Turns the gradient of the output, in place, into that of `x`; adds to those of `gamma` and `beta`.
    pub(super) fn layer_norm_grad(
        x: &[f32], gamma: &[f32], stats: &[f32], grad: &mut [f32], grad_gamma: &mut [f32], grad_beta: &mut [f32],
    ) => layer_norm_grad_rows::<FMA>(x, gamma, stats, grad, grad_gamma, grad_beta)
);
stamped!(
    /// Root-mean-square normalisation of each row; `stats` receives the inverse root, row by row.
    pub(super) fn rms_norm(x: &[f32], gamma: &[f32], eps: f32, y: &mut [f32], stats: &mut [f32]) =>
        rms_norm_rows::<FMA>(x, gamma, eps, y, stats)
);
stamped!(
    /// Turns the gradient of the output, in place, into that of `x`; adds to that of `gamma`.
    pub(super) fn rms_norm_grad(
        x: &[f32], gamma: &[f32], stats: &[f32], grad: &mut [f32], grad_gamma: &mut [f32],
    ) => rms_norm_grad_rows::<FMA>(x, gamma, stats, grad, grad_gamma)
);

#[inline(always)]
fn log_sum_exp_rows<const FMA: bool>(x: &[f32], width: usize, y: &mut [f32]) {
    for (x, y) in x.chunks_exact(width).zip(y) {
        let max = max_of(x);
        *y = max + sum_of([x], |[x]| exp::<FMA>(x - max)).ln();
    }
}

#[inline(always)]
fn exp_minus_rows<const FMA: bool>(x: &[f32], width: usize, shift: &[f32], factor: &[f32], y: &mut [f32]) {
    let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
    for ((x, y), (&shift, &factor)) in rows.zip(shift.iter().zip(factor)) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = factor * exp::<FMA>(x - shift);
        }
    }
}

stamped!(
    /// `log sum exp` of each row of `width` numbers.
    pub(super) fn log_sum_exp(x: &[f32], width: usize, y: &mut [f32]) => log_sum_exp_rows::<FMA>(x, width, y)
);
stamped!(
    /// `y = factor * exp(x - shift)`, with one shift and one factor per row.
    pub(super) fn exp_minus(x: &[f32], width: usize, shift: &[f32], factor: &[f32], y: &mut [f32]) =>
        exp_minus_rows::<FMA>(x, width, shift, factor, y)
);

#[inline(always)]
fn rotate_rows<const FMA: bool>(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, y: &mut [f32]) {
    let half = cos.len();
    let sin = &sin[..half];
    for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half)) {
        let (x1, x2) = x.split_at(half);
        let (y1, y2) = y.split_at_mut(half);
        for i in 0..half {
            let (c, s) = (cos[i], sign * sin[i]);
            y1[i] = fma::<FMA>(x1[i], c, -(x2[i] * s));
            y2[i] = fma::<FMA>(x2[i], c, x1[i] * s);
        }
    }
}

stamped!(
    /// Turns the halves of every row of `2 * cos.len()` numbers by the angle of the tables times `sign`.
    pub(super) fn rotate(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, y: &mut [f32]) =>
        rotate_rows::<FMA>(x, cos, sin, sign, y)
);
