//! The training data path.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use diffprune_pruner::{Budget, Layout, PositionRule, PruneError, descriptors};
use diffprune_softtopk::{
    GumbelNoise, GumbelTopKInput, K, SoftTopKInput, SoftTopKOutput, SteBackward, Tau, gumbel_noise,
    gumbel_topk_ste, z_score,
};
use diffprune_throttler::{ThrottlerInput, noise};
use diffprune_training::rng;
use diffprune_vlm::Vlm;
use rand::Rng;

use super::text::count_targets;
use crate::{
    CaptionPrompt, ConfigError, DiffPruneConfig, FeatureStore, GumbelBackward, Method, TrainError, Trainee,
};

/// Stream of the Gumbel noise; the throttler's noise has a key of its own.
const GUMBEL: u64 = 1;

/// Which samples go through the path, and the state of the run that they meet.
pub struct CaptionBatch<'a> {
    /// Where tokens and captions come from.
    pub store: &'a FeatureStore<'a>,
    /// How captions become targets.
    pub prompt: &'a CaptionPrompt,
    /// Numbers of the samples in the data.
    pub indices: Vec<usize>,
    /// For each sample, its number in the run, counted from 0: noise is a function of seed and draw.
    pub draws: Vec<u64>,
    /// Seed of the noise.
    pub seed: u64,
    /// Temperature of the step.
    pub tau: f64,
}

/// What comes out of the path.
pub struct TrainingLoss {
    /// Mean negative log-likelihood of the targets, in nats per token, `[1]`.
    pub nll: Tensor<1>,
    /// Number of targets.
    pub n_targets: usize,
    /// Weights of the tokens, `[b, n]`, without gradient.
    pub weights: Tensor<2>,
    /// Real tokens, `[b, n]`; `None` when all are.
    pub mask: Option<Tensor<2, Bool>>,
}

/// The objective of the scorer's training: Eq. (16) of `docs/method.md`.
///
/// All tokens stay in the sequence, at their places; the budget limits what they may say. Only `model` has gradients:
/// everything of `vlm` is constant.
///
/// # Errors
/// When samples cannot be read, the budget keeps nothing, or sequences do not fit the model.
pub fn training_loss(
    model: &Trainee,
    vlm: &dyn Vlm,
    config: &DiffPruneConfig,
    batch: &CaptionBatch<'_>,
) -> Result<TrainingLoss, TrainError> {
    let (encoded, captions) = batch.store.encode(vlm, &batch.indices)?;
    let keep = encoded.all_indices();
    let (tokens, mask, layouts) = (encoded.tokens, encoded.mask, encoded.layouts);
    let scores = model
        .scorer
        .forward(descriptors(tokens.clone(), vlm.group()), mask.clone());
    let budgets = budgets(&config.budget, &layouts)?;
    let (throttled, weights) = match config.method {
        Method::Throttle => throttle(config, batch, tokens, scores, &budgets, mask.clone())?,
        Method::GumbelSte { backward } => {
            gumbel(config, backward, batch, tokens, scores, &budgets, mask.clone())
        }
    };
    let denoised = denoise(model, throttled, mask.clone(), vlm.group());
    let visual = vlm.visual_input(vlm.project(denoised), &layouts, &keep, PositionRule::Keep);
    let text = batch.prompt.batch(vlm, &captions)?;
    let nll = vlm.loss(&text, Some(&visual))?;
    Ok(TrainingLoss {
        nll,
        n_targets: count_targets(&text),
        weights: weights.without_autodiff(),
        mask,
    })
}

/// Scores to weights, weights to noisy tokens: soft top-k and throttler.
fn throttle(
    config: &DiffPruneConfig,
    batch: &CaptionBatch<'_>,
    tokens: Tensor<3>,
    scores: Tensor<2>,
    budgets: &[usize],
    mask: Option<Tensor<2, Bool>>,
) -> Result<(Tensor<3>, Tensor<2>), ConfigError> {
    let family = config.gate_family()?;
    let k = per_image(budgets, &tokens.device());
    let input = SoftTopKInput {
        scores,
        k,
        tau: Tau::Batch(batch.tau),
        mask: mask.clone(),
    };
    let SoftTopKOutput {
        weights,
        complement,
        argument,
        ..
    } = config.softtopk.init().forward(input);
    let noise = per_draw(batch, &tokens, |draw, [n, d]| {
        noise([1, n, d], batch.seed, draw, &tokens.device())
    });
    let throttled = config.throttler.init().forward(ThrottlerInput {
        tokens,
        weights: weights.clone(),
        complement,
        argument,
        family,
        noise,
        mask,
    });
    Ok((throttled, weights))
}

/// The contrast: tokens times a hard mask of `s / tau + g`, straight-through.
fn gumbel(
    config: &DiffPruneConfig,
    backward: GumbelBackward,
    batch: &CaptionBatch<'_>,
    tokens: Tensor<3>,
    scores: Tensor<2>,
    budgets: &[usize],
    mask: Option<Tensor<2, Bool>>,
) -> (Tensor<3>, Tensor<2>) {
    let [images, n_tokens, _] = tokens.dims();
    let scores = match config.softtopk.z_score {
        true => z_score(scores, mask.clone(), config.softtopk.z_score_eps),
        false => scores,
    };
    let backward = match backward {
        GumbelBackward::Identity => SteBackward::Identity,
        GumbelBackward::Soft => SteBackward::SoftTopK {
            kind: config.softtopk.kind,
            tau: batch.tau,
        },
    };
    let rows = (0..images).map(|row| {
        let of_row = |x: Tensor<2>| x.slice([row..row + 1, 0..n_tokens]);
        let seed = rng(batch.seed, GUMBEL, batch.draws[row]).next_u64();
        // Ranking s + tau g is ranking s / tau + g, and the gradient is then the one of s.
        let noise = gumbel_noise([1, n_tokens], seed, &tokens.device()) * batch.tau;
        gumbel_topk_ste(GumbelTopKInput {
            scores: of_row(scores.clone()),
            k: budgets[row],
            noise: GumbelNoise::Given(noise),
            backward,
            mask: mask.clone().map(|mask| mask.slice([row..row + 1, 0..n_tokens])),
        })
    });
    let weights = Tensor::cat(rows.collect(), 0);
    (tokens * weights.clone().reshape([images, n_tokens, 1]), weights)
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

fn per_image(budgets: &[usize], device: &Device) -> K {
    if budgets.iter().all(|budget| *budget == budgets[0]) {
        return K::from(budgets[0]);
    }
    let rows: Vec<f32> = budgets.iter().map(|&budget| budget as f32).collect();
    let count = rows.len();
    K::Rows(Tensor::from_data(TensorData::new(rows, [count]), device))
}

/// Noise of every sample by its own number, so that the batch a sample is in does not matter.
fn per_draw(
    batch: &CaptionBatch<'_>,
    tokens: &Tensor<3>,
    draw: impl Fn(u64, [usize; 2]) -> Tensor<3>,
) -> Tensor<3> {
    let [_, n_tokens, d_vision] = tokens.dims();
    Tensor::cat(
        batch
            .draws
            .iter()
            .map(|&number| draw(number, [n_tokens, d_vision]))
            .collect(),
        0,
    )
}
