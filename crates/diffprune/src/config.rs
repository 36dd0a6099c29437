//! What DiffPrune is made of, as a configuration.

use burn::tensor::Device;
use diffprune_denoiser::{Denoiser, DenoiserAttention, DenoiserConfig};
use diffprune_pruner::Budget;
use diffprune_scorer::{Scorer, ScorerConfig};
use diffprune_softtopk::{SoftTopKConfig, ThresholdKind};
use diffprune_throttler::{GateFamily, GateKind, ThrottlerConfig};
use serde::{Deserialize, Serialize};

use crate::train::Trainee;

/// The scorer's sizes: a preset for the width of the vision tokens, or everything spelt out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ScorerChoice {
    /// A preset by name.
    Preset(ScorerPreset),
    /// All sizes.
    Config(ScorerConfig),
}

/// Presets of [`ScorerConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScorerPreset {
    /// [`ScorerConfig::base`].
    Base,
    /// [`ScorerConfig::paper`].
    Paper,
    /// [`ScorerConfig::mini`].
    Mini,
}

/// The operator between scorer and denoiser in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

impl Method {
    /// Short name for checkpoints and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Throttle => "diffprune",
            Self::GumbelSte {
                backward: GumbelBackward::Identity,
            } => "gumbel_ste",
            Self::GumbelSte {
                backward: GumbelBackward::Soft,
            } => "gumbel_ste_soft",
        }
    }
}

/// Configuration of DiffPrune; every field has a default, so a TOML table may name only what differs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiffPruneConfig {
    /// Tokens that may pass during training. Default: 1/9 (64 of 576, 16 of 144). A count of at least the number of
    /// tokens opens every gate, and the scorer then learns nothing.
    pub budget: Budget,
    /// Temperature of the first step, in units of z-scored scores. Default: 1.0.
    pub tau_start: f64,
    /// Temperature of the last step; in between half a cosine. Default: 0.1.
    pub tau_end: f64,
    /// The operator that is trained through. Default: the throttler.
    pub method: Method,
    /// The scorer. Default: the preset `base`.
    pub scorer: ScorerChoice,
    /// The denoiser. Default: as wide as the tokens, diagonal attention.
    pub denoiser: Option<DenoiserConfig>,
    /// The soft top-k operator. Default: Laplace on z-scored scores.
    pub softtopk: SoftTopKConfig,
    /// The throttler. Default: variance-preserving noise as strong as the tokens.
    pub throttler: ThrottlerConfig,
}

impl Default for DiffPruneConfig {
    fn default() -> Self {
        Self {
            budget: Budget::rate(1, 9),
            tau_start: 1.0,
            tau_end: 0.1,
            method: Method::Throttle,
            scorer: ScorerChoice::Preset(ScorerPreset::Base),
            denoiser: None,
            softtopk: SoftTopKConfig::new(),
            throttler: ThrottlerConfig::new(),
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting `{field}`: found {found}, wanted {wanted}")]
pub struct ConfigError {
    /// The setting, with its table.
    pub field: String,
    /// Its value.
    pub found: String,
    /// What would do.
    pub wanted: String,
}

impl ConfigError {
    pub(crate) fn new(field: &str, found: impl ToString, wanted: impl ToString) -> Self {
        Self {
            field: field.to_string(),
            found: found.to_string(),
            wanted: wanted.to_string(),
        }
    }
}

impl DiffPruneConfig {
    /// The same configuration for tokens of width `d_vision` with nothing left open, checked.
    ///
    /// # Errors
    /// The first setting that cannot be used: a budget of nothing, a temperature that is not positive, sizes of scorer
    /// or denoiser that do not fit the tokens, a soft top-k that the gate cannot run on.
    pub fn resolve(&self, d_vision: usize) -> Result<Self, ConfigError> {
        let scorer = self.scorer_config(d_vision);
        let denoiser = self
            .denoiser
            .clone()
            .unwrap_or_else(|| DenoiserConfig::new(d_vision));
        scorer
            .check()
            .map_err(|cause| ConfigError::new("diffprune.scorer", cause, "sizes that fit together"))?;
        for (field, found) in [
            ("diffprune.scorer.d_model", scorer.d_model),
            ("diffprune.denoiser.d_model", denoiser.d_model),
        ] {
            if found != d_vision {
                let wanted = format!("{d_vision}, the width of the model's vision tokens");
                return Err(ConfigError::new(field, found, wanted));
            }
        }
        check_denoiser(&denoiser)?;
        for (field, tau) in [
            ("diffprune.tau_start", self.tau_start),
            ("diffprune.tau_end", self.tau_end),
        ] {
            if !(tau.is_finite() && tau > 0.0) {
                return Err(ConfigError::new(field, tau, "a finite number above 0"));
            }
        }
        // Whether a budget keeps nothing does not depend on the number of tokens.
        self.budget
            .resolve(1)
            .map_err(|cause| ConfigError::new("diffprune.budget", self.budget, cause))?;
        let eps = self.softtopk.z_score_eps;
        if !(eps.is_finite() && eps > 0.0) {
            return Err(ConfigError::new(
                "diffprune.softtopk.z_score_eps",
                eps,
                "a finite number above 0",
            ));
        }
        if self.method == Method::Throttle {
            self.gate_family()?;
        }
        Ok(Self {
            scorer: ScorerChoice::Config(scorer),
            denoiser: Some(denoiser),
            ..self.clone()
        })
    }

    /// The curve in which the throttler takes the derivative of its gates.
    ///
    /// # Errors
    /// When the gate is the noise gate and the soft top-k gives weights that are exactly 0 or 1.
    pub(crate) fn gate_family(&self) -> Result<GateFamily, ConfigError> {
        let kind = self.softtopk.kind;
        if self.throttler.gate == GateKind::VpNoise {
            kind.supports_vp_noise().map_err(|cause| {
                let wanted = format!("one for `throttler.gate` = VpNoise ({cause})");
                ConfigError::new("diffprune.softtopk.kind", format!("{kind:?}"), wanted)
            })?;
        }
        Ok(match kind {
            ThresholdKind::Sigmoid => GateFamily::Sigmoid,
            ThresholdKind::Laplace => GateFamily::Laplace,
            // Only with the scale gate, whose derivative runs through the weights and not through the curve.
            ThresholdKind::MinExp | ThresholdKind::Clip | ThresholdKind::Cubic => GateFamily::Laplace,
        })
    }

    /// The scorer's sizes for tokens of width `d_vision`.
    pub fn scorer_config(&self, d_vision: usize) -> ScorerConfig {
        match &self.scorer {
            ScorerChoice::Config(config) => config.clone(),
            ScorerChoice::Preset(ScorerPreset::Base) => ScorerConfig::base(d_vision),
            ScorerChoice::Preset(ScorerPreset::Paper) => ScorerConfig::paper(d_vision),
            ScorerChoice::Preset(ScorerPreset::Mini) => ScorerConfig::mini(d_vision),
        }
    }

    /// A fresh scorer and denoiser for tokens of width `d_vision`, drawn from `seed` on the CPU (so that they are the
    /// same on every device) and moved to `device`.
    ///
    /// Burn draws parameters from one generator per process: nothing else may draw at the same time.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn init(&self, d_vision: usize, seed: u64, device: &Device) -> Result<Trainee, ConfigError> {
        let resolved = self.resolve(d_vision)?;
        let denoiser = resolved
            .denoiser
            .clone()
            .unwrap_or_else(|| DenoiserConfig::new(d_vision));
        let (scorer, denoiser) = draw(&resolved.scorer_config(d_vision), &denoiser, seed);
        Ok(Trainee::new(scorer, denoiser, device))
    }
}

fn check_denoiser(config: &DenoiserConfig) -> Result<(), ConfigError> {
    if config.d_ff == Some(0) {
        return Err(ConfigError::new("diffprune.denoiser.d_ff", 0, "a positive width"));
    }
    let global = matches!(config.attention, DenoiserAttention::Global);
    if global && (config.n_heads == 0 || !config.d_model.is_multiple_of(config.n_heads)) {
        let wanted = format!("a divisor of {}", config.d_model);
        return Err(ConfigError::new(
            "diffprune.denoiser.n_heads",
            config.n_heads,
            wanted,
        ));
    }
    Ok(())
}

/// One drawing at a time, so that two of our own cannot mix their random numbers.
static DRAWING: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn draw(scorer: &ScorerConfig, denoiser: &DenoiserConfig, seed: u64) -> (Scorer, Denoiser) {
    let _guard = DRAWING.lock();
    let cpu = Device::flex();
    cpu.seed(seed);
    (scorer.init(&cpu), denoiser.init(&cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolved_settings_survive_toml() {
        let config = DiffPruneConfig {
            scorer: ScorerChoice::Preset(ScorerPreset::Mini),
            method: Method::GumbelSte {
                backward: GumbelBackward::Soft,
            },
            ..Default::default()
        };
        let resolved = config.resolve(32).unwrap();
        let text = |config: &DiffPruneConfig| toml::to_string(config).unwrap();
        assert_eq!(text(&resolved.resolve(32).unwrap()), text(&resolved));
        for config in [config, resolved] {
            let read: DiffPruneConfig = toml::from_str(&text(&config)).unwrap();
            assert_eq!(text(&read), text(&config));
        }
        let partial: DiffPruneConfig = toml::from_str("budget = \"32\"\nscorer = \"mini\"").unwrap();
        assert_eq!(partial.budget, Budget::Tokens(32));
        assert!(toml::from_str::<DiffPruneConfig>("budgte = \"32\"").is_err());
    }

    #[test]
    fn unusable_settings_are_named() {
        let field = |config: DiffPruneConfig| config.resolve(32).unwrap_err().field;
        let base = DiffPruneConfig::default;
        assert_eq!(
            field(DiffPruneConfig {
                budget: Budget::Tokens(0),
                ..base()
            }),
            "diffprune.budget"
        );
        assert_eq!(
            field(DiffPruneConfig {
                tau_end: 0.0,
                ..base()
            }),
            "diffprune.tau_end"
        );
        assert_eq!(
            field(DiffPruneConfig {
                tau_start: f64::NAN,
                ..base()
            }),
            "diffprune.tau_start"
        );
        let wide = ScorerChoice::Config(ScorerConfig::base(64));
        assert_eq!(
            field(DiffPruneConfig {
                scorer: wide,
                ..base()
            }),
            "diffprune.scorer.d_model"
        );
        let narrow = Some(DenoiserConfig::new(16));
        assert_eq!(
            field(DiffPruneConfig {
                denoiser: narrow,
                ..base()
            }),
            "diffprune.denoiser.d_model"
        );
    }
    #[test]
    fn curves_that_reach_0_or_1_are_refused_with_noise_alone() {
        let config = |kind, gate, method| DiffPruneConfig {
            softtopk: SoftTopKConfig::new().with_kind(kind),
            throttler: ThrottlerConfig::new().with_gate(gate),
            method,
            ..Default::default()
        };
        let gumbel = Method::GumbelSte {
            backward: GumbelBackward::Soft,
        };
        for kind in ThresholdKind::ALL {
            let noise = config(kind, GateKind::VpNoise, Method::Throttle).resolve(32);
            match kind.supports_vp_noise() {
                Ok(()) => assert!(noise.is_ok()),
                Err(cause) => {
                    let error = noise.unwrap_err();
                    assert_eq!(error.field, "diffprune.softtopk.kind");
                    assert!(error.to_string().contains(&cause.to_string()), "{error}");
                }
            }
            assert!(
                config(kind, GateKind::Scale, Method::Throttle)
                    .resolve(32)
                    .is_ok()
            );
            assert!(config(kind, GateKind::VpNoise, gumbel).resolve(32).is_ok());
        }
    }
}
