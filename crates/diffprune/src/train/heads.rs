//! The gates of methods with heads of their own, and the losses that hold them to the budget.

use burn::tensor::{Device, Tensor, activation};
use diffprune_pruner::Layout;
use diffprune_selectors::{AtpLossConfig, AtpSelector, AtpStage, DecisionInput, GlimpsePredictor};
use diffprune_softtopk::{gumbel_noise, ratio_loss};

use super::gates::{GateInput, Gated, padded};
use crate::ConfigError;

/// Tokens times hard decisions.
pub(super) fn decided(input: &GateInput<'_>, decide: impl FnOnce(DecisionInput) -> Tensor<2>) -> Gated {
    let [images, n_tokens, _] = input.descriptors.dims();
    let device = input.tokens.device();
    // Token by token, so that padding changes nothing.
    let noise = (0..images)
        .map(|row| gumbel_noise([1, 2 * n_tokens], input.seed(row), &device).reshape([1, n_tokens, 2]));
    let weights = decide(DecisionInput {
        tokens: input.descriptors.clone(),
        keep: None,
        noise: Tensor::cat(noise.collect(), 0),
        tau: input.batch.tau,
        mask: input.mask.clone(),
    });
    let penalty = ratio_penalty(input, &weights);
    input.scaled(weights, penalty)
}

/// Tokens times the soft mask of learned thresholds.
pub(super) fn atp(input: &GateInput<'_>, selector: &AtpSelector, count_weight: f64) -> Gated {
    let [images, n_tokens, _] = input.descriptors.dims();
    let device = input.tokens.device();
    let spatial = spatial_rows(selector, input.layouts, n_tokens, &device);
    let weights = selector
        .forward(input.descriptors.clone(), spatial, input.mask.clone())
        .weights;
    let target = input.budgets.iter().sum::<usize>() as f64 / images.max(1) as f64;
    let stage = AtpStage {
        layer: 0,
        weights: weights.clone(),
    };
    let loss = AtpLossConfig::new()
        .with_count_weight(count_weight)
        .with_target(target);
    let penalty = loss.loss(&[stage], input.mask.as_ref(), &device);
    input.scaled(weights, Some(penalty))
}

/// Tokens times their importance, which boxes teach.
pub(super) fn glimpse(input: &GateInput<'_>, predictor: &GlimpsePredictor) -> Result<Gated, ConfigError> {
    let method = input.config.method;
    let (Some(loss), Some(relevance)) = (method.box_loss(), &input.relevance) else {
        let wanted = "a method without boxes, or samples that all have some";
        return Err(ConfigError::new("diffprune.method", method.name(), wanted));
    };
    let logits = predictor.forward(input.descriptors.clone(), input.mask.clone());
    let covered = relevance.clone().greater_elem(0.0).float();
    let penalty = loss.loss(logits.clone(), covered, input.mask.as_ref());
    let weights = activation::sigmoid(logits);
    let weights = match &input.mask {
        Some(mask) => weights.mask_fill(mask.clone().bool_not(), 0.0),
        None => weights,
    };
    Ok(input.scaled(weights, Some(penalty)))
}

/// The ratio loss of each image towards its budget, as a mean over the images; `None` where its weight is 0.
pub(super) fn ratio_penalty(input: &GateInput<'_>, weights: &Tensor<2>) -> Option<Tensor<1>> {
    let (_, weight) = input.config.method.penalty_weight();
    if weight == 0.0 {
        return None;
    }
    let losses = (0..input.budgets.len()).map(|row| {
        let count = input.count(row);
        let real = weights.clone().slice([row..row + 1, 0..count]);
        ratio_loss(real, input.budgets[row] as f64 / count.max(1) as f64, None)
    });
    let share = weight / input.budgets.len() as f64;
    losses.reduce(|sum, loss| sum + loss).map(|sum| sum * share)
}

/// The uniform samples of some images, padded with zeros; `None` where there is no spatial branch.
///
/// # Shapes
/// - output: `[layouts, n_tokens]`
pub(crate) fn spatial_rows(
    selector: &AtpSelector,
    layouts: &[Layout],
    n_tokens: usize,
    device: &Device,
) -> Option<Tensor<2>> {
    let device = &device.clone().without_autodiff();
    let rows = layouts.iter().map(|layout| {
        let parts = layout.segments.iter().map(|segment| {
            let grid = segment.grid;
            selector.spatial(grid.rows, grid.cols, device)
        });
        let parts: Option<Vec<_>> = parts.collect();
        parts.map(|parts| padded(Tensor::cat(parts, 1), n_tokens))
    });
    let rows: Option<Vec<_>> = rows.collect();
    rows.map(|rows| Tensor::cat(rows, 0))
}
