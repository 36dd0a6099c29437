//! The controlled contrast: the scorer trained through a hard mask of noisy scores, straight-through.

use burn::tensor::Tensor;
use diffprune_scorer::{Scorer, ScorerConfig};
use diffprune_softtopk::{GumbelNoise, GumbelTopKInput, SteBackward, gumbel_noise, gumbel_topk_ste, z_score};
use serde::{Deserialize, Serialize};

use crate::{ConfigError, Gate, GateInput, GateSettings, Gated, LearnedMethod};

/// Tokens times a hard 0/1 mask, `1_topk(s / tau + g)` with Gumbel noise `g` and the z-scored scores `s`; unselected tokens
/// stay in the sequence as zeros. Everything else is as for DiffPrune.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GumbelSte {
    /// What stands in for the gradient of the mask.
    pub backward: GumbelBackward,
}

/// The gradient of the Gumbel contrast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GumbelBackward {
    /// The gradient of the mask goes to the scores unchanged.
    #[default]
    Identity,
    /// The Jacobian of the soft top-k at the perturbed scores.
    Soft,
}

/// The rows of the registry.
pub const ENTRIES: &[LearnedMethod] = &[
    LearnedMethod::new("gumbel-ste", "hard Gumbel mask, others zeroed", || {
        GumbelSte::new(GumbelBackward::Identity).into()
    })
    .aliases(&["gumbel"])
    .paper("the contrast in DiffPrune's papers"),
    LearnedMethod::new("gumbel-ste-soft", "the same, soft Jacobian", || {
        GumbelSte::new(GumbelBackward::Soft).into()
    })
    .paper("the contrast in DiffPrune's papers"),
];

impl GumbelSte {
    /// The contrast with this gradient.
    pub fn new(backward: GumbelBackward) -> Self {
        Self { backward }
    }

    /// The hard mask, `[b, n]`.
    fn mask(&self, scores: Tensor<2>, input: &GateInput<'_>) -> Tensor<2> {
        let (softtopk, tau) = (&input.settings.softtopk, input.tau);
        let [images, n_tokens] = scores.dims();
        let scores = match softtopk.z_score {
            true => z_score(scores, input.mask.clone(), softtopk.z_score_eps),
            false => scores,
        };
        let backward = match self.backward {
            GumbelBackward::Identity => SteBackward::Identity,
            GumbelBackward::Soft => SteBackward::SoftTopK {
                kind: softtopk.kind,
                tau,
            },
        };
        let rows = (0..images).map(|row| {
            let of_row = |x: Tensor<2>| x.slice([row..row + 1, 0..n_tokens]);
            // Ranking s + tau g is ranking s / tau + g, and the gradient is then the one of s.
            let noise = gumbel_noise([1, n_tokens], input.draws.seed(row), &input.device()) * tau;
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
        Tensor::cat(rows.collect(), 0)
    }
}

impl Gate for GumbelSte {
    type Head = Scorer;

    fn name(&self) -> String {
        match self.backward {
            GumbelBackward::Identity => "gumbel_ste".to_string(),
            GumbelBackward::Soft => "gumbel_ste_soft".to_string(),
        }
    }

    fn head(&self, _: usize) -> Option<ScorerConfig> {
        None
    }

    fn check(&self, _: &GateSettings) -> Result<(), ConfigError> {
        Ok(())
    }

    fn gate(&self, scorer: &Scorer, input: &GateInput<'_>) -> Result<Gated, ConfigError> {
        let scores = scorer.forward(input.descriptors.clone(), input.mask.clone());
        Ok(input.scaled(self.mask(scores, input), None))
    }
}
