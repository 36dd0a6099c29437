//! GlimpsePrune (2025): its importance predictor on tokens alone, the loss against boxes, and the gate.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, Linear};
use burn::tensor::{Bool, Device, Tensor, activation};
use diffprune_kernels::{AttentionOptions, attention, linear3, silu};
use diffprune_pruner::Layout;
use serde::{Deserialize, Serialize};

use crate::error::{HeadConfigError, multiple_of, positive};
use crate::gate::{ScoringHead, check_weight, configured};
use crate::layers::{apply_norm, linear, norm};
use crate::{ConfigError, Gate, GateInput, GateSettings, Gated, LearnedMethod};

/// Score of tokens that must not be glimpsed at.
const HIDDEN: f64 = -1e9;

/// GlimpsePrune-style: tokens times the importance that its predictor gives them, and a loss against the tokens that boxes
/// cover. Samples must know these, see [`GateInput::relevance`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GlimpsePrune {
    /// Weight of the Dice loss. Default: 1, as published.
    pub dice_weight: f64,
    /// Weight of the binary cross-entropy. Default: 0.1, as published.
    pub bce_weight: f64,
}

impl Default for GlimpsePrune {
    fn default() -> Self {
        let GlimpseLossConfig {
            dice_weight,
            bce_weight,
        } = GlimpseLossConfig::new();
        Self {
            dice_weight,
            bce_weight,
        }
    }
}

/// The rows of the registry.
pub const ENTRIES: &[LearnedMethod] =
    &[
        LearnedMethod::new("glimpse-prune", "importance learned from boxes", || {
            GlimpsePrune::default().into()
        })
        .aliases(&["glimpse"])
        .paper("GlimpsePrune (2025)"),
    ];

impl GlimpsePrune {
    fn loss(&self) -> GlimpseLossConfig {
        GlimpseLossConfig {
            dice_weight: self.dice_weight,
            bce_weight: self.bce_weight,
        }
    }
}

impl Gate for GlimpsePrune {
    type Head = GlimpsePredictor;

    fn name(&self) -> String {
        "glimpse_prune".to_string()
    }

    fn head(&self, d_descriptor: usize) -> Option<GlimpsePredictorConfig> {
        Some(GlimpsePredictorConfig::for_width(d_descriptor))
    }

    fn check(&self, _: &GateSettings) -> Result<(), ConfigError> {
        // Boxes say what is kept; the budget is a limit at inference, and no weight is needed to hold it.
        check_weight("dice_weight", self.dice_weight, false)?;
        self.loss().check().map_err(|cause| {
            let wanted = "weights that are not negative, and one above 0";
            ConfigError::new("diffprune.method", cause, wanted)
        })
    }

    fn needs_relevance(&self) -> bool {
        true
    }

    fn gate(&self, predictor: &GlimpsePredictor, input: &GateInput<'_>) -> Result<Gated, ConfigError> {
        let Some(relevance) = &input.relevance else {
            let wanted = "a method without boxes, or samples that all have some";
            return Err(ConfigError::new("diffprune.method", self.name(), wanted));
        };
        let logits = predictor.forward(input.descriptors.clone(), input.mask.clone());
        let covered = relevance.clone().greater_elem(0.0).float();
        let penalty = self.loss().loss(logits.clone(), covered, input.mask.as_ref());
        let weights = activation::sigmoid(logits);
        let weights = match &input.mask {
            Some(mask) => weights.mask_fill(mask.clone().bool_not(), 0.0),
            None => weights,
        };
        Ok(input.scaled(weights, Some(penalty)))
    }
}

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
    pub fn check(&self) -> Result<(), HeadConfigError> {
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

    /// The maps of the glimpse: the logarithm of its attention, 0 for a token that gets an even share of it.
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
        let options = AttentionOptions::default().with_key_mask(mask);
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

impl ScoringHead for GlimpsePredictor {
    type Config = GlimpsePredictorConfig;

    const DECIDES_ON_THE_COUNT: bool = true;

    configured!();

    fn scores(&self, tokens: Tensor<3>, _: &[Layout], mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        self.forward(tokens, mask)
    }
}

/// Added to both sides of the Dice ratio, so that pictures without boxes have one.
const SMOOTH: f64 = 1.0;

/// The box loss of GlimpsePrune: `dice_weight * Dice + bce_weight * BCE`.
#[derive(Config, Debug, PartialEq)]
pub struct GlimpseLossConfig {
    /// Weight of the Dice loss. Default: 1, as published.
    #[config(default = 1.0)]
    pub dice_weight: f64,
    /// Weight of the binary cross-entropy. Default: 0.1, as published.
    #[config(default = 0.1)]
    pub bce_weight: f64,
}

impl GlimpseLossConfig {
    /// Checks the weights.
    ///
    /// # Errors
    /// If one is negative or not finite, or both are 0.
    pub fn check(&self) -> Result<(), HeadConfigError> {
        for (field, found) in [("dice_weight", self.dice_weight), ("bce_weight", self.bce_weight)] {
            if !(found.is_finite() && found >= 0.0) {
                let wanted = "a finite number, not negative";
                return Err(HeadConfigError::Number { field, found, wanted });
            }
        }
        positive("dice_weight", self.dice_weight + self.bce_weight)
    }

    /// The loss as a mean over the images.
    ///
    /// ```text
    /// Dice = 1 - (2 sum_i p_i y_i + 1) / (sum_i p_i + sum_i y_i + 1)      BCE = mean_i -[y_i log p_i + (1 - y_i) log(1 - p_i)]
    /// ```
    ///
    /// # Shapes
    /// - logits: `[batch, n_tokens]`, `p = sigmoid(logits)`; covered: `[batch, n_tokens]`, `y`, 1 = covered by a box
    /// - mask: `[batch, n_tokens]`, true = real token
    /// - output: `[1]`
    pub fn loss(&self, logits: Tensor<2>, covered: Tensor<2>, mask: Option<&Tensor<2, Bool>>) -> Tensor<1> {
        let covered = covered.cast(logits.dtype());
        let real = match mask {
            Some(mask) => mask.clone().float().cast(logits.dtype()),
            None => covered.ones_like(),
        };
        let covered = covered * real.clone();
        let p = activation::sigmoid(logits.clone()) * real.clone();
        let both = (p.clone() * covered.clone()).sum_dim(1) * 2.0 + SMOOTH;
        let either = p.sum_dim(1) + covered.clone().sum_dim(1) + SMOOTH;
        let dice = (both / either).neg() + 1.0;
        // -log p = softplus(-z), -log(1 - p) = softplus(z): softplus(z) - y z.
        let softplus = activation::log_sigmoid(logits.clone().neg()).neg();
        let bce = (softplus - logits * covered) * real.clone();
        let bce = bce.sum_dim(1) / real.sum_dim(1).clamp_min(1.0);
        (dice * self.dice_weight + bce * self.bce_weight).mean()
    }
}
