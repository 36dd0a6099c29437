//! Everything that can be trained to choose tokens, as one module.

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use diffprune_scorer::{Scorer, ScorerConfig};
use serde::{Deserialize, Serialize};

use crate::error::SelectorConfigError;
use crate::{
    AtpSelector, AtpSelectorConfig, DynamicLlavaPredictor, DynamicLlavaPredictorConfig, DynamicVitPredictor,
    DynamicVitPredictorConfig, GlimpsePredictor, GlimpsePredictorConfig,
};

/// Sizes of a [`Selector`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SelectorConfig {
    /// Sizes of a scorer.
    Scorer(ScorerConfig),
    /// Sizes of DynamicViT's predictor.
    DynamicVit(DynamicVitPredictorConfig),
    /// Sizes of Dynamic-LLaVA's predictor.
    DynamicLlava(DynamicLlavaPredictorConfig),
    /// Sizes of ATP's thresholds.
    Atp(AtpSelectorConfig),
    /// Sizes of GlimpsePrune's predictor.
    Glimpse(GlimpsePredictorConfig),
}

impl SelectorConfig {
    /// Name in settings and descriptions.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scorer(_) => "scorer",
            Self::DynamicVit(_) => "dynamic_vit",
            Self::DynamicLlava(_) => "dynamic_llava",
            Self::Atp(_) => "atp",
            Self::Glimpse(_) => "glimpse",
        }
    }

    /// Width of the tokens that it takes.
    pub fn d_model(&self) -> usize {
        match self {
            Self::Scorer(config) => config.d_model,
            Self::DynamicVit(config) => config.d_model,
            Self::DynamicLlava(config) => config.d_model,
            Self::Atp(config) => config.d_model,
            Self::Glimpse(config) => config.d_model,
        }
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub fn check(&self) -> Result<(), SelectorConfigError> {
        match self {
            Self::Scorer(config) => Ok(config.check()?),
            Self::DynamicVit(config) => config.check(),
            Self::DynamicLlava(config) => config.check(),
            Self::Atp(config) => config.check(),
            Self::Glimpse(config) => config.check(),
        }
    }

    /// Creates the module. All but the scorer draw their values when these are first read.
    ///
    /// # Panics
    /// If [`check`](Self::check) finds a fault.
    pub fn init(&self, device: &Device) -> Selector {
        match self {
            Self::Scorer(config) => Selector::Scorer(config.init(device)),
            Self::DynamicVit(config) => Selector::DynamicVit(config.init(device)),
            Self::DynamicLlava(config) => Selector::DynamicLlava(config.init(device)),
            Self::Atp(config) => Selector::Atp(config.init(device)),
            Self::Glimpse(config) => Selector::Glimpse(config.init(device)),
        }
    }
}

/// A module that chooses tokens from tokens: the scorer of DiffPrune, or the head of another method.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // one per training or pruner; a box would only burden callers
pub enum Selector {
    /// A score per token.
    Scorer(Scorer),
    /// Keep or drop, per token.
    DynamicVit(DynamicVitPredictor),
    /// Keep or drop, after blocks of its own.
    DynamicLlava(DynamicLlavaPredictor),
    /// A threshold per image.
    Atp(AtpSelector),
    /// Importance learned from boxes.
    Glimpse(GlimpsePredictor),
}

impl Selector {
    /// Its sizes.
    pub fn config(&self) -> SelectorConfig {
        match self {
            Self::Scorer(scorer) => SelectorConfig::Scorer(scorer.config().clone()),
            Self::DynamicVit(predictor) => SelectorConfig::DynamicVit(predictor.config().clone()),
            Self::DynamicLlava(predictor) => SelectorConfig::DynamicLlava(predictor.config().clone()),
            Self::Atp(selector) => SelectorConfig::Atp(selector.config().clone()),
            Self::Glimpse(predictor) => SelectorConfig::Glimpse(predictor.config().clone()),
        }
    }

    /// What tokens are ranked by at inference, higher first: scores, logarithms of keep probabilities, logits of importance,
    /// or margins above the threshold of importance ([`AtpSelector`]; without its uniform sample, which needs to know the
    /// raster).
    ///
    /// # Shapes
    /// - tokens: `[batch, n_tokens, d_model]`; mask: `[batch, n_tokens]`, true = real token
    /// - output: `[batch, n_tokens]`; scores of masked tokens mean nothing
    pub fn scores(&self, tokens: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        match self {
            Self::Scorer(scorer) => scorer.forward(tokens, mask),
            Self::DynamicVit(predictor) => predictor.forward(tokens, mask),
            Self::DynamicLlava(predictor) => predictor.forward(tokens, mask),
            Self::Atp(selector) => selector.forward(tokens, None, mask).margins,
            Self::Glimpse(predictor) => predictor.forward(tokens, mask),
        }
    }
}

impl Selector {
    /// Whether it decides for itself how many tokens an image needs: those with a score above 0.
    pub fn decides_on_the_count(&self) -> bool {
        matches!(self, Self::Atp(_) | Self::Glimpse(_))
    }
}

impl From<Scorer> for Selector {
    fn from(scorer: Scorer) -> Self {
        Self::Scorer(scorer)
    }
}
