//! The parts of DiffPrune, as a configuration.

use burn::tensor::Device;
use diffprune_denoiser::{Denoiser, DenoiserAttention, DenoiserConfig};
use diffprune_kernels::draw_parameters;
use diffprune_learned::{ConfigError, GateSettings, Head, HeadConfig, LearnedPruner, Method, TauRange};
use diffprune_pruner::Budget;
use diffprune_scorer::ScorerConfig;
use diffprune_softtopk::SoftTopKConfig;
use diffprune_throttler::ThrottlerConfig;
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

/// Configuration of DiffPrune and of its rivals; every field has a default, so a TOML table may name only what differs.
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
    /// Sizes of the head that takes the scorer's place, for methods that train one. Default: [`Method::head`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<HeadConfig>,
    /// The denoiser. Default: as wide as the tokens, diagonal attention.
    pub denoiser: Option<DenoiserConfig>,
    /// Send gated tokens on as they are, without the denoiser: an ablation. Default: false.
    #[serde(skip_serializing_if = "is_false")]
    pub without_denoiser: bool,
    /// The soft top-k operator. Default: Laplace on z-scored scores.
    pub softtopk: SoftTopKConfig,
    /// The throttler. Default: variance-preserving noise as strong as the tokens.
    pub throttler: ThrottlerConfig,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Default for DiffPruneConfig {
    fn default() -> Self {
        Self {
            budget: Budget::rate(1, 9),
            tau_start: 1.0,
            tau_end: 0.1,
            method: Method::default(),
            scorer: ScorerChoice::Preset(ScorerPreset::Base),
            selector: None,
            denoiser: None,
            without_denoiser: false,
            softtopk: SoftTopKConfig::new(),
            throttler: ThrottlerConfig::new(),
        }
    }
}

impl DiffPruneConfig {
    /// The same configuration for descriptors of width `d_descriptor` with nothing left open, checked.
    ///
    /// # Errors
    /// The first setting that cannot be used: a budget of nothing, a temperature that is not positive, sizes of scorer
    /// or denoiser that do not fit the tokens, a soft top-k that the gate cannot run on, a method without the loss that
    /// holds it to the budget, a head of another method.
    pub fn resolve(&self, d_descriptor: usize) -> Result<Self, ConfigError> {
        let scorer = self.scorer_config(d_descriptor);
        let denoiser = self
            .denoiser
            .clone()
            .unwrap_or_else(|| DenoiserConfig::new(d_descriptor));
        scorer
            .check()
            .map_err(|cause| ConfigError::new("diffprune.scorer", cause, "sizes that fit together"))?;
        for (field, found) in [
            ("diffprune.scorer.d_model", scorer.d_model),
            ("diffprune.denoiser.d_model", denoiser.d_model),
        ] {
            if found != d_descriptor {
                let wanted = format!("{d_descriptor}, the width of the model's descriptors");
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
        self.method.check(&self.gate_settings())?;
        Ok(Self {
            selector: self.selector_config(d_descriptor)?,
            scorer: ScorerChoice::Config(scorer),
            denoiser: Some(denoiser),
            ..self.clone()
        })
    }

    /// The settings that methods share.
    pub fn gate_settings(&self) -> GateSettings {
        GateSettings {
            softtopk: self.softtopk.clone(),
            throttler: self.throttler.clone(),
        }
    }

    /// The sizes of the head that takes the scorer's place, checked.
    fn selector_config(&self, d_descriptor: usize) -> Result<Option<HeadConfig>, ConfigError> {
        let wanted = self.method.head(d_descriptor);
        let name = |head: &Option<HeadConfig>| head.as_ref().map_or("nothing", HeadConfig::name);
        let found = self.selector.clone().or_else(|| wanted.clone());
        if name(&found) != name(&wanted) {
            let wanted = format!("{}, as the method is {}", name(&wanted), self.method.name());
            return Err(ConfigError::new("diffprune.selector", name(&found), wanted));
        }
        if let Some(config) = &found {
            let fit = "sizes that fit together and the tokens";
            config
                .check()
                .map_err(|cause| ConfigError::new("diffprune.selector", cause, fit))?;
            if config.d_model() != d_descriptor {
                let wanted = format!("{d_descriptor}, the width of the model's descriptors");
                return Err(ConfigError::new(
                    "diffprune.selector.d_model",
                    config.d_model(),
                    wanted,
                ));
            }
        }
        Ok(found)
    }

    /// The temperature of step `step` of `steps`: half a cosine from [`tau_start`](Self::tau_start) to
    /// [`tau_end`](Self::tau_end), or the published schedule of methods that have one of their own.
    pub fn tau_at(&self, step: usize, steps: usize) -> f64 {
        let tau = TauRange {
            start: self.tau_start,
            end: self.tau_end,
        };
        self.method.tau_at(tau, step, steps)
    }

    /// The scorer's sizes for descriptors of width `d_descriptor`.
    pub fn scorer_config(&self, d_descriptor: usize) -> ScorerConfig {
        match &self.scorer {
            ScorerChoice::Config(config) => config.clone(),
            ScorerChoice::Preset(ScorerPreset::Base) => ScorerConfig::base(d_descriptor),
            ScorerChoice::Preset(ScorerPreset::Paper) => ScorerConfig::paper(d_descriptor),
            ScorerChoice::Preset(ScorerPreset::Mini) => ScorerConfig::mini(d_descriptor),
        }
    }

    /// A fresh scorer (or the head in its place) and denoiser for descriptors of width `d_descriptor`, drawn from `seed` on the CPU (so that they are the
    /// same on every device) and moved to `device`.
    ///
    /// Burn draws parameters from one generator per process: nothing else may draw at the same time.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn init(&self, d_descriptor: usize, seed: u64, device: &Device) -> Result<Trainee, ConfigError> {
        let resolved = self.resolve(d_descriptor)?;
        let denoiser = resolved
            .denoiser
            .clone()
            .unwrap_or_else(|| DenoiserConfig::new(d_descriptor));
        let (head, denoiser) = draw(&resolved, d_descriptor, &denoiser, seed);
        Ok(Trainee::new(head, denoiser, device))
    }
}

impl DiffPruneConfig {
    /// A sanity arm: the scorer (or the head in its place) as it is before training.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn untrained(
        &self,
        d_descriptor: usize,
        seed: u64,
        device: &Device,
    ) -> Result<LearnedPruner, ConfigError> {
        let trainee = self.init(d_descriptor, seed, device)?;
        Ok(LearnedPruner::new(trainee.head).with_name("untrained"))
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

/// The scorer is drawn first even when a head takes its place, so that all methods start from the same denoiser.
fn draw(
    config: &DiffPruneConfig,
    d_descriptor: usize,
    denoiser: &DenoiserConfig,
    seed: u64,
) -> (Head, Denoiser) {
    let _guard = DRAWING.lock();
    let cpu = Device::flex();
    cpu.seed(seed);
    let scorer = config.scorer_config(d_descriptor).init(&cpu);
    let denoiser = denoiser.init(&cpu);
    let head = match &config.selector {
        None => Head::Scorer(scorer),
        Some(head) => head.init(&cpu),
    };
    draw_parameters(&head);
    (head, denoiser)
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune_learned::{GumbelBackward, GumbelSte};
    use diffprune_softtopk::ThresholdKind;
    use diffprune_throttler::GateKind;

    #[test]
    fn resolved_settings_survive_toml() {
        let config = DiffPruneConfig {
            scorer: ScorerChoice::Preset(ScorerPreset::Mini),
            method: GumbelSte::new(GumbelBackward::Soft).into(),
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
        let gumbel = GumbelSte::new(GumbelBackward::Soft).into();
        for kind in ThresholdKind::ALL {
            let noise = config(kind, GateKind::VpNoise, Method::default()).resolve(32);
            match kind.supports_vp_noise() {
                Ok(()) => assert!(noise.is_ok()),
                Err(cause) => {
                    let error = noise.unwrap_err();
                    assert_eq!(error.field, "diffprune.softtopk.kind");
                    assert!(error.to_string().contains(&cause.to_string()), "{error}");
                }
            }
            assert!(
                config(kind, GateKind::Scale, Method::default())
                    .resolve(32)
                    .is_ok()
            );
            assert!(config(kind, GateKind::VpNoise, gumbel).resolve(32).is_ok());
        }
    }
}
