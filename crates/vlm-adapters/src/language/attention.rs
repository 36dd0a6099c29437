//! Causal attention with rotary positions and grouped keys.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Bool, Int, Tensor};
use diffprune_kernels::{AttentionOptions, attention, attention_rows, linear3, rope_halves, rope_tables};

use super::LayerCache;

/// Cosines and sines of the positions of a batch, each `[b, n, head_dim / 2]`, shared by all layers.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Cosines.
    pub cos: Tensor<3>,
    /// Sines.
    pub sin: Tensor<3>,
}

impl Rope {
    /// Tables for position ids `[axes, b, n]`: one axis, or three with `sections` of the frequencies, of which the
    /// first follows the first axis, and so on (contiguous, not interleaved).
    pub fn new(
        position_ids: Tensor<3, Int>,
        head_dim: usize,
        theta: f64,
        sections: Option<[usize; 3]>,
    ) -> Self {
        let [axes, batch, n_tokens] = position_ids.dims();
        let (cos, sin) = rope_tables(position_ids.reshape([axes * batch, n_tokens]), head_dim, theta);
        let Some(sections) = sections.filter(|_| axes == 3) else {
            return Self {
                cos: cos.narrow(0, 0, batch),
                sin: sin.narrow(0, 0, batch),
            };
        };
        let pick = |table: Tensor<3>| {
            let mut first = 0;
            let parts = sections.iter().enumerate().map(|(axis, &width)| {
                let part = table
                    .clone()
                    .narrow(0, axis * batch, batch)
                    .narrow(2, first, width);
                first += width;
                part
            });
            Tensor::cat(parts.collect(), 2)
        };
        Self {
            cos: pick(cos),
            sin: pick(sin),
        }
    }

    pub(super) fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        rope_halves(x, self.cos.clone(), self.sin.clone())
    }

    /// The tables of chosen places, as many for each sequence: `index` counts over the `b * n` places of the batch.
    pub(super) fn select(&self, index: &Tensor<1, Int>) -> Self {
        let pick = |table: &Tensor<3>| {
            let [batch, n_tokens, half] = table.dims();
            let picked = table
                .clone()
                .reshape([batch * n_tokens, half])
                .select(0, index.clone());
            picked.reshape([batch, index.dims()[0] / batch, half])
        };
        Self {
            cos: pick(&self.cos),
            sin: pick(&self.sin),
        }
    }

    fn last(&self, n: usize) -> Self {
        if n == self.cos.dims()[1] {
            return self.clone();
        }
        let start = self.cos.dims()[1] - n;
        Self {
            cos: self.cos.clone().narrow(1, start, n),
            sin: self.sin.clone().narrow(1, start, n),
        }
    }
}

/// The input of a layer beside the hidden states.
pub(super) struct LayerPass<'a> {
    pub(super) rope: &'a Rope,
    /// Of all slots, `[b, m]`, true = may be attended.
    pub(super) key_mask: Option<Tensor<2, Bool>>,
    /// Takes the keys and values of the new tokens.
    pub(super) cache: Option<&'a mut LayerCache>,
    /// The number of tokens that have an output: the last ones.
    pub(super) n_rows: usize,
}

/// Rotated queries and keys of a layer.
#[derive(Debug, Clone)]
pub(super) struct QueryKeys {
    /// Queries, `[b, n, n_heads, head_dim]`.
    pub(super) q: Tensor<4>,
    /// Keys, `[b, n, n_kv_heads, head_dim]`.
    pub(super) k: Tensor<4>,
}

/// Self-attention of a decoder layer. Key head `g` serves the queries `g * r .. (g + 1) * r` with `r` queries per key.
#[derive(Module, Debug)]
pub struct LlamaAttention {
    /// Queries, `[d_model, n_heads * head_dim]`.
    pub q_proj: Linear,
    /// Keys, `[d_model, n_kv_heads * head_dim]`.
    pub k_proj: Linear,
    /// Values, `[d_model, n_kv_heads * head_dim]`.
    pub v_proj: Linear,
    /// Output, `[n_heads * head_dim, d_model]`.
    pub o_proj: Linear,
    pub(super) head_dim: usize,
}

impl LlamaAttention {
    /// The output of the last `n_rows` tokens, for which all tokens serve as keys, with the queries of those tokens and
    /// the keys of the new ones.
    ///
    /// # Shapes
    /// - x: the normed input, `[b, n, d_model]`
    /// - output: `[b, n_rows, d_model]`
    pub(super) fn forward(&self, x: Tensor<3>, pass: LayerPass<'_>) -> (Tensor<3>, QueryKeys) {
        let LayerPass {
            rope,
            key_mask,
            cache,
            n_rows,
        } = pass;
        let [batch, n_tokens, _] = x.dims();
        let last = x.clone().narrow(1, n_tokens - n_rows, n_rows);
        let q = rope.last(n_rows).apply(self.heads(linear3(&self.q_proj, last)));
        let k = rope.apply(self.heads(linear3(&self.k_proj, x.clone())));
        let v = self.heads(linear3(&self.v_proj, x));
        let query_keys = QueryKeys {
            q: q.clone(),
            k: k.clone(),
        };
        let (k, v) = match cache {
            Some(cache) => cache.append(k, v),
            None => (k, v),
        };
        let [_, _, n_heads, head_dim] = q.dims();
        let options = AttentionOptions::default()
            .with_causal(true)
            .with_key_mask(key_mask);
        let attended = attention(q, k, v, &options).reshape([batch, n_rows, n_heads * head_dim]);
        (linear3(&self.o_proj, attended), query_keys)
    }

    /// The output of one new token of each of several sequences, which attends to all tokens in a cache of its own.
    ///
    /// # Shapes
    /// - x: the normed input, `[sequences, 1, d_model]`
    /// - output: `[sequences, 1, d_model]`
    pub(super) fn forward_each<'a>(
        &self,
        x: Tensor<3>,
        rope: &Rope,
        caches: impl Iterator<Item = &'a mut LayerCache>,
    ) -> Tensor<3> {
        let q = rope.apply(self.heads(linear3(&self.q_proj, x.clone())));
        let k = rope.apply(self.heads(linear3(&self.k_proj, x.clone())));
        let v = self.heads(linear3(&self.v_proj, x));
        let [n, _, n_heads, head_dim] = q.dims();
        let of = |all: &Tensor<4>, row: usize| all.clone().narrow(0, row, 1);
        let attended = caches.enumerate().map(|(row, cache)| {
            let (keys, values) = cache.append(of(&k, row), of(&v, row));
            attention(of(&q, row), keys, values, &AttentionOptions::default())
        });
        let attended = Tensor::cat(attended.collect(), 0).reshape([n, 1, n_heads * head_dim]);
        linear3(&self.o_proj, attended)
    }

    /// Queries of chosen places and keys of all, without attending: `index` as in [`Rope::select`].
    pub(super) fn query_keys(&self, x: Tensor<3>, rope: &Rope, index: &Tensor<1, Int>) -> QueryKeys {
        let [batch, n_tokens, d_model] = x.dims();
        let rows = x
            .clone()
            .reshape([batch * n_tokens, d_model])
            .select(0, index.clone());
        let rows = rows.reshape([batch, index.dims()[0] / batch, d_model]);
        QueryKeys {
            q: rope.select(index).apply(self.heads(linear3(&self.q_proj, rows))),
            k: rope.apply(self.heads(linear3(&self.k_proj, x))),
        }
    }

    /// Attention weights of the last `n_rows` queries of a pass without a cache.
    ///
    /// # Shapes
    /// - x: the normed input, `[b, n, d_model]`
    /// - output: `[b, n_heads, n_rows, n]`
    pub fn attention_rows(
        &self,
        x: Tensor<3>,
        rope: &Rope,
        key_mask: Option<Tensor<2, Bool>>,
        n_rows: usize,
    ) -> Tensor<4> {
        let start = x.dims()[1] - n_rows;
        let q = self.heads(linear3(&self.q_proj, x.clone().narrow(1, start, n_rows)));
        let k = rope.apply(self.heads(linear3(&self.k_proj, x)));
        let options = AttentionOptions::default()
            .with_causal(true)
            .with_key_mask(key_mask);
        attention_rows(rope.last(n_rows).apply(q), k, &options)
    }

    fn heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, n_tokens, width] = x.dims();
        x.reshape([batch, n_tokens, width / self.head_dim, self.head_dim])
    }
}
