//! The measurements of every step.

use burn::tensor::{Bool, Tensor};
use serde::Serialize;

/// One line of `metrics.jsonl` for an update.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StepMetrics {
    /// Negative log-likelihood of the batch before the update, nats per token.
    pub(crate) nll: f64,
    /// The method's own loss, weighted; left out for methods without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) penalty: Option<f64>,
    /// Joint norm of the gradients before clipping.
    pub(crate) grad_norm: f64,
    /// Learning rate.
    pub(crate) lr: f64,
    /// Temperature.
    pub(crate) tau: f64,
    /// Statistics of the weights, means over the images.
    #[serde(flatten)]
    pub(crate) weights: WeightStats,
    /// Tokens that may pass, as a mean over the images; a setting and no measurement.
    #[serde(skip)]
    pub(crate) budget: f64,
    /// Targets that were learned per second, which no file of the run may depend on.
    #[serde(skip)]
    pub(crate) targets_per_second: f64,
}

/// One line of `metrics.jsonl` for a validation.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ValidationMetrics {
    /// Negative log-likelihood with hard top-k pruned tokens, nats per token.
    pub(crate) val_nll: f64,
}

/// The use of the budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct WeightStats {
    /// Sum of the weights of an image: the budget that is really used.
    pub(crate) alpha_sum: f64,
    /// Mean weight of a token.
    pub(crate) alpha_mean: f64,
    /// Mean binary entropy of a token's weight, nats.
    pub(crate) alpha_entropy: f64,
    /// Sum of `alpha (1 - alpha)` of an image: tokens that are neither kept nor dropped, 0 for a hard choice.
    pub(crate) leakage: f64,
    /// Share of the tokens with a weight above one half.
    pub(crate) above_half: f64,
}

impl WeightStats {
    /// Sums over the images of a batch, with the number of images.
    pub(crate) fn of(weights: &Tensor<2>, mask: Option<&Tensor<2, Bool>>) -> (Self, usize) {
        let [images, n_tokens] = weights.dims();
        let values: Vec<f64> = weights.clone().into_data().iter::<f64>().collect();
        let real: Option<Vec<bool>> = mask.map(|mask| mask.clone().into_data().iter::<bool>().collect());
        let mut sum = Self::default();
        for row in 0..images {
            let range = row * n_tokens..(row + 1) * n_tokens;
            let tokens: Vec<f64> = range
                .filter(|&i| real.as_ref().is_none_or(|real| real[i]))
                .map(|i| values[i])
                .collect();
            sum = sum.plus(&Self::of_image(&tokens));
        }
        (sum, images)
    }

    fn of_image(weights: &[f64]) -> Self {
        let count = weights.len().max(1) as f64;
        let sum = |f: fn(f64) -> f64| weights.iter().map(|&alpha| f(alpha)).sum::<f64>();
        let alpha_sum = sum(|alpha| alpha);
        Self {
            alpha_sum,
            alpha_mean: alpha_sum / count,
            alpha_entropy: sum(|alpha| part(alpha) + part(1.0 - alpha)) / count,
            leakage: sum(|alpha| alpha * (1.0 - alpha)),
            above_half: sum(|alpha| f64::from(u8::from(alpha > 0.5))) / count,
        }
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            alpha_sum: self.alpha_sum + other.alpha_sum,
            alpha_mean: self.alpha_mean + other.alpha_mean,
            alpha_entropy: self.alpha_entropy + other.alpha_entropy,
            leakage: self.leakage + other.leakage,
            above_half: self.above_half + other.above_half,
        }
    }

    pub(crate) fn over(&self, images: usize) -> Self {
        let share = 1.0 / images.max(1) as f64;
        Self {
            alpha_sum: self.alpha_sum * share,
            alpha_mean: self.alpha_mean * share,
            alpha_entropy: self.alpha_entropy * share,
            leakage: self.leakage * share,
            above_half: self.above_half * share,
        }
    }
}

fn part(p: f64) -> f64 {
    if p <= 0.0 { 0.0 } else { -p * p.ln() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn hard_choices_do_not_leak() {
        let device = Device::flex();
        let weights = Tensor::<2>::from_floats([[1.0, 0.0, 1.0, 0.0], [0.5, 0.5, 0.5, 0.5]], &device);
        let (sum, images) = WeightStats::of(&weights, None);
        assert_eq!((sum.alpha_sum, sum.leakage, images), (4.0, 1.0, 2));
        assert!((sum.alpha_entropy - 2f64.ln()).abs() < 1e-12);
        assert_eq!(sum.over(2).alpha_mean, 0.5);
        assert_eq!(
            sum.over(2).above_half,
            0.25,
            "half of the first image, none of the second"
        );
        let mask = TensorData::new(vec![true, true, false, false, true, true, true, false], [2, 4]);
        let (masked, _) = WeightStats::of(&weights, Some(&Tensor::from_data(mask, &device)));
        assert_eq!(masked.alpha_sum, 2.5);
    }
}
