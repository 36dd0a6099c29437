//! Rows of scores: softmax forward, weights and gradient backward, and the products of a single query.

use crate::fused::matmul::View;
use crate::fused::simd::{exp, exp_and_sum, fma, max_of, stamped, sum_of};

/// The scores of a block of queries and what they are combined with.
#[derive(Clone, Copy)]
pub(super) struct Scores<'a> {
    /// Distance of the rows in the buffer.
    pub(super) stride: usize,
    /// Places of a row that later products read: whole panels.
    pub(super) width: usize,
    /// For each row how many places, from the first, are real and visible.
    pub(super) limits: &'a [usize],
    /// Factor of the scores.
    pub(super) scale: f32,
    /// Added to each row: zero or minus infinity per key.
    pub(super) bias: Option<&'a [f32]>,
}

/// `row = scale * row + bias`.
#[inline(always)]
fn scale_and_hide<const FMA: bool>(row: &mut [f32], scale: f32, bias: Option<&[f32]>) {
    match bias {
        None => row.iter_mut().for_each(|x| *x *= scale),
        Some(bias) => {
            for (x, &bias) in row.iter_mut().zip(bias) {
                *x = fma::<FMA>(*x, scale, bias);
            }
        }
    }
}

#[inline(always)]
fn softmax_rows<const FMA: bool>(scores: &mut [f32], form: Scores, lse: &mut [f32], inverse: &mut [f32]) {
    for (r, &limit) in form.limits.iter().enumerate() {
        let row = &mut scores[r * form.stride..][..form.width];
        row[limit..].fill(f32::NEG_INFINITY);
        scale_and_hide::<FMA>(&mut row[..limit], form.scale, form.bias);
        let max = max_of(row);
        if max == f32::NEG_INFINITY && row.iter().all(|x| *x == f32::NEG_INFINITY) {
            row.fill(0.0);
            (lse[r], inverse[r]) = (f32::INFINITY, 0.0);
        } else {
            let sum = exp_and_sum::<FMA>(row, max);
            (lse[r], inverse[r]) = (max + sum.ln(), 1.0 / sum);
        }
    }
}

stamped!(
    /// Turns scores into weights that are not yet divided by their sum. `lse` receives the logarithm of the sum of
    /// exponentials, `inverse` one over the sum of the weights; infinity and zero where a query sees no key.
    pub(super) fn softmax_block(scores: &mut [f32], form: Scores<'_>, lse: &mut [f32], inverse: &mut [f32]) =>
        softmax_rows::<FMA>(scores, form, lse, inverse)
);

#[inline(always)]
fn grad_rows<const FMA: bool>(
    scores: &mut [f32],
    grads: &mut [f32],
    form: Scores,
    lse: &[f32],
    along: &[f32],
) {
    for (r, &limit) in form.limits.iter().enumerate() {
        let row = &mut scores[r * form.stride..][..form.width];
        let grad = &mut grads[r * form.stride..][..form.width];
        row[limit..].fill(0.0);
        grad[limit..].fill(0.0);
        let (row, grad) = (&mut row[..limit], &mut grad[..limit]);
        scale_and_hide::<FMA>(row, form.scale, form.bias);
        let (lse, along) = (lse[r], along[r]);
        for (x, grad) in row.iter_mut().zip(grad) {
            let weight = exp::<FMA>(*x - lse);
            *x = weight;
            *grad = form.scale * weight * (*grad - along);
        }
    }
}

stamped!(
    /// Turns scores into weights `p = exp(s - lse)`, and `grads`, the gradients of the weights, into those of the
    /// unscaled scores: `scale p (g - along)`.
    pub(super) fn grad_block(
        scores: &mut [f32], grads: &mut [f32], form: Scores<'_>, lse: &[f32], along: &[f32],
    ) => grad_rows::<FMA>(scores, grads, form, lse, along)
);

stamped!(
    /// Sum of `a * b`.
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 => sum_of([a, b], |[a, b]| a * b)
);

#[inline(always)]
fn dot_with_rows<const FMA: bool>(q: &[f32], keys: View, scores: &mut [f32]) {
    for (j, score) in scores.iter_mut().enumerate() {
        let key = &keys.data[j * keys.row..][..q.len()];
        *score = sum_of([q, key], |[q, key]| q * key);
    }
}

#[inline(always)]
fn mix_rows<const FMA: bool>(weights: &[f32], values: View, out: &mut [f32]) {
    out.fill(0.0);
    for (j, &weight) in weights.iter().enumerate() {
        let value = &values.data[j * values.row..][..out.len()];
        for (out, &value) in out.iter_mut().zip(value) {
            *out = fma::<FMA>(weight, value, *out);
        }
    }
}

stamped!(
    /// Scores of one query, keys read where they lie.
    pub(super) fn scores_of_one(q: &[f32], keys: View<'_>, scores: &mut [f32]) =>
        dot_with_rows::<FMA>(q, keys, scores)
);
stamped!(
    /// Weighted sum of the first values, read where they lie.
    pub(super) fn mix_for_one(weights: &[f32], values: View<'_>, out: &mut [f32]) =>
        mix_rows::<FMA>(weights, values, out)
);
