//! DynamicViT (Rao et al., NeurIPS 2021): its predictor, and its gate before a frozen language model.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use diffprune_pruner::Layout;
use diffprune_softtopk::ratio_loss;
use serde::{Deserialize, Serialize};

use crate::decision::{DecisionInput, decided, keep_decision, keep_scores};
use crate::error::{HeadConfigError, multiple_of};
use crate::gate::{ScoringHead, check_weight, configured};
use crate::layers::{Entry, LocalGlobalHead, present};
use crate::{ConfigError, Gate, GateInput, GateSettings, Gated, LearnedMethod, TauRange};

/// Weight of [`stage_ratio_loss`] in the published training.
pub const DYNAMICVIT_RATIO_WEIGHT: f64 = 2.0;

/// DynamicViT-style: its predictor before the frozen language model. Tokens times hard decisions (two-class Gumbel-softmax,
/// straight-through, at the first temperature all along) and a ratio loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicVit {
    /// Weight of the ratio loss. Default: 2, as published.
    pub ratio_weight: f64,
}

impl Default for DynamicVit {
    fn default() -> Self {
        Self {
            ratio_weight: DYNAMICVIT_RATIO_WEIGHT,
        }
    }
}

/// The rows of the registry.
pub const ENTRIES: &[LearnedMethod] =
    &[
        LearnedMethod::new("dynamic-vit", "hard keep decisions of a predictor", || {
            DynamicVit::default().into()
        })
        .paper("DynamicViT (NeurIPS 2021)"),
    ];

impl Gate for DynamicVit {
    type Head = DynamicVitPredictor;

    fn name(&self) -> String {
        "dynamic_vit".to_string()
    }

    fn head(&self, d_descriptor: usize) -> Option<DynamicVitPredictorConfig> {
        Some(DynamicVitPredictorConfig::new(d_descriptor))
    }

    fn check(&self, _: &GateSettings) -> Result<(), ConfigError> {
        check_weight("ratio_weight", self.ratio_weight, true)
    }

    fn tau_at(&self, tau: TauRange, _: usize, _: usize) -> f64 {
        tau.start
    }

    fn gate(&self, predictor: &DynamicVitPredictor, input: &GateInput<'_>) -> Result<Gated, ConfigError> {
        Ok(decided(input, self.ratio_weight, |decision| {
            predictor.decide(decision)
        }))
    }
}

/// Configuration of a [`DynamicVitPredictor`].
#[derive(Config, Debug, PartialEq)]
pub struct DynamicVitPredictorConfig {
    /// Width of the tokens; a multiple of 4.
    pub d_model: usize,
}

/// Decides token by token from the token itself and the mean of those that are left.
///
/// ```text
/// z = GELU(W LN(x))      g = sum_i D_i z2_i / sum_i D_i      pi = softmax(MLP([z1_i, g]))
/// ```
///
/// `z1`, `z2` are the two halves of the channels, `D` is 1 for tokens kept so far. The MLP halves its width twice and
/// ends in two classes, of which the first keeps.
#[derive(Module, Debug)]
pub struct DynamicVitPredictor {
    entry: Entry,
    head: LocalGlobalHead,
    #[module(skip)]
    config: DynamicVitPredictorConfig,
}

impl DynamicVitPredictorConfig {
    /// Checks the sizes.
    ///
    /// # Errors
    /// If `d_model` is not a positive multiple of 4.
    pub fn check(&self) -> Result<(), HeadConfigError> {
        multiple_of("d_model", self.d_model, 4)
    }

    /// Creates the predictor: weights normal with standard deviation 0.02, biases zero.
    ///
    /// # Panics
    /// If [`check`](Self::check) finds a fault.
    pub fn init(&self, device: &Device) -> DynamicVitPredictor {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        DynamicVitPredictor {
            entry: Entry::new(self.d_model, self.d_model, device),
            head: LocalGlobalHead::new(self.d_model, device),
            config: self.clone(),
        }
    }
}

impl DynamicVitPredictor {
    /// The configuration that this predictor was made with.
    pub fn config(&self) -> &DynamicVitPredictorConfig {
        &self.config
    }

    /// Scores for inference: the logarithm of the probability of keeping. Published inference keeps the
    /// `int(rho n)` largest.
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
        self.head.forward(self.entry.forward(tokens), keep)
    }

    /// The decision of one stage in training: zeros and ones with a straight-through gradient. The sequence keeps its
    /// length; attention hides dropped tokens ([`policy_softmax`](diffprune_softtopk::policy_softmax)).
    ///
    /// # Shapes
    /// - output: `[batch, n_tokens]`
    pub fn decide(&self, input: DecisionInput) -> Tensor<2> {
        let keep = present(&input.tokens, input.keep, input.mask);
        let logits = self.logits(input.tokens, keep.clone());
        keep_decision(logits, input.noise, input.tau, keep)
    }
}

/// `mean over stages of ratio_loss(D_s, rho^s)`, stages counted from 1: after every stage a share `rho` of what was
/// left shall stay. 0 without stages.
///
/// # Shapes
/// - decisions: one `[batch, n_tokens]` per stage; mask: `[batch, n_tokens]`, true = real token
/// - output: `[1]`
pub fn stage_ratio_loss(
    decisions: &[Tensor<2>],
    rho: f64,
    mask: Option<&Tensor<2, Bool>>,
    device: &Device,
) -> Tensor<1> {
    let stages = decisions.iter().zip(1..);
    let losses = stages.map(|(keep, stage)| ratio_loss(keep.clone(), rho.powi(stage), mask.cloned()));
    let share = 1.0 / decisions.len().max(1) as f64;
    losses
        .reduce(|sum, loss| sum + loss)
        .map_or_else(|| Tensor::zeros([1], device), |sum| sum * share)
}

impl ScoringHead for DynamicVitPredictor {
    type Config = DynamicVitPredictorConfig;

    configured!();

    fn scores(&self, tokens: Tensor<3>, _: &[Layout], mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        self.forward(tokens, mask)
    }
}
