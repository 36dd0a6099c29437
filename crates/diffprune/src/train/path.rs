//! The training data path.

use burn::tensor::{Bool, Tensor};
use diffprune_learned::{Draws, GateInput};
use diffprune_pruner::{Budget, Layout, PositionRule, PruneError, Selection, descriptors};
use diffprune_vlm::Vlm;

use super::text::count_targets;
use crate::{CaptionPrompt, DataError, DiffPruneConfig, FeatureStore, TrainError, Trainee};

/// Which samples go through the path, and the state of the run that they meet.
pub struct CaptionBatch<'a> {
    /// The source of tokens and captions.
    pub store: &'a FeatureStore<'a>,
    /// The prompt that turns captions into targets.
    pub prompt: &'a CaptionPrompt,
    /// Numbers of the samples in the data.
    pub indices: Vec<usize>,
    /// For each sample, its number in the run, counted from 0: noise is a function of seed and draw.
    pub draws: Vec<u64>,
    /// Seed of the noise.
    pub seed: u64,
    /// Temperature of the step.
    pub tau: f64,
    /// True holds the activations of one layer of the language model at a time, see [`Vlm::loss_recomputed`].
    pub recompute: bool,
}

/// The result of the path.
pub struct TrainingLoss {
    /// Mean negative log-likelihood of the targets, in nats per token, `[1]`.
    pub nll: Tensor<1>,
    /// The method's own loss, weighted: what holds it to the budget where nothing else does, as a mean over the images,
    /// `[1]`. `None` for methods without one.
    pub penalty: Option<Tensor<1>>,
    /// Number of targets.
    pub n_targets: usize,
    /// Weights of the tokens, `[b, n]`, without gradient.
    pub weights: Tensor<2>,
    /// Real tokens, `[b, n]`; `None` when all are.
    pub mask: Option<Tensor<2, Bool>>,
    /// Tokens that may pass, for each image.
    pub budgets: Vec<usize>,
}

impl TrainingLoss {
    /// The objective: the negative log-likelihood plus the method's own loss.
    pub fn objective(&self) -> Tensor<1> {
        match &self.penalty {
            Some(penalty) => self.nll.clone() + penalty.clone(),
            None => self.nll.clone(),
        }
    }
}

/// The objective of the scorer's training, Eq. (16) of `docs/method.md`, or that of a rival in its place.
///
/// All tokens stay in the sequence, at their places; the budget limits what they may say. Only `model` has gradients:
/// everything of `vlm` is constant.
///
/// # Errors
/// When samples cannot be read, the budget keeps nothing, sequences do not fit the model, or the model is not one that the
/// method trains.
pub fn training_loss(
    model: &Trainee,
    vlm: &dyn Vlm,
    config: &DiffPruneConfig,
    batch: &CaptionBatch<'_>,
) -> Result<TrainingLoss, TrainError> {
    let (encoded, captions) = batch.store.encode(vlm, &batch.indices)?;
    let all = encoded.all_indices();
    let (tokens, mask, layouts) = (encoded.tokens, encoded.mask, encoded.layouts);
    let relevance = encoded.observed.relevance;
    if relevance.is_none() && config.method.needs_relevance() {
        return Err(DataError::NoBoxes {
            method: config.method.name(),
            samples: batch.indices.clone(),
        }
        .into());
    }
    let budgets = budgets(&config.budget, &layouts)?;
    let gated = config.method.gate(
        &model.head,
        &GateInput {
            descriptors: descriptors(tokens.clone(), vlm.group()),
            tokens,
            budgets: &budgets,
            layouts: &layouts,
            mask: mask.clone(),
            relevance,
            tau: batch.tau,
            draws: Draws {
                seed: batch.seed,
                numbers: &batch.draws,
            },
            settings: &config.gate_settings(),
        },
    )?;
    let (sent, keep) = match gated.kept {
        Some(kept) => (Selection::keep(kept.clone()).gather(gated.tokens), kept),
        None if config.without_denoiser => (gated.tokens, all),
        None => (denoise(model, gated.tokens, mask.clone(), vlm.group()), all),
    };
    let visual = vlm.visual_input(vlm.project(sent), &layouts, &keep, PositionRule::Keep);
    let text = batch.store.text(vlm, batch.prompt, &batch.indices, &captions)?;
    let nll = match batch.recompute {
        true => vlm.loss_recomputed(&text, Some(&visual))?,
        false => vlm.loss(&text, Some(&visual))?,
    };
    Ok(TrainingLoss {
        nll,
        n_targets: count_targets(&text),
        penalty: gated.penalty,
        weights: gated.weights.without_autodiff(),
        mask,
        budgets,
    })
}

/// Repairs throttled tokens; where a token is a group of vectors, each of them by itself.
fn denoise(model: &Trainee, tokens: Tensor<3>, mask: Option<Tensor<2, Bool>>, group: usize) -> Tensor<3> {
    if group == 1 {
        return model.denoiser.forward(tokens, mask);
    }
    let [batch, n_tokens, width] = tokens.dims();
    let mask = mask.map(|mask| {
        mask.unsqueeze_dim::<3>(2)
            .expand([batch, n_tokens, group])
            .reshape([batch, n_tokens * group])
    });
    let vectors = tokens.reshape([batch, n_tokens * group, width / group]);
    let denoised = model.denoiser.forward(vectors, mask);
    denoised.reshape([batch, n_tokens, width])
}

fn budgets(budget: &Budget, layouts: &[Layout]) -> Result<Vec<usize>, PruneError> {
    layouts
        .iter()
        .map(|layout| budget.resolve(layout.n_tokens()))
        .collect()
}
