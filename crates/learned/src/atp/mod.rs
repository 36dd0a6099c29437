//! ATP-LLaVA (CVPR 2025): thresholds that an image sets for itself, the loss on the count, and the gate.

mod loss;
mod threshold;

use burn::config::Config;
use burn::module::Module;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Bool, Device, Tensor, activation};
use diffprune_kernels::linear3;
use diffprune_pruner::Layout;
use serde::{Deserialize, Serialize};

pub use self::loss::{AtpLossConfig, AtpStage};
pub use self::threshold::{AtpInput, AtpOutput, AtpThreshold, AtpThresholdConfig, spatial_scores};
use crate::error::{HeadConfigError, multiple_of};
use crate::gate::{ScoringHead, check_weight, configured, padded};
use crate::layers::{apply_norm, linear, norm};
use crate::{ConfigError, Gate, GateInput, GateSettings, Gated, LearnedMethod};

/// ATP-style: tokens times the soft mask of learned thresholds, and a loss on the count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Atp {
    /// Weight of the distance between the mean count and the budget, per token. Default: 0.2.
    pub count_weight: f64,
}

impl Default for Atp {
    fn default() -> Self {
        Self {
            count_weight: AtpLossConfig::new().count_weight,
        }
    }
}

/// The rows of the registry.
pub const ENTRIES: &[LearnedMethod] =
    &[
        LearnedMethod::new("atp", "thresholds that an image sets for itself", || {
            Atp::default().into()
        })
        .paper("ATP-LLaVA (CVPR 2025)"),
    ];

impl Gate for Atp {
    type Head = AtpSelector;

    fn name(&self) -> String {
        "atp".to_string()
    }

    fn head(&self, d_descriptor: usize) -> Option<AtpSelectorConfig> {
        Some(AtpSelectorConfig::new(d_descriptor))
    }

    fn check(&self, _: &GateSettings) -> Result<(), ConfigError> {
        check_weight("count_weight", self.count_weight, true)
    }

    fn gate(&self, selector: &AtpSelector, input: &GateInput<'_>) -> Result<Gated, ConfigError> {
        let [images, n_tokens, _] = input.descriptors.dims();
        let device = input.device();
        let spatial = selector.spatial_rows(input.layouts, n_tokens, &device);
        let weights = selector
            .forward(input.descriptors.clone(), spatial, input.mask.clone())
            .weights;
        let target = input.budgets.iter().sum::<usize>() as f64 / images.max(1) as f64;
        let stage = AtpStage {
            layer: 0,
            weights: weights.clone(),
        };
        let loss = AtpLossConfig::new()
            .with_count_weight(self.count_weight)
            .with_target(target);
        let penalty = loss.loss(&[stage], input.mask.as_ref(), &device);
        Ok(input.scaled(weights, Some(penalty)))
    }
}

/// Configuration of an [`AtpSelector`].
#[derive(Config, Debug, PartialEq)]
pub struct AtpSelectorConfig {
    /// Width of the tokens.
    pub d_model: usize,
    /// The thresholds. Its `n_features` must be 2. Default: that of [`AtpThresholdConfig`].
    #[config(default = "AtpThresholdConfig::new()")]
    pub threshold: AtpThresholdConfig,
    /// Share of the tokens in the uniform sample that the spatial threshold decides on ([`AtpSelector::spatial`]), at
    /// most 1; 0 leaves importance alone. Default: 1/36, a quarter of a budget of 1/9.
    #[config(default = "1.0 / 36.0")]
    pub spatial_rate: f64,
}

/// [`AtpThreshold`] on tokens alone, for use before a frozen language model, which gives no attention.
///
/// Importance is `sigmoid(w LN(x) + b)`; the statistics are its mean and standard deviation over the image. The
/// published method takes importance from the attention of the language model's layers instead: give that to
/// [`AtpThreshold`].
#[derive(Module, Debug)]
pub struct AtpSelector {
    norm: LayerNorm,
    head: Linear,
    threshold: AtpThreshold,
    #[module(skip)]
    config: AtpSelectorConfig,
}

impl AtpSelectorConfig {
    /// Checks the sizes.
    ///
    /// # Errors
    /// As [`AtpThresholdConfig::check`], or if a size is 0, the number of statistics is not 2 or the rate is no share.
    pub fn check(&self) -> Result<(), HeadConfigError> {
        multiple_of("d_model", self.d_model, 1)?;
        self.threshold.check()?;
        if !(0.0..=1.0).contains(&self.spatial_rate) {
            return Err(HeadConfigError::Number {
                field: "spatial_rate",
                found: self.spatial_rate,
                wanted: "a share from 0 to 1",
            });
        }
        match self.threshold.n_features {
            2 => Ok(()),
            found => Err(HeadConfigError::Number {
                field: "threshold.n_features",
                found: found as f64,
                wanted: "2, the mean and the standard deviation of the scores",
            }),
        }
    }

    /// Creates the selector.
    ///
    /// # Panics
    /// If [`check`](Self::check) finds a fault.
    pub fn init(&self, device: &Device) -> AtpSelector {
        if let Err(error) = self.check() {
            panic!("{error}");
        }
        AtpSelector {
            norm: norm(self.d_model, device),
            head: linear(self.d_model, 1, device),
            threshold: self.threshold.init(device),
            config: self.clone(),
        }
    }
}

impl AtpSelector {
    /// The configuration that this selector was made with.
    pub fn config(&self) -> &AtpSelectorConfig {
        &self.config
    }

    /// The spatial scores of a raster at the configured rate; `None` when that is 0.
    ///
    /// # Shapes
    /// - output: `[1, rows * cols]`
    pub fn spatial(&self, rows: usize, cols: usize, device: &Device) -> Option<Tensor<2>> {
        let rate = self.config.spatial_rate;
        (rate > 0.0).then(|| spatial_scores(rows, cols, rate, device))
    }

    /// The spatial scores of some images, padded with zeros; `None` where there is no spatial branch.
    ///
    /// # Shapes
    /// - output: `[layouts, n_tokens]`
    pub fn spatial_rows(&self, layouts: &[Layout], n_tokens: usize, device: &Device) -> Option<Tensor<2>> {
        let device = &device.clone().without_autodiff();
        let rows = layouts.iter().map(|layout| {
            let parts = layout.segments.iter().map(|segment| {
                let grid = segment.grid;
                self.spatial(grid.rows, grid.cols, device)
            });
            let parts: Option<Vec<_>> = parts.collect();
            parts.map(|parts| padded(Tensor::cat(parts, 1), n_tokens))
        });
        let rows: Option<Vec<_>> = rows.collect();
        rows.filter(|rows| !rows.is_empty())
            .map(|rows| Tensor::cat(rows, 0))
    }

    /// Soft and hard mask of the tokens.
    ///
    /// # Shapes
    /// - tokens: `[batch, n_tokens, d_model]`; mask: `[batch, n_tokens]`, true = real token
    /// - spatial: `[batch, n_tokens]` or `[1, n_tokens]`
    pub fn forward(
        &self,
        tokens: Tensor<3>,
        spatial: Option<Tensor<2>>,
        mask: Option<Tensor<2, Bool>>,
    ) -> AtpOutput {
        let [batch, n_tokens, _] = tokens.dims();
        let logits = linear3(&self.head, apply_norm(&self.norm, tokens));
        let scores = activation::sigmoid(logits.reshape([batch, n_tokens]));
        let real = match &mask {
            Some(mask) => mask.clone().float().cast(scores.dtype()),
            None => scores.clone().without_autodiff().ones_like(),
        };
        let count = real.clone().sum_dim(1).clamp_min(1.0);
        let mean = (scores.clone() * real.clone()).sum_dim(1) / count.clone();
        let centred = (scores.clone() - mean.clone()) * real;
        let variance = (centred.clone() * centred).sum_dim(1) / count;
        // The root of 0 has no gradient.
        let deviation = (variance + 1e-6).sqrt();
        self.threshold.forward(AtpInput {
            scores,
            spatial,
            features: Tensor::cat(vec![mean, deviation], 1),
            mask,
        })
    }
}

impl ScoringHead for AtpSelector {
    type Config = AtpSelectorConfig;

    const DECIDES_ON_THE_COUNT: bool = true;

    configured!();

    fn scores(&self, tokens: Tensor<3>, layouts: &[Layout], mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        let [_, n_tokens, _] = tokens.dims();
        let spatial = self.spatial_rows(layouts, n_tokens, &tokens.device());
        self.forward(tokens, spatial, mask).margins
    }
}
