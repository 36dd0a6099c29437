//! One door to all soft top-k operators.

use burn::config::Config;
use burn::tensor::Tensor;

use crate::config::{SoftTopKConfig, ThresholdKind};
use crate::dftopk::dftopk;
use crate::gradtopk::gradtopk;
use crate::gumbel::{SteBackward, gumbel_noise, hard_forward, two_classes};
use crate::kind::SoftTopKKind;
use crate::perturbed::{PerturbNoise, perturbed_topk};
use crate::rank::first_in_rank;
use crate::relaxed_sort::{RelaxedSort, relaxed_sort_topk};
use crate::rows::Rows;
use crate::soft::{K, SoftTopKInput, to_working_precision};
use crate::zscore::z_score;

/// Configuration of a [`TopKOperator`].
#[derive(Config, Debug, PartialEq)]
pub struct TopKOperatorConfig {
    /// The operator.
    pub kind: SoftTopKKind,
    /// Normalise each row of scores to mean 0 and variance 1 first, except for
    /// [`SoftTopKKind::GumbelSoftmax`]. Default: true.
    #[config(default = true)]
    pub z_score: bool,
    /// Term added to the variance inside the root. Default: 1e-6.
    #[config(default = 1e-6)]
    pub z_score_eps: f64,
    /// Hard selections that [`SoftTopKKind::Perturbed`] averages. Default: 200.
    #[config(default = 200)]
    pub n_samples: usize,
}

/// Any soft top-k operator behind one interface, for trainings that compare them.
///
/// What a gate needs beyond the weights (complement and argument) only [`SoftTopK`](crate::SoftTopK) and
/// [`dftopk`](crate::dftopk()) give.
#[derive(Debug, Clone)]
pub struct TopKOperator {
    config: TopKOperatorConfig,
}

impl TopKOperatorConfig {
    /// Builds the operator. It has no parameters and lives on no device.
    ///
    /// # Panics
    /// If `z_score_eps` is not a positive finite number or `n_samples` is 0.
    pub fn init(&self) -> TopKOperator {
        assert!(
            self.z_score_eps.is_finite() && self.z_score_eps > 0.0,
            "z_score_eps must be positive and finite, found {}",
            self.z_score_eps
        );
        assert!(self.n_samples > 0, "n_samples must be positive");
        TopKOperator { config: self.clone() }
    }
}

impl TopKOperator {
    /// The operator in use.
    pub fn kind(&self) -> SoftTopKKind {
        self.config.kind
    }

    /// Weights of the tokens. Mass, range and gradients are those of the operator; in all of them `k` of at least the
    /// number of real tokens opens every gate, `k <= 0` closes all, and masked tokens have weight 0. Operators that
    /// select whole tokens round the budget, half up. Only random operators use `seed`; the same seed gives the same
    /// noise everywhere.
    ///
    /// # Shapes
    /// - output: `[batch, n_tokens]`, f32, or f64 when the scores are f64
    pub fn forward(&self, mut input: SoftTopKInput, seed: u64) -> Tensor<2> {
        let TopKOperatorConfig {
            kind,
            z_score: normalise,
            z_score_eps,
            n_samples,
        } = self.config;
        if normalise && kind != SoftTopKKind::GumbelSoftmax {
            let scores = to_working_precision(input.scores);
            input.scores = z_score(scores, input.mask.clone(), z_score_eps);
        }
        match kind {
            SoftTopKKind::Threshold(kind) => {
                let operator = SoftTopKConfig::new().with_kind(kind).with_z_score(false).init();
                operator.forward(input).weights
            }
            SoftTopKKind::DfTopK => dftopk(input).weights,
            SoftTopKKind::GradTopK => gradtopk(input),
            SoftTopKKind::SoftSort => relaxed_sort_topk(RelaxedSort::SoftSort, input),
            SoftTopKKind::NeuralSort => relaxed_sort_topk(RelaxedSort::NeuralSort, input),
            SoftTopKKind::Perturbed => {
                let samples = n_samples;
                perturbed_topk(input, PerturbNoise::Seed { seed, samples })
            }
            SoftTopKKind::GumbelSte => gumbel_topk(input, seed, false),
            SoftTopKKind::GumbelSteSoft => gumbel_topk(input, seed, true),
            SoftTopKKind::GumbelSoftmax => gumbel_softmax(input, seed),
        }
    }
}

/// `1_topk(s + tau g)`, which ranks as `s / tau + g` does.
fn gumbel_topk(input: SoftTopKInput, seed: u64, soft: bool) -> Tensor<2> {
    let rows = Rows::whole(input);
    let noise = noise(&rows, 1, seed) * rows.tau.clone().without_autodiff();
    let perturbed = rows.scores.clone() + noise;
    let hard = first_in_rank(perturbed.clone(), rows.k.clone(), rows.mask.clone());
    let [batch, _] = rows.k.dims();
    // The soft Jacobian at s + tau g and tau is the one at s / tau + g and 1, but for the scale of the scores.
    let (path, backward) = match soft {
        false => (perturbed, SteBackward::Identity),
        true => {
            let kind = ThresholdKind::Laplace;
            (
                perturbed / rows.tau.clone(),
                SteBackward::SoftTopK { kind, tau: 1.0 },
            )
        }
    };
    let k = K::Rows(rows.k.clone().reshape([batch]));
    let weights = hard_forward(hard, path, k, backward, rows.mask.clone());
    rows.fix(weights, 1.0, 0.0)
}

/// `(s + g_0 - g_1) / tau` above 0.
fn gumbel_softmax(input: SoftTopKInput, seed: u64) -> Tensor<2> {
    let rows = Rows::new(input);
    let [batch, _] = rows.scores.dims();
    let noise = noise(&rows, 2, seed);
    let difference = noise.clone().narrow(0, 0, batch) - noise.narrow(0, batch, batch);
    let margin = (rows.scores.clone() + difference) / rows.tau.clone();
    rows.fix(two_classes(margin, true), 1.0, 0.0)
}

/// Gumbel noise for `times` tokens per token, `[times * batch, n_tokens]`.
fn noise(rows: &Rows, times: usize, seed: u64) -> Tensor<2> {
    let [batch, n_tokens] = rows.scores.dims();
    gumbel_noise([times * batch, n_tokens], seed, &rows.k.device()).cast(rows.scores.dtype())
}
