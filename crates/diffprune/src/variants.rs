//! The ablations of DiffPrune as settings with names: each changes one thing.

use diffprune_denoiser::{DenoiserAttention, DenoiserConfig};
use diffprune_softtopk::ThresholdKind;
use diffprune_throttler::{GateKind, NoiseScale};

use crate::{ConfigError, DiffPruneConfig};

/// DiffPrune with one thing changed.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// Its name in tables and on the command line.
    pub name: &'static str,
    /// The change, in words.
    pub about: &'static str,
    change: fn(&mut DiffPruneConfig, usize),
}

impl Variant {
    /// The variant of that name.
    ///
    /// # Errors
    /// When no variant has it.
    pub fn named(name: &str) -> Result<Self, ConfigError> {
        let found = variants().iter().find(|variant| variant.name == name).copied();
        found.ok_or_else(|| {
            let names: Vec<&str> = variants().iter().map(|variant| variant.name).collect();
            ConfigError::new("variant", name, names.join(", "))
        })
    }

    /// `config` for descriptors of width `d_descriptor`, with this one thing changed.
    pub fn of(&self, config: &DiffPruneConfig, d_descriptor: usize) -> DiffPruneConfig {
        let mut changed = config.clone();
        (self.change)(&mut changed, d_descriptor);
        changed
    }
}

static VARIANTS: &[Variant] = &[
    Variant {
        name: "diffprune-scale",
        about: "the scale gate: tokens times weights, no noise",
        change: |config, _| config.throttler.gate = GateKind::Scale,
    },
    Variant {
        name: "diffprune-global",
        about: "global attention in the denoiser: tokens may be repaired from their neighbours",
        change: |config, d_descriptor| {
            let denoiser = config
                .denoiser
                .take()
                .unwrap_or_else(|| DenoiserConfig::new(d_descriptor));
            config.denoiser = Some(denoiser.with_attention(DenoiserAttention::Global));
        },
    },
    Variant {
        name: "diffprune-no-denoiser",
        about: "throttled tokens go to the projector as they are",
        change: |config, _| config.without_denoiser = true,
    },
    Variant {
        name: "diffprune-no-z-score",
        about: "scores as they come: growing logits can sharpen the weights",
        change: |config, _| config.softtopk.z_score = false,
    },
    Variant {
        name: "diffprune-fixed-tau",
        about: "one temperature, the geometric mean of the first and the last",
        change: |config, _| {
            let tau = (config.tau_start * config.tau_end).sqrt();
            (config.tau_start, config.tau_end) = (tau, tau);
        },
    },
    Variant {
        name: "diffprune-unit-noise",
        about: "noise of standard deviation 1, as Eq. (5) of the paper has it",
        change: |config, _| config.throttler.noise_scale = NoiseScale::Unit,
    },
    Variant {
        name: "diffprune-centred-noise",
        about: "the gate acts on the departure from the picture's mean token",
        change: |config, _| config.throttler.noise_scale = NoiseScale::Centred,
    },
    Variant {
        name: "diffprune-sigmoid",
        about: "the logistic curve in the soft top-k",
        change: |config, _| config.softtopk.kind = ThresholdKind::Sigmoid,
    },
];

/// Every variant, those of the papers first.
pub fn variants() -> &'static [Variant] {
    VARIANTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variant_is_usable_and_differs_from_all_others() {
        let base = DiffPruneConfig::default();
        let text = |config: &DiffPruneConfig| toml::to_string(&config.resolve(32).unwrap()).unwrap();
        let mut texts: Vec<String> = variants()
            .iter()
            .map(|variant| text(&variant.of(&base, 32)))
            .collect();
        texts.push(text(&base));
        let count = texts.len();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), count);
        for variant in variants() {
            assert_eq!(Variant::named(variant.name).unwrap().name, variant.name);
        }
        let error = Variant::named("diffprune-best").err().unwrap();
        assert!(error.to_string().contains("diffprune-scale"), "{error}");
    }
}
