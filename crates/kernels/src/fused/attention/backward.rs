//! The backward pass: the weights are recomputed, a block of queries at a time.

use burn::backend::flex::FlexTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;

use super::Geometry;
use super::block::{Scores, dot, grad_block};
use super::heads::{Heads, OutHeads, key_bias};
use crate::fused::buffer::{dense, floats, tensor, written};
use crate::fused::matmul::{Packed, View, matmul, padded};
use crate::fused::ops::SavedAttention;
use crate::fused::parallel::{for_parts, parts};

/// The gradients of queries, keys and values from that of the output; those not wanted are `None`.
pub(crate) fn backward(saved: SavedAttention<Flex>, grad: FlexTensor) -> [Option<FlexTensor>; 3] {
    let SavedAttention {
        inputs: [q, k, v],
        mask,
        output,
        lse,
        form,
        wanted,
    } = saved;
    let geometry = Geometry::new(q.shape().dims(), k.shape().dims(), form);
    let Geometry {
        batch,
        n,
        m,
        heads,
        heads_kv,
        d,
        ..
    } = geometry;
    let bias = key_bias(mask, m, padded(m));
    let lse = dense(lse);
    let (q, k, v) = (Heads::new(q), Heads::new(k), Heads::new(v));
    let (grad, output) = (Heads::new(grad), Heads::new(output));
    let (mut dk, mut dv) = (Vec::new(), Vec::new());
    let dq = written(if wanted[0] { batch * n * heads * d } else { 0 }, |dq| {
        dk = written(if wanted[1] { batch * m * heads_kv * d } else { 0 }, |dk| {
            dv = written(if wanted[2] { batch * m * heads_kv * d } else { 0 }, |dv| {
                let pass = Pass {
                    geometry,
                    inputs: [&q, &k, &v],
                    grad: &grad,
                    output: &output,
                    lse: floats(&lse),
                    bias: bias.as_deref(),
                    wanted,
                    dq: OutHeads::new(dq, n, heads, d),
                    dk: OutHeads::new(dk, m, heads_kv, d),
                    dv: OutHeads::new(dv, m, heads_kv, d),
                };
                for_parts(&parts(batch * heads_kv, geometry.work_per_group()), |groups| {
                    let mut scratch = Scratch::default();
                    groups.for_each(|group| pass.group(group / heads_kv, group % heads_kv, &mut scratch));
                });
            });
        });
    });
    let queries = Shape::from([batch, n, heads, d]);
    let keys = Shape::from([batch, m, heads_kv, d]);
    [
        wanted[0].then(|| tensor(dq, queries)),
        wanted[1].then(|| tensor(dk, keys.clone())),
        wanted[2].then(|| tensor(dv, keys)),
    ]
}

/// Everything one call reads and writes.
struct Pass<'a> {
    geometry: Geometry,
    inputs: [&'a Heads; 3],
    grad: &'a Heads,
    output: &'a Heads,
    lse: &'a [f32],
    bias: Option<&'a [f32]>,
    wanted: [bool; 3],
    dq: OutHeads,
    dk: OutHeads,
    dv: OutHeads,
}

/// Memory that one thread uses again for every head.
#[derive(Default)]
struct Scratch {
    /// Keys and values as right-hand sides of products with queries and gradients.
    keys_across: Packed,
    values_across: Packed,
    /// Keys as right-hand side of the gradient of the queries.
    keys: Packed,
    /// Queries, or gradients of the output, of the block at hand.
    rows: Packed,
    scores: Vec<f32>,
    grads: Vec<f32>,
    tile: Vec<f32>,
    /// Sums of the gradients of keys and values over the query heads.
    dk: Vec<f32>,
    dv: Vec<f32>,
    limits: Vec<usize>,
    along: Vec<f32>,
}

impl Pass<'_> {
    /// All query heads of one key/value head of one sequence.
    fn group(&self, b: usize, g: usize, scratch: &mut Scratch) {
        let Geometry { m, d, .. } = self.geometry;
        let [_, k, v] = self.inputs;
        scratch.keys_across.fill(k.view(b, g, 0).transposed(), d, m);
        scratch.values_across.fill(v.view(b, g, 0).transposed(), d, m);
        if self.wanted[0] {
            scratch.keys.fill(k.view(b, g, 0), m, d);
        }
        for sums in [&mut scratch.dk, &mut scratch.dv] {
            sums.clear();
            sums.resize(m * padded(d), 0.0);
        }
        for h in self.geometry.served_by(g) {
            for block in self.geometry.blocks() {
                self.block(b, h, block, scratch);
            }
        }
        if self.wanted[1] {
            self.store(&self.dk, b, g, 0..m, &scratch.dk);
        }
        if self.wanted[2] {
            self.store(&self.dv, b, g, 0..m, &scratch.dv);
        }
    }

    /// Copies rows of padded width to one head of an output.
    fn store(&self, out: &OutHeads, b: usize, h: usize, rows: std::ops::Range<usize>, from: &[f32]) {
        let d = self.geometry.d;
        for (row, from) in rows.zip(from.chunks_exact(padded(d))) {
            // SAFETY: each head of each sequence is worked on by one thread.
            unsafe { out.row(b, row, h) }.copy_from_slice(&from[..d]);
        }
    }

    /// Some queries of one head.
    fn block(&self, b: usize, h: usize, rows: std::ops::Range<usize>, scratch: &mut Scratch) {
        let Geometry {
            n, heads, d, form, ..
        } = self.geometry;
        let (count, cols) = (rows.len(), self.geometry.visible(rows.end - 1));
        let (width, padded_d) = (padded(cols), padded(d));
        let Scratch {
            keys_across,
            values_across,
            scores,
            grads,
            limits,
            along,
            ..
        } = scratch;
        scores.resize(scores.len().max(count * width), 0.0);
        grads.resize(grads.len().max(count * width), 0.0);
        limits.clear();
        limits.extend(rows.clone().map(|i| self.geometry.visible(i)));
        let (q, grad) = (
            self.inputs[0].view(b, h, rows.start),
            self.grad.view(b, h, rows.start),
        );
        let output = self.output.view(b, h, rows.start);
        along.clear();
        along.extend((0..count).map(|r| {
            dot(
                &grad.data[r * grad.row..][..d],
                &output.data[r * output.row..][..d],
            )
        }));
        matmul((count, cols, d), q, keys_across, scores, width, false);
        matmul((count, cols, d), grad, values_across, grads, width, false);
        let bias = self
            .bias
            .map(|bias| &bias[b * padded(self.geometry.m)..][..padded(self.geometry.m)]);
        let block = Scores {
            stride: width,
            width,
            limits,
            scale: form.scale,
            bias,
        };
        let lse = &self.lse[(b * heads + h) * n..][rows.clone()];
        grad_block(scores, grads, block, lse, along);
        let Scratch {
            keys,
            rows: right,
            tile,
            dk,
            dv,
            ..
        } = scratch;
        if self.wanted[2] {
            right.fill(grad, count, d);
            matmul(
                (cols, d, count),
                View::rows(&scratch.scores, width).transposed(),
                right,
                dv,
                padded_d,
                true,
            );
        }
        if self.wanted[1] {
            right.fill(q, count, d);
            matmul(
                (cols, d, count),
                View::rows(&scratch.grads, width).transposed(),
                right,
                dk,
                padded_d,
                true,
            );
        }
        if self.wanted[0] {
            tile.resize(tile.len().max(count * padded_d), 0.0);
            matmul(
                (count, d, cols),
                View::rows(&scratch.grads, width),
                keys,
                tile,
                padded_d,
                false,
            );
            self.store(&self.dq, b, h, rows, tile);
        }
    }
}
