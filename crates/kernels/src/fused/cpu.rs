//! The operators on the CPU backend, f32.

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Shape};

use super::buffer::{dense, floats, rows_and_width, tensor, written};
use super::ops::{FusedActivation, FusedGrads, FusedOps, SavedAttention};
use super::parallel::{SharedOut, for_parts, parts};
use super::{AttentionForm, attention, elementwise, rows};

/// Elements of a row when work on single numbers is split into rows.
const ELEMENTS: usize = 1024;

/// Runs `f` on corresponding pieces of `x` and `y`, which it may cut anywhere at a multiple of `width`.
fn zip_rows(x: &[f32], y: &mut [f32], width: usize, f: impl Fn(&[f32], &mut [f32]) + Send + Sync) {
    let total = x.len();
    let out = SharedOut::new(y);
    for_parts(&parts(total.div_ceil(width), width), |part| {
        let range = part.start * width..(part.end * width).min(total);
        // SAFETY: parts do not overlap.
        f(&x[range.clone()], unsafe { out.slice(range) });
    });
}

/// A new tensor like `x`, filled by `f` piece by piece.
fn map_rows(x: FlexTensor, width: usize, f: impl Fn(&[f32], &mut [f32]) + Send + Sync) -> FlexTensor {
    let x = dense(x);
    let y = written(floats(&x).len(), |y| zip_rows(floats(&x), y, width, f));
    tensor(y, x.shape())
}

/// Adds up the vectors that the parts returned.
fn add_up(parts: Vec<Vec<f32>>, width: usize) -> FlexTensor {
    let mut sum = vec![0.0f32; width];
    for part in parts {
        sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
    }
    tensor(sum, Shape::from([width]))
}

/// Targets as indices.
///
/// # Panics
/// If a target is not in `0..vocab`.
fn indices(targets: FlexTensor, vocab: usize) -> Vec<usize> {
    let targets = dense(targets);
    let indices: Vec<i64> = match targets.dtype() {
        DType::I64 => targets.storage::<i64>().to_vec(),
        DType::I32 => targets.storage::<i32>().iter().map(|&i| i64::from(i)).collect(),
        other => panic!("targets must be i32 or i64, got {other:?}"),
    };
    let index = |i| match usize::try_from(i) {
        Ok(i) if i < vocab => i,
        _ => panic!("target {i} is outside the vocabulary of {vocab}"),
    };
    indices.into_iter().map(index).collect()
}

impl FusedOps for Flex {
    fn fused_activation(x: FloatTensor<Self>, kind: FusedActivation) -> FloatTensor<Self> {
        let f = match kind {
            FusedActivation::Gelu => elementwise::gelu,
            FusedActivation::QuickGelu => elementwise::quick_gelu,
            FusedActivation::Silu => elementwise::silu,
        };
        map_rows(x, ELEMENTS, f)
    }

    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, up) = (dense(gate), dense(up));
        let (gate_in, up_in) = (floats(&gate), floats(&up));
        let y = written(gate_in.len(), |y| {
            let out = SharedOut::new(y);
            for_parts(&parts(gate_in.len(), 1), |part| {
                // SAFETY: parts do not overlap.
                let y = unsafe { out.slice(part.clone()) };
                elementwise::swiglu(&gate_in[part.clone()], &up_in[part], y);
            });
        });
        tensor(y, gate.shape())
    }

    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (_, width) = rows_and_width(&x.shape());
        map_rows(x, width, |x, y| rows::softmax(x, y, width))
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        Self::layer_norm_with_stats(x, gamma, beta, eps).0
    }

    fn fused_rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        Self::rms_norm_with_stats(x, gamma, eps).0
    }

    fn fused_cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        Self::cross_entropy_with_stats(logits, targets).0
    }

    fn fused_rope(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        inverse: bool,
    ) -> FloatTensor<Self> {
        let [batch, n, heads, d]: [usize; 4] = x.shape().dims();
        let (cos, sin) = (dense(cos), dense(sin));
        let half = d / 2;
        let one_table = cos.shape()[0] == 1 && batch > 1;
        let sign = if inverse { -1.0 } else { 1.0 };
        let width = heads * d;
        let x = dense(x);
        let (x_in, cos, sin) = (floats(&x), floats(&cos), floats(&sin));
        let y = written(x_in.len(), |y| {
            let out = SharedOut::new(y);
            for_parts(&parts(batch * n, width), |part| {
                for token in part {
                    let angle = if one_table { token % n } else { token } * half;
                    let range = token * width..(token + 1) * width;
                    // SAFETY: parts do not overlap.
                    let y = unsafe { out.slice(range.clone()) };
                    rows::rotate(
                        &x_in[range],
                        &cos[angle..angle + half],
                        &sin[angle..angle + half],
                        sign,
                        y,
                    );
                }
            });
        });
        tensor(y, x.shape())
    }

    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        form: AttentionForm,
    ) -> FloatTensor<Self> {
        attention::forward(q, k, v, None, form).0
    }

    fn fused_masked_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: BoolTensor<Self>,
        form: AttentionForm,
    ) -> FloatTensor<Self> {
        attention::forward(q, k, v, Some(mask), form).0
    }
}

impl FusedGrads for Flex {
    fn activation_grad(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        kind: FusedActivation,
    ) -> FloatTensor<Self> {
        let f = match kind {
            FusedActivation::Gelu => elementwise::gelu_grad,
            FusedActivation::QuickGelu => elementwise::quick_gelu_grad,
            FusedActivation::Silu => elementwise::silu_grad,
        };
        let (x, mut grad) = (dense(x), dense(grad));
        zip_rows(floats(&x), grad.storage_mut::<f32>(), ELEMENTS, f);
        grad
    }

    fn swiglu_grad(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (gate, up, mut grad) = (dense(gate), dense(up), dense(grad));
        let (gate_in, up_in) = (floats(&gate), floats(&up));
        let grad_gate = written(gate_in.len(), |grad_gate| {
            let (grad, grad_gate) = (SharedOut::new(grad.storage_mut()), SharedOut::new(grad_gate));
            for_parts(&parts(gate_in.len(), 1), |part| {
                // SAFETY: parts do not overlap.
                let (grad, grad_gate) = unsafe { (grad.slice(part.clone()), grad_gate.slice(part.clone())) };
                elementwise::swiglu_grad(&gate_in[part.clone()], &up_in[part], grad, grad_gate);
            });
        });
        (tensor(grad_gate, gate.shape()), grad)
    }

    fn softmax_grad(p: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let (p, mut grad) = (dense(p), dense(grad));
        let (_, width) = rows_and_width(&p.shape());
        zip_rows(floats(&p), grad.storage_mut(), width, |p, grad| {
            rows::softmax_grad(p, grad, width)
        });
        grad
    }

    fn layer_norm_with_stats(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (gamma, beta) = (dense(gamma), dense(beta));
        let (rows, width) = rows_and_width(&x.shape());
        let mut stats = vec![0.0; rows * 2];
        let shared = SharedOut::new(&mut stats);
        let y = map_with_stats(x, width, 2, shared, |x, y, stats| {
            rows::layer_norm(x, floats(&gamma), floats(&beta), eps as f32, y, stats);
        });
        (y, tensor(stats, Shape::from([rows, 2])))
    }

    fn layer_norm_grad(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (x, gamma, stats, mut grad) = (dense(x), dense(gamma), dense(stats), dense(grad));
        let (rows, width) = rows_and_width(&x.shape());
        let (x, stats, shared) = (floats(&x), floats(&stats), SharedOut::new(grad.storage_mut()));
        let sums = for_parts(&parts(rows, width), |part| {
            let (mut gamma_sum, mut beta_sum) = (vec![0.0; width], vec![0.0; width]);
            let range = part.start * width..part.end * width;
            // SAFETY: parts do not overlap.
            let grad = unsafe { shared.slice(range.clone()) };
            let stats = &stats[2 * part.start..2 * part.end];
            rows::layer_norm_grad(
                &x[range],
                floats(&gamma),
                stats,
                grad,
                &mut gamma_sum,
                &mut beta_sum,
            );
            (gamma_sum, beta_sum)
        });
        let (gamma_sums, beta_sums) = sums.into_iter().unzip();
        (grad, add_up(gamma_sums, width), add_up(beta_sums, width))
    }

    fn rms_norm_with_stats(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let gamma = dense(gamma);
        let (rows, width) = rows_and_width(&x.shape());
        let mut stats = vec![0.0; rows];
        let shared = SharedOut::new(&mut stats);
        let y = map_with_stats(x, width, 1, shared, |x, y, stats| {
            rows::rms_norm(x, floats(&gamma), eps as f32, y, stats);
        });
        (y, tensor(stats, Shape::from([rows])))
    }

    fn rms_norm_grad(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, gamma, stats, mut grad) = (dense(x), dense(gamma), dense(stats), dense(grad));
        let (rows, width) = rows_and_width(&x.shape());
        let (x, stats, shared) = (floats(&x), floats(&stats), SharedOut::new(grad.storage_mut()));
        let sums = for_parts(&parts(rows, width), |part| {
            let mut gamma_sum = vec![0.0; width];
            let range = part.start * width..part.end * width;
            // SAFETY: parts do not overlap.
            let grad = unsafe { shared.slice(range.clone()) };
            rows::rms_norm_grad(&x[range], floats(&gamma), &stats[part], grad, &mut gamma_sum);
            gamma_sum
        });
        (grad, add_up(sums, width))
    }

    fn cross_entropy_with_stats(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let logits = dense(logits);
        let (rows, width) = rows_and_width(&logits.shape());
        let targets = indices(targets, width);
        let x = floats(&logits);
        let mut lse = vec![0.0; rows];
        let out = SharedOut::new(&mut lse);
        for_parts(&parts(rows, width), |part| {
            // SAFETY: parts do not overlap.
            let lse = unsafe { out.slice(part.clone()) };
            rows::log_sum_exp(&x[part.start * width..part.end * width], width, lse);
        });
        let losses = targets
            .iter()
            .enumerate()
            .map(|(row, target)| lse[row] - x[row * width + target])
            .collect();
        (
            tensor(losses, Shape::from([rows])),
            tensor(lse, Shape::from([rows])),
        )
    }

    fn cross_entropy_grad(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        stats: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (logits, stats, grad) = (dense(logits), dense(stats), dense(grad));
        let (rows, width) = rows_and_width(&logits.shape());
        let targets = indices(targets, width);
        let (x, lse, grad) = (floats(&logits), floats(&stats), floats(&grad));
        let y = written(x.len(), |y| {
            let out = SharedOut::new(y);
            for_parts(&parts(rows, width), |part| {
                let range = part.start * width..part.end * width;
                // SAFETY: parts do not overlap.
                let y = unsafe { out.slice(range.clone()) };
                rows::exp_minus(&x[range], width, &lse[part.clone()], &grad[part.clone()], y);
                for (y, row) in y.chunks_exact_mut(width).zip(part) {
                    y[targets[row]] -= grad[row];
                }
            });
        });
        tensor(y, logits.shape())
    }

    fn attention_with_stats(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: Option<BoolTensor<Self>>,
        form: AttentionForm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention::forward(q, k, v, mask, form)
    }

    fn attention_grad(
        saved: SavedAttention<Self>,
        grad: FloatTensor<Self>,
    ) -> [Option<FloatTensor<Self>>; 3] {
        attention::backward(saved, grad)
    }
}

/// As [`map_rows`], with `per_row` further numbers of each row for `f` to write.
fn map_with_stats(
    x: FlexTensor,
    width: usize,
    per_row: usize,
    stats: SharedOut,
    f: impl Fn(&[f32], &mut [f32], &mut [f32]) + Send + Sync,
) -> FlexTensor {
    let x = dense(x);
    let total = floats(&x).len();
    let y = written(total, |y| {
        let out = SharedOut::new(y);
        for_parts(&parts(total / width, width), |part| {
            let range = part.start * width..part.end * width;
            // SAFETY: parts do not overlap.
            let (y, stats) = unsafe {
                (
                    out.slice(range.clone()),
                    stats.slice(part.start * per_row..part.end * per_row),
                )
            };
            f(&floats(&x)[range], y, stats);
        });
    });
    tensor(y, x.shape())
}
