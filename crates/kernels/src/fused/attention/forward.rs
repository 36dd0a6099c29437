//! The forward pass.

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::block::{Scores, mix_for_one, scores_of_one, softmax_block};
use super::heads::{Heads, OutHeads, key_bias};
use super::{AttentionForm, Geometry};
use crate::fused::buffer::{tensor, written};
use crate::fused::matmul::{Packed, View, matmul, padded};
use crate::fused::parallel::{SharedOut, for_parts, parts};

/// Up to so many queries keys and values are read where they lie: packing would cost more than it saves.
const UNPACKED_QUERIES: usize = 2;

/// Output `[b, n, h, d]` and, per row, the logarithm of the sum of exponentials, `[b, h, n]`.
pub(crate) fn forward(
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    mask: Option<FlexTensor>,
    form: AttentionForm,
) -> (FlexTensor, FlexTensor) {
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
    let (q, k, v) = (Heads::new(q), Heads::new(k), Heads::new(v));
    let mut lse = vec![0.0; batch * heads * n];
    let shared_lse = SharedOut::new(&mut lse);
    let out = written(batch * n * heads * d, |out| {
        let out = OutHeads::new(out, n, heads, d);
        let pass = Pass {
            geometry,
            q: &q,
            k: &k,
            v: &v,
            bias: bias.as_deref(),
            out,
            lse: shared_lse,
        };
        for_parts(&parts(batch * heads_kv, geometry.work_per_group()), |groups| {
            let mut scratch = Scratch::default();
            groups.for_each(|group| pass.group(group / heads_kv, group % heads_kv, &mut scratch));
        });
    });
    (
        tensor(out, Shape::from([batch, n, heads, d])),
        tensor(lse, Shape::from([batch, heads, n])),
    )
}

/// Everything one call reads and writes.
struct Pass<'a> {
    geometry: Geometry,
    q: &'a Heads,
    k: &'a Heads,
    v: &'a Heads,
    bias: Option<&'a [f32]>,
    out: OutHeads,
    lse: SharedOut,
}

/// Memory that one thread uses again for every head.
#[derive(Default)]
struct Scratch {
    keys: Packed,
    values: Packed,
    scores: Vec<f32>,
    mixed: Vec<f32>,
    limits: Vec<usize>,
    inverse: Vec<f32>,
}

impl Pass<'_> {
    /// All query heads of one key/value head of one sequence.
    fn group(&self, b: usize, g: usize, scratch: &mut Scratch) {
        let Geometry { n, m, d, .. } = self.geometry;
        let packed = n > UNPACKED_QUERIES;
        if packed {
            scratch.keys.fill(self.k.view(b, g, 0).transposed(), d, m);
            scratch.values.fill(self.v.view(b, g, 0), m, d);
        }
        for h in self.geometry.served_by(g) {
            for block in self.geometry.blocks() {
                if packed {
                    self.block(b, h, block, scratch);
                } else {
                    block.for_each(|i| self.single(b, g, h, i, scratch));
                }
            }
        }
    }

    fn bias_of(&self, b: usize) -> Option<&[f32]> {
        let padded_m = padded(self.geometry.m);
        self.bias.map(|bias| &bias[b * padded_m..][..padded_m])
    }

    /// The rows of one head in the table of `log sum exp`.
    ///
    /// # Safety
    /// As for [`SharedOut::slice`]: no two users of one row at a time.
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller promises that no two slices in use overlap"
    )]
    unsafe fn lse_of(&self, b: usize, h: usize, rows: std::ops::Range<usize>) -> &mut [f32] {
        let Geometry { n, heads, .. } = self.geometry;
        let start = (b * heads + h) * n;
        // SAFETY: promised by the caller.
        unsafe { self.lse.slice(start + rows.start..start + rows.end) }
    }

    /// Some queries of one head, keys and values packed.
    fn block(&self, b: usize, h: usize, rows: std::ops::Range<usize>, scratch: &mut Scratch) {
        let Geometry { d, form, .. } = self.geometry;
        let count = rows.len();
        let cols = self.geometry.visible(rows.end - 1);
        let (width, padded_d) = (padded(cols), padded(d));
        let Scratch {
            keys,
            values,
            scores,
            mixed,
            limits,
            inverse,
        } = scratch;
        scores.resize(scores.len().max(count * width), 0.0);
        mixed.resize(mixed.len().max(count * padded_d), 0.0);
        inverse.resize(inverse.len().max(count), 0.0);
        limits.clear();
        limits.extend(rows.clone().map(|i| self.geometry.visible(i)));
        matmul(
            (count, cols, d),
            self.q.view(b, h, rows.start),
            keys,
            scores,
            width,
            false,
        );
        let block = Scores {
            stride: width,
            width,
            limits,
            scale: form.scale,
            bias: self.bias_of(b),
        };
        // SAFETY: each head of each sequence is worked on by one thread, one block at a time.
        let lse = unsafe { self.lse_of(b, h, rows.clone()) };
        softmax_block(scores, block, lse, inverse);
        matmul(
            (count, d, cols),
            View::rows(scores, width),
            values,
            mixed,
            padded_d,
            false,
        );
        for (r, i) in rows.enumerate() {
            // SAFETY: each head of each sequence is worked on by one thread.
            let out = unsafe { self.out.row(b, i, h) };
            for (out, &mixed) in out.iter_mut().zip(&mixed[r * padded_d..][..d]) {
                *out = mixed * inverse[r];
            }
        }
    }

    /// One query, keys and values read where they lie.
    fn single(&self, b: usize, g: usize, h: usize, i: usize, scratch: &mut Scratch) {
        let Geometry { d, form, .. } = self.geometry;
        let cols = self.geometry.visible(i);
        let scores = &mut scratch.scores;
        scores.resize(scores.len().max(cols), 0.0);
        scores_of_one(
            &self.q.view(b, h, i).data[..d],
            self.k.view(b, g, 0),
            &mut scores[..cols],
        );
        let limits = [cols];
        let block = Scores {
            stride: cols,
            width: cols,
            limits: &limits,
            scale: form.scale,
            bias: self.bias_of(b),
        };
        let mut inverse = [0.0];
        // SAFETY: each head of each sequence is worked on by one thread.
        let (lse, out) = unsafe { (self.lse_of(b, h, i..i + 1), self.out.row(b, i, h)) };
        softmax_block(scores, block, lse, &mut inverse);
        mix_for_one(&scores[..cols], self.v.view(b, g, 0), out);
        out.iter_mut().for_each(|out| *out *= inverse[0]);
    }
}
