//! Settings of a training run.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use diffprune_training::{AdamWOptions, WarmupCosine};
use diffprune_vlm::Vlm;
use serde::{Deserialize, Serialize};

use crate::{ConfigError, DiffPruneConfig, TrainError};

/// Settings of a training run; every field has a default, so a TOML file may name only what differs.
///
/// Two runs with equal settings, data and model give the same weights on the CPU, bit for bit, however often they are
/// interrupted and whatever [`TrainConfig::threads`] is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Updates. Default: 300.
    pub steps: usize,
    /// Images of an update. Default: 32.
    pub batch: usize,
    /// Parts of a batch that are computed side by side, each on one thread. Default: 4 on the CPU, 1 elsewhere.
    pub shards: Option<usize>,
    /// Images that go through the model at once; larger shards are accumulated. Default: the whole shard.
    pub micro_batch: Option<usize>,
    /// Peak learning rate. Default: 1e-3, for scorers of a few hundred thousand parameters; use 1e-4 for `base`.
    pub lr: f64,
    /// Learning rate at the end. Default: 0.
    pub final_lr: f64,
    /// Updates of the linear warm-up. Default: 20.
    pub warmup: usize,
    /// Decoupled weight decay of matrices. Default: 0.01.
    pub weight_decay: f64,
    /// Largest joint norm of the gradients. Default: 1.
    pub clip_norm: f64,
    /// Seed of initial weights, data order and noise. Default: 0.
    pub seed: u64,
    /// Question that goes with every picture. Default: "Describe the image."
    pub prompt: String,
    /// Longest caption in tokens; longer ones are cut. Default: 256.
    pub max_caption_tokens: usize,
    /// Updates between checkpoints. Default: 50.
    pub checkpoint_every: usize,
    /// Checkpoints kept. Default: 2.
    pub keep_checkpoints: usize,
    /// Bytes of vision tokens held in memory (the encoder is frozen, so they never change). Default: 2 GiB.
    pub cache_bytes: u64,
    /// Precision of the held tokens; applies to all tokens, held or not, so that the limit has no influence on the
    /// result. Default: f32.
    pub cache_precision: CachePrecision,
    /// Threads; 0 takes all of the machine. Has no influence on the result. Default: 0.
    pub threads: usize,
    /// Hold the activations of one layer of the language model at a time, and run its layers a second time for the gradient,
    /// where the activations of all of them do not fit. Default: false.
    #[serde(skip_serializing_if = "is_false")]
    pub recompute: bool,
    /// Validation and early stopping.
    pub validation: ValidationConfig,
    /// The method.
    pub diffprune: DiffPruneConfig,
}

/// Settings of runs from before there was this one stay as they were.
fn is_false(value: &bool) -> bool {
    !value
}

/// Settings of the validation.
///
/// The measure is the negative log-likelihood of held-out captions with hard top-k pruned tokens, as at inference:
/// no noise, no denoiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Updates between validations; 0 never validates. Default: 50.
    pub every: usize,
    /// Samples, from the beginning of the validation set. Default: 128.
    pub size: usize,
    /// Validations without improvement after which the run ends; 0 never ends early. Default: 0.
    pub patience: usize,
    /// Take the weights of the best validation instead of the last ones; those before the first update compete. Default: true.
    pub keep_best: bool,
}

/// Precision of vision tokens in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CachePrecision {
    /// As computed.
    F32,
    /// Half the memory; rounded to 11 bits.
    F16,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        Self {
            every: 50,
            size: 128,
            patience: 0,
            keep_best: true,
        }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 300,
            batch: 32,
            shards: None,
            micro_batch: None,
            lr: 1e-3,
            final_lr: 0.0,
            warmup: 20,
            weight_decay: 0.01,
            clip_norm: 1.0,
            seed: 0,
            prompt: "Describe the image.".to_string(),
            max_caption_tokens: 256,
            checkpoint_every: 50,
            keep_checkpoints: 2,
            cache_bytes: 2 << 30,
            cache_precision: CachePrecision::F32,
            threads: 0,
            recompute: false,
            validation: ValidationConfig::default(),
            diffprune: DiffPruneConfig::default(),
        }
    }
}

impl TrainConfig {
    /// Reads settings from a TOML file.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TrainError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|source| TrainError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        toml::from_str(&text).map_err(|cause| TrainError::Toml {
            path: path.to_path_buf(),
            found: cause.to_string(),
        })
    }

    /// The same settings for descriptors of width `d_descriptor` on `device`, with nothing left open, checked.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn resolve(&self, d_descriptor: usize, device: &Device) -> Result<Self, ConfigError> {
        let on_cpu = *device == Device::flex();
        let shards = self
            .shards
            .unwrap_or(if on_cpu { 4 } else { 1 })
            .min(self.batch.max(1));
        let shard = self.batch.div_ceil(shards.max(1));
        let resolved = Self {
            shards: Some(shards),
            micro_batch: Some(self.micro_batch.unwrap_or(shard)),
            diffprune: self.diffprune.resolve(d_descriptor)?,
            ..self.clone()
        };
        resolved.check()?;
        Ok(resolved)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("steps", self.steps),
            ("batch", self.batch),
            ("shards", self.shards.unwrap_or(1)),
            ("micro_batch", self.micro_batch.unwrap_or(1)),
            ("max_caption_tokens", self.max_caption_tokens),
            ("checkpoint_every", self.checkpoint_every),
            ("validation.size", self.validation.size),
        ];
        if let Some((field, found)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::new(field, found, "a positive count"));
        }
        let numbers = [
            ("lr", self.lr),
            ("final_lr", self.final_lr),
            ("weight_decay", self.weight_decay),
            ("clip_norm", self.clip_norm - f64::MIN_POSITIVE),
        ];
        match numbers
            .into_iter()
            .find(|(_, number)| !(number.is_finite() && *number >= 0.0))
        {
            Some((field, found)) => Err(ConfigError::new(field, found, "a finite number, not negative")),
            None => Ok(()),
        }
    }

    pub(crate) fn schedule(&self) -> WarmupCosine {
        WarmupCosine {
            base_lr: self.lr,
            warmup_steps: self.warmup,
            total_steps: self.steps,
            final_lr: self.final_lr,
        }
    }

    pub(crate) fn optimizer(&self) -> AdamWOptions {
        AdamWOptions::default().with_weight_decay(self.weight_decay as f32)
    }
}

/// The description of a run in its directory: the model and the resolved settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunFile {
    vlm: VlmFacts,
    #[serde(default, skip_serializing_if = "Inputs::is_empty")]
    inputs: Inputs,
    train: TrainConfig,
}

/// Names of the contents that a run was fed with; absent where they are not known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    /// Files of the model, in the words of whoever read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// Captions and pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) captions: Option<String>,
    /// Held-out captions and pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held_out: Option<String>,
}

impl Inputs {
    /// `true` if nothing is known.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct VlmFacts {
    family: String,
    /// Width of the descriptors that the scorer looks at.
    d_descriptor: usize,
    d_model: usize,
}

impl RunFile {
    /// Facts of the model beside resolved settings.
    pub(crate) fn new(vlm: &dyn Vlm, inputs: Inputs, train: &TrainConfig) -> Self {
        let vlm = VlmFacts {
            family: vlm.family().to_string(),
            d_descriptor: vlm.d_descriptor(),
            d_model: vlm.d_model(),
        };
        // How many threads there are is a matter of the machine, not of the run.
        Self {
            vlm,
            inputs,
            train: TrainConfig {
                threads: 0,
                ..train.clone()
            },
        }
    }

    /// Reads the file of a run.
    pub(crate) fn read(path: &Path) -> Result<Self, TrainError> {
        stored(path)?
            .try_into()
            .map_err(|cause: toml::de::Error| TrainError::Toml {
                path: path.into(),
                found: cause.to_string(),
            })
    }

    /// The settings of the training.
    pub(crate) fn config(&self) -> &TrainConfig {
        &self.train
    }

    /// Width of the descriptors that the scorer looks at.
    pub(crate) fn d_descriptor(&self) -> usize {
        self.vlm.d_descriptor
    }

    /// Writes the file into a fresh run directory, or compares with the one that is there.
    pub(crate) fn write_or_compare(&self, path: &PathBuf) -> Result<(), TrainError> {
        let unreadable = |found: String| TrainError::Toml {
            path: path.clone(),
            found,
        };
        let own = toml::Value::try_from(self).map_err(|cause| unreadable(cause.to_string()))?;
        if path.exists() {
            let mut stored = stored(path)?;
            let mut own = own;
            forget_unknown_inputs(&mut stored, &mut own);
            return match difference("", &toml::Value::Table(stored), &own) {
                None => Ok(()),
                Some((field, found, wanted)) => Err(TrainError::OtherRun {
                    path: path.clone(),
                    field,
                    found,
                    wanted,
                }),
            };
        }
        let text = toml::to_string_pretty(self).map_err(|cause| unreadable(cause.to_string()))?;
        diffprune_files::write_whole(path, text.as_bytes()).map_err(|error| TrainError::Io {
            action: "write",
            path: error.path().into(),
            source: error.into(),
        })
    }
}

/// What stands in the file of a run, in the words of today.
fn stored(path: &Path) -> Result<toml::Table, TrainError> {
    let text = fs::read_to_string(path).map_err(|source| TrainError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    let mut stored: toml::Table = toml::from_str(&text).map_err(|cause| TrainError::Toml {
        path: path.into(),
        found: cause.to_string(),
    })?;
    rename_width(&mut stored);
    Ok(stored)
}

/// Drops from both files the inputs that one of them does not know: runs of earlier versions, callers that cannot tell.
fn forget_unknown_inputs(stored: &mut toml::Table, own: &mut toml::Value) {
    const INPUTS: &str = "inputs";
    let Some(own) = own.as_table_mut() else { return };
    let inputs = |table: &mut toml::Table| match table.remove(INPUTS) {
        Some(toml::Value::Table(inputs)) => inputs,
        _ => toml::Table::new(),
    };
    let (mut theirs, mut ours) = (inputs(stored), inputs(own));
    theirs.retain(|key, _| ours.contains_key(key));
    ours.retain(|key, _| theirs.contains_key(key));
    stored.insert(INPUTS.into(), theirs.into());
    own.insert(INPUTS.into(), ours.into());
}

/// Gives the width of a run of an earlier version the name that it has now.
fn rename_width(stored: &mut toml::Table) {
    if let Some(toml::Value::Table(vlm)) = stored.get_mut("vlm")
        && let Some(width) = vlm.remove("d_vision")
    {
        vlm.entry("d_descriptor").or_insert(width);
    }
}

/// The first setting in which two files differ: its name, the left and the right value.
fn difference(name: &str, left: &toml::Value, right: &toml::Value) -> Option<(String, String, String)> {
    let (toml::Value::Table(lefts), toml::Value::Table(rights)) = (left, right) else {
        return (left != right).then(|| (name.to_string(), left.to_string(), right.to_string()));
    };
    let keys: std::collections::BTreeSet<&String> = lefts.keys().chain(rights.keys()).collect();
    let absent = toml::Value::String("nothing".to_string());
    keys.into_iter().find_map(|key| {
        let name = if name.is_empty() {
            key.clone()
        } else {
            format!("{name}.{key}")
        };
        difference(
            &name,
            lefts.get(key).unwrap_or(&absent),
            rights.get(key).unwrap_or(&absent),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune_vlm::FakeVlm;

    use crate::SETTINGS_FILE;

    #[test]
    fn a_run_of_an_earlier_version_is_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SETTINGS_FILE);
        let vlm = FakeVlm::new(&Device::flex()).with_tokens(8, 4);
        let own = RunFile::new(&vlm, Inputs::default(), &TrainConfig::default());
        own.write_or_compare(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("d_descriptor = 8\n"), "{text}");
        fs::write(&path, text.replace("d_descriptor = 8", "d_vision = 8")).unwrap();
        own.write_or_compare(&path).unwrap();
        fs::write(&path, text.replace("d_descriptor = 8", "d_vision = 32")).unwrap();
        let error = own.write_or_compare(&path).unwrap_err();
        assert!(matches!(error, TrainError::OtherRun { field, .. } if field == "vlm.d_descriptor"));
    }

    #[test]
    fn resolved_settings_survive_toml() {
        let config = TrainConfig {
            lr: 0.1 + 0.2,
            ..Default::default()
        };
        for config in [config.resolve(32, &Device::flex()).unwrap(), config] {
            let text = toml::to_string_pretty(&config).unwrap();
            let read: TrainConfig = toml::from_str(&text).unwrap();
            assert_eq!(toml::to_string_pretty(&read).unwrap(), text);
            assert_eq!(read.lr, config.lr);
        }
    }

    #[test]
    fn unusable_settings_are_named() {
        let field = |config: TrainConfig| config.resolve(32, &Device::flex()).unwrap_err().field;
        let base = TrainConfig::default;
        assert_eq!(field(TrainConfig { steps: 0, ..base() }), "steps");
        assert_eq!(
            field(TrainConfig {
                shards: Some(0),
                ..base()
            }),
            "shards"
        );
        assert_eq!(
            field(TrainConfig {
                lr: f64::NAN,
                ..base()
            }),
            "lr"
        );
        assert_eq!(
            field(TrainConfig {
                clip_norm: 0.0,
                ..base()
            }),
            "clip_norm"
        );
    }

    #[test]
    fn inputs_that_are_not_known_are_not_compared() {
        let table = |text: &str| toml::from_str::<toml::Table>(text).unwrap();
        for (stored, own, field) in [
            ("a = 1", "a = 1\n[inputs]\ncaptions = 'x'", None),
            (
                "a = 1\n[inputs]\nmodel = 'y'",
                "a = 1\n[inputs]\ncaptions = 'x'",
                None,
            ),
            (
                "a = 1\n[inputs]\ncaptions = 'y'",
                "a = 1\n[inputs]\ncaptions = 'x'\nmodel = 'z'",
                Some("inputs.captions"),
            ),
        ] {
            let (mut stored, mut own) = (table(stored), toml::Value::Table(table(own)));
            forget_unknown_inputs(&mut stored, &mut own);
            let found = difference("", &toml::Value::Table(stored), &own);
            assert_eq!(found.as_ref().map(|(field, _, _)| field.as_str()), field);
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let value = |text: &str| toml::Value::Table(toml::from_str(text).unwrap());
        let (left, right) = (value("a = 1\n[b]\nc = 2"), value("a = 1\n[b]\nc = 3"));
        let found = difference("", &left, &right).unwrap();
        assert_eq!(found, ("b.c".to_string(), "2".to_string(), "3".to_string()));
        assert_eq!(difference("", &left, &left), None);
        assert_eq!(difference("", &left, &value("a = 1")).unwrap().0, "b");
    }
}
