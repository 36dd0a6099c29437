//! The decoder of Llama and Mistral: RMSNorm, rotary positions, grouped keys, SwiGLU.

use std::ops::Range;

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig, RmsNorm, RmsNormConfig};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use diffprune_kernels::{apply_rms_norm, linear3, swiglu};

use super::attention::{LayerPass, QueryKeys};
use super::{KvCache, LayerCache, LlamaAttention, Rope};
use crate::LlamaConfig;

/// Standard deviation of freshly drawn weights, as in GPT-2 and Llama.
const INIT_STD: f64 = 0.02;

/// A decoder-only language model.
#[derive(Module, Debug)]
pub struct Llama {
    /// Token embeddings, `[vocab, d_model]`.
    pub embed_tokens: Embedding,
    /// The blocks.
    pub layers: Vec<LlamaLayer>,
    /// Final norm.
    pub norm: RmsNorm,
    /// Head, `[d_model, vocab]`; `None` when it is the embedding matrix.
    pub lm_head: Option<Linear>,
    head_dim: usize,
    n_kv_heads: usize,
    rope_theta: f64,
    mrope_section: Option<[usize; 3]>,
    max_positions: usize,
}

/// One block of [`Llama`]: `x + Attn(norm(x))`, then `x + MLP(norm(x))`.
#[derive(Module, Debug)]
pub struct LlamaLayer {
    /// Norm before the attention.
    pub input_layernorm: RmsNorm,
    /// Attention.
    pub self_attn: LlamaAttention,
    /// Norm before the MLP.
    pub post_attention_layernorm: RmsNorm,
    /// MLP.
    pub mlp: LlamaMlp,
}

/// `W_down (silu(W_gate x) * W_up x)`.
#[derive(Module, Debug)]
pub struct LlamaMlp {
    /// Gate, `[d_model, d_inner]`.
    pub gate_proj: Linear,
    /// Up, `[d_model, d_inner]`.
    pub up_proj: Linear,
    /// Down, `[d_inner, d_model]`.
    pub down_proj: Linear,
}

impl LlamaConfig {
    /// A language model with random weights.
    ///
    /// # Panics
    /// When the heads are not a multiple of the key heads, the head width is odd, or rotary sections do not fill it.
    pub fn init(&self, device: &Device) -> Llama {
        let head_dim = self.head_dim;
        assert_eq!(
            self.num_attention_heads % self.num_key_value_heads,
            0,
            "heads must be a multiple of the key heads"
        );
        assert_eq!(head_dim % 2, 0, "rotary positions need an even head width");
        if let Some(sections) = self.mrope_section {
            let sum: usize = sections.iter().sum();
            assert_eq!(
                sum,
                head_dim / 2,
                "the rotary sections must fill half of the head width"
            );
        }
        let embeddings = EmbeddingConfig::new(self.vocab_size, self.hidden_size);
        let head = || linear(self.hidden_size, self.vocab_size, INIT_STD, device);
        Llama {
            embed_tokens: embeddings.with_initializer(normal(INIT_STD)).init(device),
            layers: (0..self.num_hidden_layers)
                .map(|_| self.init_layer(device))
                .collect(),
            norm: self.norm(device),
            lm_head: (!self.tie_word_embeddings).then(head),
            head_dim,
            n_kv_heads: self.num_key_value_heads,
            rope_theta: self.rope_theta,
            mrope_section: self.mrope_section,
            max_positions: self.max_position_embeddings,
        }
    }

    fn init_layer(&self, device: &Device) -> LlamaLayer {
        let (width, inner, head_dim) = (self.hidden_size, self.intermediate_size, self.head_dim);
        let (q_width, kv_width) = (
            self.num_attention_heads * head_dim,
            self.num_key_value_heads * head_dim,
        );
        // Residual branches start small, so that depth does not blow up the sum (GPT-2).
        let residual_std = INIT_STD / (2.0 * self.num_hidden_layers as f64).sqrt();
        LlamaLayer {
            input_layernorm: self.norm(device),
            self_attn: LlamaAttention {
                q_proj: self.qkv(width, q_width, device),
                k_proj: self.qkv(width, kv_width, device),
                v_proj: self.qkv(width, kv_width, device),
                o_proj: linear(q_width, width, residual_std, device),
                head_dim,
            },
            post_attention_layernorm: self.norm(device),
            mlp: LlamaMlp {
                gate_proj: linear(width, inner, INIT_STD, device),
                up_proj: linear(width, inner, INIT_STD, device),
                down_proj: linear(inner, width, residual_std, device),
            },
        }
    }

    fn qkv(&self, d_input: usize, d_output: usize, device: &Device) -> Linear {
        let mut layer = linear(d_input, d_output, INIT_STD, device);
        if self.attention_bias {
            layer.bias = Some(Initializer::Zeros.init([d_output], device));
        }
        layer
    }

    fn norm(&self, device: &Device) -> RmsNorm {
        RmsNormConfig::new(self.hidden_size)
            .with_epsilon(self.rms_norm_eps)
            .init(device)
    }
}

impl Llama {
    /// Final hidden states (after the last norm).
    ///
    /// Sequence order decides who sees whom (causal); position ids only turn the keys and queries.
    ///
    /// # Shapes
    /// - embeds: `[b, n, d_model]`
    /// - position_ids: `[axes, b, n]`, see [`Self::position_axes`]
    /// - key_mask: of the new tokens, `[b, n]`, true = may be attended; `None` = all
    /// - output: `[b, n, d_model]`
    pub fn forward(
        &self,
        embeds: Tensor<3>,
        position_ids: Tensor<3, Int>,
        key_mask: Option<Tensor<2, Bool>>,
        cache: Option<&mut KvCache>,
    ) -> Tensor<3> {
        let n_tokens = embeds.dims()[1];
        self.normalize(self.layers_tail(embeds, position_ids, key_mask, cache, n_tokens))
    }

    /// As [`Self::forward`], without the last norm and for the last `n_rows` tokens only: the last layer skips the
    /// others, of which nobody reads the output.
    ///
    /// # Shapes
    /// - output: `[b, n_rows, d_model]`
    pub fn layers_tail(
        &self,
        embeds: Tensor<3>,
        position_ids: Tensor<3, Int>,
        key_mask: Option<Tensor<2, Bool>>,
        cache: Option<&mut KvCache>,
        n_rows: usize,
    ) -> Tensor<3> {
        let rope = self.rope(position_ids);
        let all = 0..self.layers.len();
        self.run(all, embeds, &rope, key_mask, cache, n_rows).0
    }

    /// A run of layers that are always fed together, with the queries and keys of its last one; the last layer of the
    /// model skips all but the last `n_rows` tokens.
    pub(super) fn run(
        &self,
        layers: Range<usize>,
        mut hidden: Tensor<3>,
        rope: &Rope,
        key_mask: Option<Tensor<2, Bool>>,
        mut cache: Option<&mut KvCache>,
        n_rows: usize,
    ) -> (Tensor<3>, Option<QueryKeys>) {
        let [batch, n_tokens, _] = hidden.dims();
        let key_mask = match cache.as_deref_mut() {
            Some(cache) => cache.extend_mask_of(layers.clone(), key_mask, [batch, n_tokens]),
            None => key_mask,
        };
        let mut query_keys = None;
        for i in layers {
            let is_last = i + 1 == self.layers.len();
            let pass = LayerPass {
                rope,
                key_mask: key_mask.clone(),
                cache: cache.as_deref_mut().map(|cache| cache.layer(i)),
                n_rows: if is_last { n_rows } else { n_tokens },
            };
            // The last ones' queries and keys are given back before the next layer makes its own.
            drop(query_keys.take());
            let (next, of_layer) = self.layers[i].forward(hidden, pass);
            (hidden, query_keys) = (next, Some(of_layer));
        }
        (hidden, query_keys)
    }

    /// The input of every layer and the output of the last one (before the last norm), each `[b, n, d_model]`.
    pub fn hidden_states(
        &self,
        embeds: Tensor<3>,
        position_ids: Tensor<3, Int>,
        key_mask: Option<Tensor<2, Bool>>,
    ) -> Vec<Tensor<3>> {
        let rope = self.rope(position_ids);
        let mut states = vec![embeds];
        for layer in &self.layers {
            let last = states[states.len() - 1].clone();
            let pass = LayerPass {
                rope: &rope,
                key_mask: key_mask.clone(),
                cache: None,
                n_rows: last.dims()[1],
            };
            states.push(layer.forward(last, pass).0);
        }
        states
    }

    /// Embeddings of token ids.
    ///
    /// # Shapes
    /// - ids: `[b, n]`
    /// - output: `[b, n, d_model]`
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.embed_tokens.forward(ids)
    }

    /// Embeddings of a list of token ids, `[ids, d_model]`.
    pub fn embed_ids(&self, ids: &[u32]) -> Tensor<2> {
        let values: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let ids = TensorData::new(values, [1, ids.len()]);
        self.embed(Tensor::from_data(ids, &self.device())).squeeze_dim(0)
    }

    /// The last norm.
    pub fn normalize<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        apply_rms_norm(&self.norm, hidden)
    }

    /// Scores of the next token.
    ///
    /// # Shapes
    /// - hidden: normed, `[rows, d_model]`
    /// - output: `[rows, vocab]`
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.forward(hidden),
            None => hidden.matmul(self.embed_tokens.weight.val().transpose()),
        }
    }

    /// Rotary tables for position ids `[axes, b, n]`.
    pub fn rope(&self, position_ids: Tensor<3, Int>) -> Rope {
        Rope::new(position_ids, self.head_dim, self.rope_theta, self.mrope_section)
    }

    /// Number of position axes: three (time, row, column) with sections of frequencies, else one.
    pub fn position_axes(&self) -> usize {
        if self.mrope_section.is_some() { 3 } else { 1 }
    }

    /// An empty cache for `batch` sequences of at most `capacity` tokens.
    pub fn cache(&self, batch: usize, capacity: usize) -> KvCache {
        let weight = self.embed_tokens.weight.val();
        let shape = [batch, capacity, self.n_kv_heads, self.head_dim];
        KvCache::new(self.layers.len(), shape, weight.dtype(), &weight.device())
    }

    /// Bytes of keys and values that one token takes in the cache of all layers.
    pub fn kv_bytes_per_token(&self) -> u64 {
        let bytes = self.embed_tokens.weight.val().dtype().size();
        (2 * self.layers.len() * self.n_kv_heads * self.head_dim * bytes) as u64
    }

    /// Width of the model, `d_model`.
    pub fn d_model(&self) -> usize {
        self.embed_tokens.weight.lazy_shape().dims::<2>()[1]
    }

    /// Number of rows of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.embed_tokens.weight.lazy_shape().dims::<2>()[0]
    }

    /// Number of positions that the model was made for.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// The device that holds the weights.
    pub fn device(&self) -> Device {
        self.embed_tokens.weight.val().device()
    }
}

impl LlamaLayer {
    /// The output for the last `n_rows` tokens, for which all tokens serve as keys, with the layer's queries and keys.
    ///
    /// # Shapes
    /// - x: `[b, n, d_model]`
    /// - output: `[b, n_rows, d_model]`
    fn forward(&self, x: Tensor<3>, pass: LayerPass<'_>) -> (Tensor<3>, QueryKeys) {
        let (n_tokens, n_rows) = (x.dims()[1], pass.n_rows);
        let normed = apply_rms_norm(&self.input_layernorm, x.clone());
        let (attended, query_keys) = self.self_attn.forward(normed, pass);
        let x = x.narrow(1, n_tokens - n_rows, n_rows) + attended;
        (self.after_attention(x), query_keys)
    }

    /// The output for one new token of each of several sequences with caches of their own.
    ///
    /// # Shapes
    /// - x: `[sequences, 1, d_model]`
    /// - output: `[sequences, 1, d_model]`
    pub(super) fn forward_each<'a>(
        &self,
        x: Tensor<3>,
        rope: &Rope,
        caches: impl Iterator<Item = &'a mut LayerCache>,
    ) -> Tensor<3> {
        let normed = apply_rms_norm(&self.input_layernorm, x.clone());
        self.after_attention(x + self.self_attn.forward_each(normed, rope, caches))
    }

    fn after_attention(&self, x: Tensor<3>) -> Tensor<3> {
        let normed = apply_rms_norm(&self.post_attention_layernorm, x.clone());
        x + self.mlp.forward(normed)
    }

    /// Queries of chosen places and keys of all places of the layer's input `[b, n, d_model]`, without running it.
    pub(super) fn query_keys(&self, x: Tensor<3>, rope: &Rope, index: &Tensor<1, Int>) -> QueryKeys {
        self.self_attn
            .query_keys(apply_rms_norm(&self.input_layernorm, x), rope, index)
    }

    /// Attention weights of the last `n_rows` queries of this layer, without a cache.
    ///
    /// # Shapes
    /// - x: the layer's input, `[b, n, d_model]`
    /// - output: `[b, n_heads, n_rows, n]`
    pub fn attention_rows(
        &self,
        x: Tensor<3>,
        rope: &Rope,
        key_mask: Option<Tensor<2, Bool>>,
        n_rows: usize,
    ) -> Tensor<4> {
        self.self_attn
            .attention_rows(apply_rms_norm(&self.input_layernorm, x), rope, key_mask, n_rows)
    }
}

impl LlamaMlp {
    /// # Shapes
    /// - x: `[b, n, d_model]`
    /// - output: `[b, n, d_model]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = linear3(&self.gate_proj, x.clone());
        let up = linear3(&self.up_proj, x);
        linear3(&self.down_proj, swiglu(gate, up))
    }
}

fn normal(std: f64) -> Initializer {
    Initializer::Normal { mean: 0.0, std }
}

fn linear(d_input: usize, d_output: usize, std: f64, device: &Device) -> Linear {
    LinearConfig::new(d_input, d_output)
        .with_bias(false)
        .with_initializer(normal(std))
        .init(device)
}
