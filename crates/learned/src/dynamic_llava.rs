//! Dynamic-LLaVA (ICLR 2025): its vision predictor, and its gate before a frozen language model.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use diffprune_pruner::Layout;
use diffprune_scorer::{TransformerBlock, TransformerBlockConfig};
use serde::{Deserialize, Serialize};

use crate::decision::{DecisionInput, decided, keep_decision, keep_scores};
use crate::error::{HeadConfigError, multiple_of};
use crate::gate::{ScoringHead, check_weight, configured};
use crate::layers::{Entry, LocalGlobalHead, present};
use crate::{ConfigError, Gate, GateInput, GateSettings, Gated, LearnedMethod, TauRange};

/// Share of the vision tokens that the published training aims at.
pub const DYNAMIC_LLAVA_RATIO: f64 = 0.2;
/// Weight of [`ratio_loss`](diffprune_softtopk::ratio_loss) in the published training.
pub const DYNAMIC_LLAVA_RATIO_WEIGHT: f64 = 100.0;

/// Dynamic-LLaVA-style: as [`DynamicVit`](crate::DynamicVit) with the predictor and the geometric temperature of Dynamic-LLaVA.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicLlava {
    /// Weight of the ratio loss. Default: 100, as published.
    pub ratio_weight: f64,
}

impl Default for DynamicLlava {
    fn default() -> Self {
        Self {
            ratio_weight: DYNAMIC_LLAVA_RATIO_WEIGHT,
        }
    }
}

/// The rows of the registry.
pub const ENTRIES: &[LearnedMethod] =
    &[
        LearnedMethod::new("dynamic-llava", "hard keep decisions after two blocks", || {
            DynamicLlava::default().into()
        })
        .paper("Dynamic-LLaVA (ICLR 2025)"),
    ];

impl Gate for DynamicLlava {
    type Head = DynamicLlavaPredictor;

    fn name(&self) -> String {
        "dynamic_llava".to_string()
    }

    fn head(&self, d_descriptor: usize) -> Option<DynamicLlavaPredictorConfig> {
        Some(DynamicLlavaPredictorConfig::for_width(d_descriptor))
    }

    fn check(&self, _: &GateSettings) -> Result<(), ConfigError> {
        check_weight("ratio_weight", self.ratio_weight, true)
    }

    fn tau_at(&self, tau: TauRange, step: usize, steps: usize) -> f64 {
        geometric_tau(tau.start, tau.end, step, steps)
    }

    fn gate(&self, predictor: &DynamicLlavaPredictor, input: &GateInput<'_>) -> Result<Gated, ConfigError> {
        Ok(decided(input, self.ratio_weight, |decision| {
            predictor.decide(decision)
        }))
    }
}

/// Configuration of a [`DynamicLlavaPredictor`].
#[derive(Config, Debug, PartialEq)]
pub struct DynamicLlavaPredictorConfig {
    /// Width of the tokens that come in.
    pub d_model: usize,
    /// Width of the predictor; a multiple of 4 and of `n_heads`. Default: 512.
    #[config(default = 512)]
    pub d_hidden: usize,
    /// Heads of its blocks. Default: 8.
    #[config(default = 8)]
    pub n_heads: usize,
    /// Width of their feed-forward parts. Default: 2048.
    #[config(default = 2048)]
    pub d_ff: usize,
    /// Number of blocks. Default: 2.
    #[config(default = 2)]
    pub n_layers: usize,
}

/// Decides from tokens that have seen one another: a narrow transformer, then the head of DynamicViT.
///
/// ```text
/// h = Blocks(D * GELU(W LN(x)))      g = sum_i D_i h2_i / sum_i D_i      pi = softmax(MLP([h1_i, g]))
/// ```
///
/// The blocks are pre-norm. `D` is 1 for tokens kept so far; tokens that are not are not attended to either.
#[derive(Module, Debug)]
pub struct DynamicLlavaPredictor {
    entry: Entry,
    blocks: Vec<TransformerBlock>,
    head: LocalGlobalHead,
    #[module(skip)]
    config: DynamicLlavaPredictorConfig,
}

impl DynamicLlavaPredictorConfig {
    /// The published sizes for tokens at least 512 wide; for narrower ones a predictor as wide as they are, rounded down
    /// to a multiple of 8, and heads of at least 8.
    pub fn for_width(d_model: usize) -> Self {
        let d_hidden = (d_model.min(512) / 8 * 8).max(8);
        let n_heads = (d_hidden / 8).min(8);
        let n_heads = (1..=n_heads)
            .rev()
            .find(|n| d_hidden.is_multiple_of(*n))
            .unwrap_or(1);
        Self::new(d_model)
            .with_d_hidden(d_hidden)
            .with_n_heads(n_heads)
            .with_d_ff(4 * d_hidden)
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// If a width is 0 or cannot be split into heads or quarters.
    pub fn check(&self) -> Result<(), HeadConfigError> {
        multiple_of("d_model", self.d_model, 1)?;
        multiple_of("n_heads", self.n_heads, 1)?;
        multiple_of("d_ff", self.d_ff, 1)?;
        multiple_of("d_hidden", self.d_hidden, 4)?;
        multiple_of("d_hidden", self.d_hidden, self.n_heads)
    }

    /// Creates the predictor: weights of entry and head normal with standard deviation 0.02, blocks as in
    /// [`TransformerBlockConfig::init`], biases zero.
    ///
    /// # Panics
    /// If [`check`](Self::check) finds a fault.
    pub fn init(&self, device: &Device) -> DynamicLlavaPredictor {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        let block = TransformerBlockConfig::new(self.d_hidden, self.n_heads, self.d_ff);
        DynamicLlavaPredictor {
            entry: Entry::new(self.d_model, self.d_hidden, device),
            blocks: (0..self.n_layers).map(|_| block.init(device)).collect(),
            head: LocalGlobalHead::new(self.d_hidden, device),
            config: self.clone(),
        }
    }
}

impl DynamicLlavaPredictor {
    /// The configuration that this predictor was made with.
    pub fn config(&self) -> &DynamicLlavaPredictorConfig {
        &self.config
    }

    /// Scores for inference: the logarithm of the probability of keeping. Published inference keeps the
    /// `int(0.2 n)` largest, in their order.
    ///
    /// # Shapes
    /// - tokens: `[batch, n_tokens, d_model]`; mask: `[batch, n_tokens]`, true = real token
    /// - output: `[batch, n_tokens]`; scores of masked tokens mean nothing
    pub fn forward(&self, tokens: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        let keep = present(&tokens, None, mask);
        keep_scores(self.logits(tokens, keep))
    }

    /// Logits of keeping (class 0) and dropping, given what is left.
    ///
    /// # Shapes
    /// - tokens: `[batch, n_tokens, d_model]`; keep: `[batch, n_tokens]`, 1 = kept so far and real
    /// - output: `[batch, n_tokens, 2]`
    pub fn logits(&self, tokens: Tensor<3>, keep: Tensor<2>) -> Tensor<3> {
        let [batch, n_tokens, _] = tokens.dims();
        let hidden = self.entry.forward(tokens);
        let mut hidden = hidden.clone() * keep.clone().cast(hidden.dtype()).reshape([batch, n_tokens, 1]);
        let visible = keep.clone().without_autodiff().greater_elem(0.0);
        for block in &self.blocks {
            hidden = block.forward(hidden, Some(visible.clone()));
        }
        self.head.forward(hidden, keep)
    }

    /// The decision in training: zeros and ones with a straight-through gradient.
    ///
    /// # Shapes
    /// - output: `[batch, n_tokens]`
    pub fn decide(&self, input: DecisionInput) -> Tensor<2> {
        let keep = present(&input.tokens, input.keep, input.mask);
        let logits = self.logits(input.tokens, keep.clone());
        keep_decision(logits, input.noise, input.tau, keep)
    }
}

/// `start (end / start)^(step / steps)`, the published schedule of the Gumbel temperature with 1.0 and 0.1. `end` from
/// the last step on.
pub fn geometric_tau(start: f64, end: f64, step: usize, steps: usize) -> f64 {
    let done = match steps {
        0 => 1.0,
        steps => (step as f64 / steps as f64).min(1.0),
    };
    start * (end / start).powf(done)
}

impl ScoringHead for DynamicLlavaPredictor {
    type Config = DynamicLlavaPredictorConfig;

    configured!();

    fn scores(&self, tokens: Tensor<3>, _: &[Layout], mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        self.forward(tokens, mask)
    }
}
