//! What is trained, and through what.

use std::fmt;
use std::str::FromStr;

use diffprune_selectors::{
    AtpLossConfig, DYNAMIC_LLAVA_RATIO_WEIGHT, DYNAMICVIT_RATIO_WEIGHT, DynamicLlavaPredictorConfig,
    DynamicVitPredictorConfig, GlimpseLossConfig, GlimpsePredictorConfig, SelectorConfig,
};
use diffprune_softtopk::SoftTopKKind;
use serde::{Deserialize, Serialize};

/// What stands between encoder and denoiser in training. Everything after it is the same for all methods, and so are the
/// data, the steps and the frozen model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Soft top-k and the throttler: DiffPrune.
    Throttle,
    /// The controlled contrast: tokens times a hard 0/1 mask, `1_topk(s / tau + g)` with Gumbel noise `g` and the
    /// z-scored scores `s`; unselected tokens stay in the sequence as zeros. Everything else is as for DiffPrune.
    GumbelSte {
        /// What stands in for the gradient of the mask.
        backward: GumbelBackward,
    },
    /// DiffPrune with another soft top-k: the gate of [`ThrottlerConfig`](crate::ThrottlerConfig) on its weights. Noise
    /// goes with few of them, see [`SoftTopKKind::supports_vp_noise`].
    Operator {
        /// The operator.
        operator: SoftTopKKind,
        /// Weight of the [`ratio_loss`](diffprune_softtopk::ratio_loss) towards the budget's share of the tokens.
        /// Default: 2 for [`SoftTopKKind::GumbelSoftmax`], which knows no budget and must have it; 0 for the others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ratio_weight: Option<f64>,
    },
    /// DynamicViT-style: its predictor before the frozen language model. Tokens times hard decisions (two-class
    /// Gumbel-softmax, straight-through, at [`tau_start`](crate::DiffPruneConfig::tau_start) all along) and a ratio loss.
    DynamicVit {
        /// Weight of the ratio loss. Default: 2, as published.
        #[serde(default = "dynamicvit_weight")]
        ratio_weight: f64,
    },
    /// Dynamic-LLaVA-style: as [`Self::DynamicVit`] with the predictor and the geometric temperature of Dynamic-LLaVA.
    DynamicLlava {
        /// Weight of the ratio loss. Default: 100, as published.
        #[serde(default = "dynamic_llava_weight")]
        ratio_weight: f64,
    },
    /// ATP-style: tokens times the soft mask of learned thresholds, and a loss on the count.
    Atp {
        /// Weight of the distance between the mean count and the budget, per token. Default: 0.2.
        #[serde(default = "atp_weight")]
        count_weight: f64,
    },
    /// GlimpsePrune-style: tokens times the importance that its predictor gives them, and a loss against the tokens that
    /// boxes cover. Samples must know these, see [`CaptionData::relevance`](crate::CaptionData::relevance).
    GlimpsePrune {
        /// Weight of the Dice loss. Default: 1, as published.
        #[serde(default = "dice_weight")]
        dice_weight: f64,
        /// Weight of the binary cross-entropy. Default: 0.1, as published.
        #[serde(default = "bce_weight")]
        bce_weight: f64,
    },
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

fn dynamicvit_weight() -> f64 {
    DYNAMICVIT_RATIO_WEIGHT
}

fn dynamic_llava_weight() -> f64 {
    DYNAMIC_LLAVA_RATIO_WEIGHT
}

fn atp_weight() -> f64 {
    AtpLossConfig::new().count_weight
}

fn dice_weight() -> f64 {
    GlimpseLossConfig::new().dice_weight
}

fn bce_weight() -> f64 {
    GlimpseLossConfig::new().bce_weight
}

impl Method {
    /// Texts that [`Self::from_str`] reads, for messages.
    pub const NAMES: &'static str = "throttle, gumbel-ste, gumbel-ste-soft, operator:NAME (a soft top-k such as \
                                     operator:clip), dynamic-vit, dynamic-llava, atp or glimpse-prune";

    /// DiffPrune with another soft top-k, with the default weight of its ratio loss.
    pub fn operator(operator: impl Into<SoftTopKKind>) -> Self {
        Self::Operator {
            operator: operator.into(),
            ratio_weight: None,
        }
    }

    /// DynamicViT-style, with the published weight.
    pub fn dynamic_vit() -> Self {
        Self::DynamicVit {
            ratio_weight: dynamicvit_weight(),
        }
    }

    /// Dynamic-LLaVA-style, with the published weight.
    pub fn dynamic_llava() -> Self {
        Self::DynamicLlava {
            ratio_weight: dynamic_llava_weight(),
        }
    }

    /// ATP-style, with the default weight.
    pub fn atp() -> Self {
        Self::Atp {
            count_weight: atp_weight(),
        }
    }

    /// GlimpsePrune-style, with the published weights.
    pub fn glimpse_prune() -> Self {
        Self::GlimpsePrune {
            dice_weight: dice_weight(),
            bce_weight: bce_weight(),
        }
    }

    /// Whether samples must know which tokens show their objects.
    pub fn needs_relevance(&self) -> bool {
        matches!(self, Self::GlimpsePrune { .. })
    }

    /// Short name for checkpoints and tables.
    pub fn name(&self) -> String {
        let name = match self {
            Self::Throttle => "diffprune",
            Self::GumbelSte {
                backward: GumbelBackward::Identity,
            } => "gumbel_ste",
            Self::GumbelSte {
                backward: GumbelBackward::Soft,
            } => "gumbel_ste_soft",
            Self::Operator { operator, .. } => return format!("operator_{operator}"),
            Self::DynamicVit { .. } => "dynamic_vit",
            Self::DynamicLlava { .. } => "dynamic_llava",
            Self::Atp { .. } => "atp",
            Self::GlimpsePrune { .. } => "glimpse_prune",
        };
        name.to_string()
    }

    /// The head that this method trains in the place of the scorer, with its default sizes for tokens of width
    /// `d_model`; `None`: it trains the scorer.
    pub fn head(&self, d_model: usize) -> Option<SelectorConfig> {
        match self {
            Self::Throttle | Self::GumbelSte { .. } | Self::Operator { .. } => None,
            Self::DynamicVit { .. } => Some(SelectorConfig::DynamicVit(DynamicVitPredictorConfig::new(
                d_model,
            ))),
            Self::DynamicLlava { .. } => {
                let config = DynamicLlavaPredictorConfig::for_width(d_model);
                Some(SelectorConfig::DynamicLlava(config))
            }
            Self::Atp { .. } => Some(SelectorConfig::Atp(diffprune_selectors::AtpSelectorConfig::new(
                d_model,
            ))),
            Self::GlimpsePrune { .. } => {
                let config = GlimpsePredictorConfig::for_width(d_model);
                Some(SelectorConfig::Glimpse(config))
            }
        }
    }

    /// The weight of the method's own loss, with the name of the setting; 0 for methods without one.
    pub(crate) fn penalty_weight(&self) -> (&'static str, f64) {
        match self {
            Self::Throttle | Self::GumbelSte { .. } => ("ratio_weight", 0.0),
            Self::Operator {
                operator,
                ratio_weight,
            } => {
                let default = match operator {
                    SoftTopKKind::GumbelSoftmax => DYNAMICVIT_RATIO_WEIGHT,
                    _ => 0.0,
                };
                ("ratio_weight", ratio_weight.unwrap_or(default))
            }
            Self::DynamicVit { ratio_weight } | Self::DynamicLlava { ratio_weight } => {
                ("ratio_weight", *ratio_weight)
            }
            Self::Atp { count_weight } => ("count_weight", *count_weight),
            Self::GlimpsePrune { dice_weight, .. } => ("dice_weight", *dice_weight),
        }
    }

    /// The loss against boxes, for methods that have one.
    pub(crate) fn box_loss(&self) -> Option<GlimpseLossConfig> {
        match *self {
            Self::GlimpsePrune {
                dice_weight,
                bce_weight,
            } => Some(GlimpseLossConfig {
                dice_weight,
                bce_weight,
            }),
            _ => None,
        }
    }

    /// Whether the method's own loss is all that holds it to the budget.
    pub(crate) fn needs_penalty(&self) -> bool {
        match self {
            // Boxes say what is kept; the budget is a limit at inference.
            Self::Throttle | Self::GumbelSte { .. } | Self::GlimpsePrune { .. } => false,
            Self::Operator { operator, .. } => *operator == SoftTopKKind::GumbelSoftmax,
            Self::DynamicVit { .. } | Self::DynamicLlava { .. } | Self::Atp { .. } => true,
        }
    }
}

/// A text that names no method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("method: found `{found}`, wanted {wanted}")]
pub struct UnknownMethod {
    /// The text.
    pub found: String,
    /// What would do.
    pub wanted: String,
}

impl FromStr for Method {
    type Err = UnknownMethod;

    /// Reads a method with its default weights; `-` and `_` do not differ.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = |wanted: &dyn fmt::Display| UnknownMethod {
            found: text.to_string(),
            wanted: wanted.to_string(),
        };
        if let Some(name) = text.strip_prefix("operator:") {
            let operator: SoftTopKKind = name.parse().map_err(|cause| unknown(&cause))?;
            return Ok(Self::operator(operator));
        }
        match text.replace('_', "-").as_str() {
            "throttle" | "diffprune" => Ok(Self::Throttle),
            "gumbel-ste" | "gumbel" => Ok(Self::GumbelSte {
                backward: GumbelBackward::Identity,
            }),
            "gumbel-ste-soft" => Ok(Self::GumbelSte {
                backward: GumbelBackward::Soft,
            }),
            "dynamic-vit" => Ok(Self::dynamic_vit()),
            "dynamic-llava" => Ok(Self::dynamic_llava()),
            "atp" => Ok(Self::atp()),
            "glimpse-prune" | "glimpse" => Ok(Self::glimpse_prune()),
            _ => Err(unknown(&Self::NAMES)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_settings_name_methods() {
        for (text, name) in [
            ("throttle", "diffprune"),
            ("gumbel", "gumbel_ste"),
            ("gumbel_ste_soft", "gumbel_ste_soft"),
            ("operator:neural-sort", "operator_neural_sort"),
            ("dynamic-vit", "dynamic_vit"),
            ("dynamic_llava", "dynamic_llava"),
            ("atp", "atp"),
            ("glimpse_prune", "glimpse_prune"),
        ] {
            let method: Method = text.parse().unwrap();
            assert_eq!(method.name(), name);
            let written = toml::to_string(&method).unwrap();
            assert_eq!(toml::from_str::<Method>(&written).unwrap(), method, "{written}");
        }
        for text in ["best", "operator:", "operator:best", "dynamic"] {
            let error = text.parse::<Method>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        let default: Method = toml::from_str("kind = \"dynamic_llava\"").unwrap();
        assert_eq!(default, Method::dynamic_llava());
        assert!(toml::from_str::<Method>("kind = \"atp\"\nratio_weight = 1.0").is_err());
    }
}
