//! The controlled contrasts: the scorer trained through a hard mask of noisy scores, straight-through.

use burn::tensor::Tensor;
use diffprune_scorer::{Scorer, ScorerConfig};
use diffprune_softtopk::{GumbelNoise, GumbelTopKInput, SteBackward, gumbel_noise, gumbel_topk_ste, z_score};
use diffprune_throttler::GateKind;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, Gate, GateInput, GateSettings, Gated, LearnedMethod};

/// A hard 0/1 mask in the place of DiffPrune's soft weights: `1_topk(s / tau + g)` with Gumbel noise `g` and the z-scored scores
/// `s`, Eq. (6) of `docs/method.md`. Scorer, data, steps and the frozen model are DiffPrune's; what becomes of the tokens that
/// are not selected is a setting, and `docs/contrasts.md` says why it decides the outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GumbelSte {
    /// The gradient that is used in place of the mask's.
    pub backward: GumbelBackward,
    /// The treatment of the tokens that are not selected. Default: zeroed, as in the first release.
    #[serde(default, skip_serializing_if = "Unselected::is_zeroed")]
    pub unselected: Unselected,
}

/// The treatment of the tokens that a hard mask does not select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unselected {
    /// They stay in the sequence as zeros: `m x`. Layers that normalise have a singular gradient there.
    #[default]
    Zeroed,
    /// They turn into the throttler's noise: `m x + (1 - m) sigma eps`, Eq. (7) at a hard mask. Against DiffPrune one thing
    /// changes, the mask.
    Noise,
    /// They are taken out, and the others are sent on as at inference: no noise and no denoiser. Only selected tokens have a
    /// gradient, `<dL/dx, x>`.
    Removed,
}

impl Unselected {
    fn is_zeroed(&self) -> bool {
        *self == Self::Zeroed
    }

    /// The part of the name behind `gumbel`.
    fn name(self) -> &'static str {
        match self {
            Self::Zeroed => "ste",
            Self::Noise => "noise",
            Self::Removed => "gathered",
        }
    }
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
    .paper(CONTRAST),
    LearnedMethod::new("gumbel-ste-soft", "the same, soft Jacobian", || {
        GumbelSte::new(GumbelBackward::Soft).into()
    })
    .paper(CONTRAST),
    LearnedMethod::new("gumbel-noise", "hard Gumbel mask in the noise gate", || {
        GumbelSte::noise(GumbelBackward::Identity).into()
    })
    .paper(CONTRAST),
    LearnedMethod::new("gumbel-noise-soft", "the same, soft Jacobian", || {
        GumbelSte::noise(GumbelBackward::Soft).into()
    })
    .paper(CONTRAST),
    LearnedMethod::new("gumbel-gathered", "hard Gumbel mask, others taken out", || {
        GumbelSte::gathered(GumbelBackward::Identity).into()
    })
    .paper(CONTRAST),
    LearnedMethod::new("gumbel-gathered-soft", "the same, soft Jacobian", || {
        GumbelSte::gathered(GumbelBackward::Soft).into()
    })
    .paper(CONTRAST),
];

/// The source of the contrasts.
const CONTRAST: &str = "the contrast in DiffPrune's papers";

impl GumbelSte {
    /// The contrast with this gradient and unselected tokens zeroed.
    pub fn new(backward: GumbelBackward) -> Self {
        Self {
            backward,
            unselected: Unselected::Zeroed,
        }
    }

    /// The contrast with this gradient inside DiffPrune's noise gate.
    pub fn noise(backward: GumbelBackward) -> Self {
        Self {
            backward,
            unselected: Unselected::Noise,
        }
    }

    /// The contrast with this gradient and unselected tokens taken out of the sequence.
    pub fn gathered(backward: GumbelBackward) -> Self {
        Self {
            backward,
            unselected: Unselected::Removed,
        }
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
        let soft = match self.backward {
            GumbelBackward::Identity => "",
            GumbelBackward::Soft => "_soft",
        };
        format!("gumbel_{}{soft}", self.unselected.name())
    }

    fn head(&self, _: usize) -> Option<ScorerConfig> {
        None
    }

    fn check(&self, shared: &GateSettings) -> Result<(), ConfigError> {
        if self.unselected == Unselected::Noise && shared.throttler.gate == GateKind::Scale {
            let wanted = "VpNoise: with the scale gate this is `unselected = \"zeroed\"`";
            return Err(ConfigError::new("diffprune.throttler.gate", "Scale", wanted));
        }
        Ok(())
    }

    fn gate(&self, scorer: &Scorer, input: &GateInput<'_>) -> Result<Gated, ConfigError> {
        let scores = scorer.forward(input.descriptors.clone(), input.mask.clone());
        let mask = self.mask(scores, input);
        Ok(match self.unselected {
            Unselected::Zeroed => input.scaled(mask, None),
            Unselected::Noise => {
                let [_, n_tokens, width] = input.tokens.dims();
                let noise = input.draws.noise([n_tokens, width], &input.device());
                let throttler = input.settings.throttler.init();
                let tokens =
                    throttler.replace(input.tokens.clone(), mask.clone(), noise, input.mask.as_ref());
                Gated {
                    tokens,
                    weights: mask,
                    penalty: None,
                    kept: None,
                }
            }
            Unselected::Removed => Gated {
                kept: Some(selected(&mask)),
                ..input.scaled(mask, None)
            },
        })
    }
}

/// The places of the ones in each row.
fn selected(mask: &Tensor<2>) -> Vec<Vec<usize>> {
    let [_, n_tokens] = mask.dims();
    let values: Vec<f32> = mask
        .clone()
        .without_autodiff()
        .into_data()
        .iter::<f32>()
        .collect();
    let row = |values: &[f32]| (0..values.len()).filter(|&i| values[i] > 0.5).collect();
    values.chunks(n_tokens.max(1)).map(row).collect()
}
