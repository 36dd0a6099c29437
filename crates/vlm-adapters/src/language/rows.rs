//! Attention of a few chosen queries, and nothing else of it.

use std::collections::BTreeMap;

use burn::tensor::{Bool, FloatDType, Int, Tensor, TensorData, activation};
use diffprune_pruner::{DecoderContext, DecoderObserved, DecoderSignals, DecoderStage, Queries, RowsOf};

use super::attention::QueryKeys;
use super::stream::Stream;
use super::{Llama, Rope};
use crate::splice::ints;

/// Stands for minus infinity among scores: finite, so that rows of padding stay finite too.
const HIDDEN: f32 = -1e30;

/// The state between two layers when a method acts there.
pub(super) struct Cut<'a> {
    pub(super) language: &'a Llama,
    pub(super) stream: &'a Stream,
    /// Layers that have run.
    pub(super) layer: usize,
    /// Rotary tables of the places as they are.
    pub(super) rope: &'a Rope,
    /// Queries and keys of the layer before; `None` before the first layer.
    pub(super) query_keys: Option<&'a QueryKeys>,
    /// Places of the raters of each sequence, counted in the text after its last visual token.
    pub(super) raters: &'a [Vec<usize>],
}

/// Chosen queries of a batch, padded by repeating the last place.
struct Chosen {
    counts: Vec<usize>,
    /// Over the `b * n` places of the batch, `[b * r]`.
    index: Tensor<1, Int>,
    /// True where a query may not look, `[b, 1, r, n]`.
    hidden: Tensor<4, Bool>,
}

impl Cut<'_> {
    /// The contexts of the sequences on which the method acts here.
    pub(super) fn contexts(&self, due: &[Option<DecoderStage>]) -> Vec<Option<DecoderContext>> {
        let mut chosen = BTreeMap::new();
        let mut attention = BTreeMap::new();
        for rows in due.iter().flatten().filter_map(|stage| stage.signals.attention) {
            let chosen: &Chosen = chosen
                .entry(rows.queries)
                .or_insert_with(|| self.choose(rows.queries));
            attention
                .entry(rows)
                .or_insert_with(|| self.attention(rows.layer, chosen));
        }
        let context = |(row, stage): (usize, &Option<DecoderStage>)| {
            let signals = stage.as_ref()?.signals;
            let rows = signals
                .attention
                .and_then(|rows| Some((chosen.get(&rows.queries)?, attention.get(&rows)?.as_ref())));
            Some(DecoderContext {
                row,
                n_tokens: self.stream.rows[row].len(),
                visual: self.stream.visual(row),
                observed: self.observe(row, signals, rows),
            })
        };
        due.iter().enumerate().map(context).collect()
    }

    fn observe(
        &self,
        row: usize,
        signals: DecoderSignals,
        rows: Option<(&Chosen, Option<&Tensor<4>>)>,
    ) -> DecoderObserved {
        let (pad, len) = (self.stream.pad(row), self.stream.rows[row].len());
        let hidden = || self.stream.of_row(row);
        let attention = |(chosen, weights): (&Chosen, Option<&Tensor<4>>)| {
            let weights = weights?.clone().narrow(0, row, 1).narrow(3, pad, len);
            Some(weights.narrow(2, 0, chosen.counts[row]).squeeze_dim::<3>(0))
        };
        let keys = |query_keys: &QueryKeys| {
            let keys = query_keys.k.clone().narrow(0, row, 1).narrow(1, pad, len);
            keys.squeeze_dim::<3>(0)
        };
        DecoderObserved {
            attention: rows.and_then(attention),
            keys: self.query_keys.filter(|_| signals.keys).map(keys),
            hidden: signals.hidden.then(hidden),
            normed: signals.normed.then(|| self.language.normalize(hidden())),
            rotary_bias: rows
                .filter(|_| signals.rotary_bias)
                .map(|(chosen, _)| self.rotary_bias(row, chosen)),
        }
    }

    /// The places of the queries in every sequence, and what they may look at: themselves and what comes before.
    fn choose(&self, queries: Queries) -> Chosen {
        let stream = self.stream;
        let (batch, width) = (stream.rows.len(), stream.width());
        let places = |row: usize| -> Vec<usize> {
            match queries {
                Queries::Last => vec![width - 1],
                Queries::Raters => {
                    let first = width - stream.n_text_after(row);
                    self.raters[row].iter().map(|rater| first + rater).collect()
                }
            }
        };
        let mut places: Vec<Vec<usize>> = (0..batch).map(places).collect();
        let counts: Vec<usize> = places.iter().map(Vec::len).collect();
        let n_rows = counts.iter().copied().max().unwrap_or(0).max(1);
        places
            .iter_mut()
            .for_each(|places| places.resize(n_rows, width - 1));
        let mut index = Vec::with_capacity(batch * n_rows);
        let mut hidden = Vec::with_capacity(batch * n_rows * width);
        for (row, places) in places.iter().enumerate() {
            let pad = stream.pad(row);
            for &place in places {
                index.push((row * width + place) as i64);
                hidden.extend((0..width).map(|key| key < pad || key > place));
            }
        }
        let device = stream.device();
        Chosen {
            counts,
            index: ints(index, [batch * n_rows], &device),
            hidden: Tensor::from_data(TensorData::new(hidden, [batch, 1, n_rows, width]), &device),
        }
    }

    /// Softmax attention of the chosen queries, `[b, n_heads, r, n]`; `None` where there is no such layer.
    fn attention(&self, layer: RowsOf, chosen: &Chosen) -> Option<Tensor<4>> {
        match layer {
            RowsOf::Next => {
                let layer = self.language.layers.get(self.layer)?;
                let QueryKeys { q, k } =
                    layer.query_keys(self.stream.hidden.clone(), self.rope, &chosen.index);
                Some(attention(q, k, &chosen.hidden))
            }
            RowsOf::Previous => {
                let QueryKeys { q, k } = self.query_keys?.clone();
                let [batch, n_tokens, n_heads, head_dim] = q.dims();
                let q = q
                    .reshape([batch * n_tokens, n_heads * head_dim])
                    .select(0, chosen.index.clone());
                let n_rows = chosen.index.dims()[0] / batch;
                let q = q.reshape([batch, n_rows, n_heads, head_dim]);
                Some(attention(q, k, &chosen.hidden))
            }
        }
    }

    /// `(R_q 1) . (R_k 1) / sqrt(head_dim)` with all-ones vectors turned to the places of a sequence, `[rows, t]`.
    fn rotary_bias(&self, row: usize, chosen: &Chosen) -> Tensor<2> {
        let [batch, n_tokens, half] = self.rope.cos.dims();
        let options = (&self.stream.device(), self.rope.cos.dtype());
        let turned = self
            .rope
            .apply(Tensor::<4>::ones([batch, n_tokens, 1, 2 * half], options))
            .reshape([batch * n_tokens, 2 * half]);
        let n_rows = chosen.index.dims()[0] / batch;
        let queries = chosen.index.clone().narrow(0, row * n_rows, chosen.counts[row]);
        let (pad, len) = (self.stream.pad(row), self.stream.rows[row].len());
        let keys = turned.clone().narrow(0, row * n_tokens + pad, len);
        turned.select(0, queries).matmul(keys.transpose()) / ((2 * half) as f64).sqrt()
    }
}

/// Softmax attention of a few queries in f32, `[b, n_heads, r, n]`.
///
/// # Shapes
/// - q: `[b, r, n_heads, head_dim]`
/// - k: `[b, n, n_kv_heads, head_dim]`; key head `g` serves neighbouring query heads
/// - hidden: `[b, 1, r, n]`, true where a query may not look
fn attention(q: Tensor<4>, k: Tensor<4>, hidden: &Tensor<4, Bool>) -> Tensor<4> {
    let [batch, n_rows, n_heads, head_dim] = q.dims();
    let [_, n_tokens, n_kv_heads, _] = k.dims();
    // The queries of one key head lie side by side, so that keys are not repeated.
    let q = q.cast(FloatDType::F32).swap_dims(1, 2).reshape([
        batch,
        n_kv_heads,
        n_heads / n_kv_heads * n_rows,
        head_dim,
    ]);
    let k = k.cast(FloatDType::F32).swap_dims(1, 2).swap_dims(2, 3);
    let scores = (q * (head_dim as f64).powf(-0.5)).matmul(k);
    let full = [batch, n_heads, n_rows, n_tokens];
    let scores = scores
        .reshape(full)
        .mask_fill(hidden.clone().expand(full), HIDDEN);
    activation::softmax(scores, 3)
}
