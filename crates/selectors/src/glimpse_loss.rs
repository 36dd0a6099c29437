//! What teaches a predictor where the answer lies.

use burn::config::Config;
use burn::tensor::{Bool, Tensor, activation};

use crate::error::{SelectorConfigError, positive};

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
    pub fn check(&self) -> Result<(), SelectorConfigError> {
        for (field, found) in [("dice_weight", self.dice_weight), ("bce_weight", self.bce_weight)] {
            if !(found.is_finite() && found >= 0.0) {
                let wanted = "a finite number, not negative";
                return Err(SelectorConfigError::Number { field, found, wanted });
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
