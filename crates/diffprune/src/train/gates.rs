//! From tokens to gated tokens: what each method puts between encoder and denoiser.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use diffprune_pruner::Layout;
use diffprune_selectors::Selector;
use diffprune_softtopk::{
    GumbelNoise, GumbelTopKInput, K, SoftTopKInput, SoftTopKKind, SoftTopKOutput, SteBackward, Tau,
    TopKOperatorConfig, dftopk, gumbel_noise, gumbel_topk_ste, z_score,
};
use diffprune_throttler::{GateKind, ThrottlerInput, noise};
use diffprune_training::rng;
use rand::Rng;

use super::heads::{atp, decided, glimpse, ratio_penalty};
use crate::{CaptionBatch, ConfigError, DiffPruneConfig, GumbelBackward, Method};

/// Stream of the Gumbel noise and of whatever else an operator draws; the throttler's noise has a key of its own.
const GUMBEL: u64 = 1;

/// What the gates work on.
pub(super) struct GateInput<'a> {
    pub(super) config: &'a DiffPruneConfig,
    pub(super) batch: &'a CaptionBatch<'a>,
    /// Vision tokens, `[b, n, d_vision]`.
    pub(super) tokens: Tensor<3>,
    /// What is looked at, `[b, n, d]`.
    pub(super) descriptors: Tensor<3>,
    /// Tokens that may pass, for each image.
    pub(super) budgets: Vec<usize>,
    pub(super) layouts: &'a [Layout],
    /// Real tokens, `[b, n]`.
    pub(super) mask: Option<Tensor<2, Bool>>,
    /// How much of each token boxes cover, `[b, n]`; `None` when a sample does not know.
    pub(super) relevance: Option<Tensor<2>>,
}

/// What comes out of the gates.
pub(super) struct Gated {
    /// `[b, n, d_vision]`
    pub(super) tokens: Tensor<3>,
    /// `[b, n]`
    pub(super) weights: Tensor<2>,
    /// The method's own loss, weighted, `[1]`.
    pub(super) penalty: Option<Tensor<1>>,
}

/// The gates of the configured method.
///
/// # Errors
/// When the selector is not one that the method trains, or the soft top-k cannot drive the gate.
pub(super) fn gate(selector: &Selector, input: &GateInput<'_>) -> Result<Gated, ConfigError> {
    let (tokens, mask) = (input.descriptors.clone(), input.mask.clone());
    match (selector, input.config.method) {
        (Selector::Scorer(scorer), Method::Throttle | Method::Operator { .. }) => {
            throttle(input, scorer.forward(tokens, mask))
        }
        (Selector::Scorer(scorer), Method::GumbelSte { backward }) => {
            Ok(gumbel(input, backward, scorer.forward(tokens, mask)))
        }
        (Selector::DynamicVit(predictor), Method::DynamicVit { .. }) => {
            Ok(decided(input, |decision| predictor.decide(decision)))
        }
        (Selector::DynamicLlava(predictor), Method::DynamicLlava { .. }) => {
            Ok(decided(input, |decision| predictor.decide(decision)))
        }
        (Selector::Atp(selector), Method::Atp { count_weight }) => Ok(atp(input, selector, count_weight)),
        (Selector::Glimpse(predictor), Method::GlimpsePrune { .. }) => glimpse(input, predictor),
        (selector, method) => {
            let wanted = format!("the method of a {}", selector.config().name());
            Err(ConfigError::new("diffprune.method", method.name(), wanted))
        }
    }
}

impl GateInput<'_> {
    /// Tokens times weights.
    pub(super) fn scaled(&self, weights: Tensor<2>, penalty: Option<Tensor<1>>) -> Gated {
        let [images, n_tokens] = weights.dims();
        let column = weights.clone().reshape([images, n_tokens, 1]);
        Gated {
            tokens: self.tokens.clone() * column.cast(self.tokens.dtype()),
            weights,
            penalty,
        }
    }

    /// The seed of what is drawn for image `row`: that of its own number, so that the batch it is in does not matter.
    pub(super) fn seed(&self, row: usize) -> u64 {
        rng(self.batch.seed, GUMBEL, self.batch.draws[row]).next_u64()
    }

    /// Number of real tokens of image `row`.
    pub(super) fn count(&self, row: usize) -> usize {
        self.layouts[row].n_tokens()
    }
}

/// Scores to weights, weights to gated tokens: soft top-k and throttler.
fn throttle(input: &GateInput<'_>, scores: Tensor<2>) -> Result<Gated, ConfigError> {
    let config = input.config;
    let Some(operator) = config.throttled_operator() else {
        return Err(ConfigError::new(
            "diffprune.method",
            config.method.name(),
            "one with a throttler",
        ));
    };
    let family = config.gate_family(operator)?;
    let device = input.tokens.device();
    let topk = SoftTopKInput {
        scores,
        k: per_image(&input.budgets, &device),
        tau: Tau::Batch(input.batch.tau),
        mask: input.mask.clone(),
    };
    let output = match operator {
        SoftTopKKind::Threshold(kind) => config.softtopk.clone().with_kind(kind).init().forward(topk),
        SoftTopKKind::DfTopK => dftopk(normalised(config, topk)),
        _ => {
            let weights = operator_weights(input, operator, topk);
            let penalty = ratio_penalty(input, &weights);
            return Ok(input.scaled(weights, penalty));
        }
    };
    let SoftTopKOutput {
        weights,
        complement,
        argument,
        ..
    } = output;
    let penalty = ratio_penalty(input, &weights);
    if config.throttler.gate == GateKind::Scale {
        return Ok(input.scaled(weights, penalty));
    }
    let tokens = input.tokens.clone();
    let noise = per_draw(input.batch, &tokens, |draw, [n, d]| {
        noise([1, n, d], input.batch.seed, draw, &device)
    });
    let throttled = config.throttler.init().forward(ThrottlerInput {
        tokens,
        weights: weights.clone(),
        complement,
        argument,
        family,
        noise,
        mask: input.mask.clone(),
    });
    Ok(Gated {
        tokens: throttled,
        weights,
        penalty,
    })
}

fn normalised(config: &DiffPruneConfig, input: SoftTopKInput) -> SoftTopKInput {
    let scores = match config.softtopk.z_score {
        true => z_score(input.scores, input.mask.clone(), config.softtopk.z_score_eps),
        false => input.scores,
    };
    SoftTopKInput { scores, ..input }
}

/// The weights of an operator that gives no more than them.
fn operator_weights(input: &GateInput<'_>, kind: SoftTopKKind, topk: SoftTopKInput) -> Tensor<2> {
    let config = &input.config.softtopk;
    let operator = TopKOperatorConfig::new(kind)
        .with_z_score(config.z_score)
        .with_z_score_eps(config.z_score_eps)
        .init();
    if !kind.is_random() {
        return operator.forward(topk, 0);
    }
    let [images, n_tokens] = topk.scores.dims();
    // Each image by itself and without padding, as both would change what is drawn.
    let rows = (0..images).map(|row| {
        let count = input.count(row).min(n_tokens);
        let real = SoftTopKInput {
            scores: topk.scores.clone().slice([row..row + 1, 0..count]),
            k: K::from(input.budgets[row]),
            tau: topk.tau.clone(),
            mask: None,
        };
        padded(operator.forward(real, input.seed(row)), n_tokens)
    });
    Tensor::cat(rows.collect(), 0)
}

/// A row with zeros at its end.
pub(super) fn padded(row: Tensor<2>, n_tokens: usize) -> Tensor<2> {
    let [_, count] = row.dims();
    if count == n_tokens {
        return row;
    }
    let rest = Tensor::zeros(
        [1, n_tokens - count],
        (&row.device().without_autodiff(), row.dtype()),
    );
    Tensor::cat(vec![row, rest], 1)
}

/// The contrast: tokens times a hard mask of `s / tau + g`, straight-through.
fn gumbel(input: &GateInput<'_>, backward: GumbelBackward, scores: Tensor<2>) -> Gated {
    let (config, tau) = (input.config, input.batch.tau);
    let [images, n_tokens] = scores.dims();
    let scores = match config.softtopk.z_score {
        true => z_score(scores, input.mask.clone(), config.softtopk.z_score_eps),
        false => scores,
    };
    let backward = match backward {
        GumbelBackward::Identity => SteBackward::Identity,
        GumbelBackward::Soft => SteBackward::SoftTopK {
            kind: config.softtopk.kind,
            tau,
        },
    };
    let rows = (0..images).map(|row| {
        let of_row = |x: Tensor<2>| x.slice([row..row + 1, 0..n_tokens]);
        // Ranking s + tau g is ranking s / tau + g, and the gradient is then the one of s.
        let noise = gumbel_noise([1, n_tokens], input.seed(row), &input.tokens.device()) * tau;
        gumbel_topk_ste(GumbelTopKInput {
            scores: of_row(scores.clone()),
            k: input.budgets[row],
            noise: GumbelNoise::Given(noise),
            backward,
            mask: input
                .mask
                .clone()
                .map(|mask| mask.slice([row..row + 1, 0..n_tokens])),
        })
    });
    input.scaled(Tensor::cat(rows.collect(), 0), None)
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
