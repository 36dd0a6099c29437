//! The importance predictor of GlimpsePrune (2025), on tokens alone.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, Linear};
use burn::tensor::{Bool, Device, Tensor};
use diffprune_kernels::{AttentionOptions, attention, linear3, silu};

use crate::error::{SelectorConfigError, multiple_of};
use crate::layers::{apply_norm, linear, norm};

/// Score of tokens that must not be glimpsed at.
const HIDDEN: f64 = -1e9;

/// Configuration of a [`GlimpsePredictor`].
#[derive(Config, Debug, PartialEq)]
pub struct GlimpsePredictorConfig {
    /// Width of the tokens that come in.
    pub d_model: usize,
    /// Maps that a glimpse leaves, one per head. Default: 32, the heads of the published language model.
    #[config(default = 32)]
    pub n_maps: usize,
    /// Width of the query and the keys of a map. Default: 32.
    #[config(default = 32)]
    pub d_map: usize,
    /// Width of the state; a multiple of `n_heads`. Default: 256.
    #[config(default = 256)]
    pub d_hidden: usize,
    /// Width of the tokens beside the state, where blocks compare. Default: 512.
    #[config(default = 512)]
    pub d_condition: usize,
    /// Heads of the blocks. Default: 4.
    #[config(default = 4)]
    pub n_heads: usize,
    /// Number of blocks. Default: 4.
    #[config(default = 4)]
    pub n_layers: usize,
}

/// One logit per token, positive where the token is important.
///
/// ```text
/// m_i = log softmax_i(q_h . W_k LN(x_i) / sqrt(d_map)) + log n        a learned glimpse q_h, one map per head h
/// s = W m      then for each block   s += Attn([LN(s), W_c LN(x)], [LN(s), W_c LN(x)], LN(s))      s += FFN(LN(s))
/// logit = w . LN(s)
/// ```
///
/// The published glimpse is a token of the language model and its maps are what that token attends to in layer 21; here it
/// is a learned query of the vision tokens. Blocks compare tokens by the state and by the tokens themselves, and mix the
/// state alone.
#[derive(Module, Debug)]
pub struct GlimpsePredictor {
    norm: LayerNorm,
    glimpse: Param<Tensor<2>>,
    glimpse_key: Linear,
    state: Linear,
    blocks: Vec<GlimpseBlock>,
    last_norm: LayerNorm,
    head: Linear,
    #[module(skip)]
    config: GlimpsePredictorConfig,
}

#[derive(Module, Debug)]
struct GlimpseBlock {
    norm1: LayerNorm,
    condition: Linear,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    n_heads: usize,
}

impl GlimpsePredictorConfig {
    /// The published sizes for tokens at least 256 wide; for narrower ones a state as wide as they are, rounded down to a
    /// multiple of 8, and as many maps as fit eight times into them.
    pub fn for_width(d_model: usize) -> Self {
        let d_hidden = (d_model.min(256) / 8 * 8).max(8);
        let n_maps = (d_model / 8).clamp(1, 32);
        Self::new(d_model)
            .with_d_hidden(d_hidden)
            .with_d_condition(2 * d_hidden)
            .with_n_maps(n_maps)
            .with_d_map((d_model / n_maps).clamp(1, 32))
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// If a size is 0 or the state cannot be split into heads.
    pub fn check(&self) -> Result<(), SelectorConfigError> {
        let sizes = [
            ("d_model", self.d_model),
            ("n_maps", self.n_maps),
            ("d_map", self.d_map),
            ("d_condition", self.d_condition),
            ("n_heads", self.n_heads),
            ("n_layers", self.n_layers),
        ];
        sizes
            .into_iter()
            .try_for_each(|(field, size)| multiple_of(field, size, 1))?;
        multiple_of("d_hidden", self.d_hidden, self.n_heads)
    }

    /// Creates the predictor: weights normal with standard deviation 0.02, the glimpse with 1, biases zero.
    ///
    /// # Panics
    /// If [`check`](Self::check) finds a fault.
    pub fn init(&self, device: &Device) -> GlimpsePredictor {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let glimpse = Initializer::Normal { mean: 0.0, std: 1.0 };
        GlimpsePredictor {
            norm: norm(self.d_model, device),
            glimpse: glimpse.init([self.n_maps, self.d_map], device),
            // A bias would shift all tokens alike, which the softmax takes out again.
            glimpse_key: Linear {
                bias: None,
                ..linear(self.d_model, self.n_maps * self.d_map, device)
            },
            state: linear(self.n_maps, self.d_hidden, device),
            blocks: (0..self.n_layers).map(|_| self.block(device)).collect(),
            last_norm: norm(self.d_hidden, device),
            head: linear(self.d_hidden, 1, device),
            config: self.clone(),
        }
    }

    fn block(&self, device: &Device) -> GlimpseBlock {
        let joined = self.d_hidden + self.d_condition;
        let layer = |d_in, d_out| linear(d_in, d_out, device);
        GlimpseBlock {
            norm1: norm(self.d_hidden, device),
            condition: layer(self.d_model, self.d_condition),
            q_proj: layer(joined, self.d_hidden),
            k_proj: layer(joined, self.d_hidden),
            v_proj: layer(self.d_hidden, self.d_hidden),
            out_proj: layer(self.d_hidden, self.d_hidden),
            norm2: norm(self.d_hidden, device),
            up: layer(self.d_hidden, 2 * self.d_hidden),
            down: layer(2 * self.d_hidden, self.d_hidden),
            n_heads: self.n_heads,
        }
    }
}

impl GlimpsePredictor {
    /// The configuration that this predictor was made with.
    pub fn config(&self) -> &GlimpsePredictorConfig {
        &self.config
    }

    /// Logits of importance. Published inference keeps those above 0, at least one token.
    ///
    /// # Shapes
    /// - tokens: `[batch, n_tokens, d_model]`; mask: `[batch, n_tokens]`, true = real token
    /// - output: `[batch, n_tokens]`; logits of masked tokens mean nothing
    pub fn forward(&self, tokens: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        let [batch, n_tokens, _] = tokens.dims();
        let tokens = apply_norm(&self.norm, tokens);
        let mut state = linear3(&self.state, self.maps(tokens.clone(), mask.as_ref()));
        for block in &self.blocks {
            state = block.forward(state, tokens.clone(), mask.clone());
        }
        linear3(&self.head, apply_norm(&self.last_norm, state)).reshape([batch, n_tokens])
    }

    /// What the glimpse sees: the logarithm of its attention, 0 for a token that gets an even share of it.
    ///
    /// # Shapes
    /// - tokens (normed): `[batch, n_tokens, d_model]`
    /// - output: `[batch, n_tokens, n_maps]`
    fn maps(&self, tokens: Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        let [batch, n_tokens, _] = tokens.dims();
        let (n_maps, d_map) = (self.config.n_maps, self.config.d_map);
        let keys = linear3(&self.glimpse_key, tokens).reshape([batch, n_tokens, n_maps, d_map]);
        let query = self.glimpse.val().reshape([1, 1, n_maps, d_map]);
        let scores = (keys * query).sum_dim(3).reshape([batch, n_tokens, n_maps]) / (d_map as f64).sqrt();
        let hidden = mask.map(|mask| {
            let hidden = mask.clone().bool_not().unsqueeze_dim::<3>(2);
            hidden.expand([batch, n_tokens, n_maps])
        });
        let real = scores.clone().without_autodiff().ones_like();
        let (scores, real) = match &hidden {
            Some(hidden) => (
                scores.mask_fill(hidden.clone(), HIDDEN),
                real.mask_fill(hidden.clone(), 0.0),
            ),
            None => (scores, real),
        };
        let peak = scores.clone().without_autodiff().max_dim(1);
        let centred = scores - peak;
        let even = real.sum_dim(1).clamp_min(1.0).log();
        let maps = centred.clone() - centred.exp().sum_dim(1).log() + even;
        match hidden {
            Some(hidden) => maps.mask_fill(hidden, 0.0),
            None => maps,
        }
    }
}

impl GlimpseBlock {
    fn forward(&self, state: Tensor<3>, tokens: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let [batch, n_tokens, d_hidden] = state.dims();
        let heads = [batch, n_tokens, self.n_heads, d_hidden / self.n_heads];
        let normed = apply_norm(&self.norm1, state.clone());
        let joined = Tensor::cat(vec![normed.clone(), linear3(&self.condition, tokens)], 2);
        let options = AttentionOptions {
            scale: None,
            causal: false,
            key_mask: mask,
        };
        let mixed = attention(
            linear3(&self.q_proj, joined.clone()).reshape(heads),
            linear3(&self.k_proj, joined).reshape(heads),
            linear3(&self.v_proj, normed).reshape(heads),
            &options,
        );
        let state = state + linear3(&self.out_proj, mixed.reshape([batch, n_tokens, d_hidden]));
        let hidden = silu(linear3(&self.up, apply_norm(&self.norm2, state.clone())));
        state + linear3(&self.down, hidden)
    }
}
