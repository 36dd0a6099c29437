//! `config.json` of LLaVA-1.5.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clip::RawClip;
use super::llama::RawLlama;
use super::{Activation, ClipVisionConfig, LlamaConfig, Problem, must_be, read_json};
use crate::LoadError;

/// Which tokens of the chosen vision layer go on to the projector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureSelect {
    /// The patches only; the class token is dropped.
    Default,
    /// The class token and the patches.
    Full,
}

/// The whole configuration of a LLaVA-1.5 checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawLlava", into = "RawLlava")]
pub struct LlavaConfig {
    /// The vision tower.
    pub vision: ClipVisionConfig,
    /// The language model.
    pub text: LlamaConfig,
    /// Activation between the projector's two linear layers.
    pub projector_hidden_act: Activation,
    /// Vocabulary id that stands for one visual token (`image_token_index` in older files).
    pub image_token_id: u32,
    /// Index into the vision tower's hidden states: 0 is the input of the first layer, negative counts from the end.
    pub vision_feature_layer: i64,
    /// Which of that layer's tokens are used.
    pub vision_feature_select_strategy: FeatureSelect,
}

impl LlavaConfig {
    /// The published sizes of LLaVA-1.5-7B.
    pub fn llava_1_5_7b() -> Self {
        Self {
            vision: ClipVisionConfig::vit_l_14_336(),
            text: LlamaConfig::vicuna_7b(),
            projector_hidden_act: Activation::Gelu,
            image_token_id: 32000,
            vision_feature_layer: -2,
            vision_feature_select_strategy: FeatureSelect::Default,
        }
    }

    /// A model of a few thousand parameters with 16 visual tokens, for tests.
    pub fn tiny() -> Self {
        Self {
            vision: ClipVisionConfig::tiny(),
            text: LlamaConfig::tiny(),
            projector_hidden_act: Activation::Gelu,
            image_token_id: 60,
            vision_feature_layer: -2,
            vision_feature_select_strategy: FeatureSelect::Default,
        }
    }

    /// Read `config.json` in `dir`, fill in the defaults and [`validate`](Self::validate).
    ///
    /// # Errors
    /// [`LoadError::MissingFile`], [`LoadError::Json`], [`LoadError::UnsupportedArchitecture`] and
    /// [`LoadError::Config`], each naming the file.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = dir.as_ref().join("config.json");
        let raw: RawLlava = read_raw(&path, &LLAVA)?;
        raw.check_parts(&path, &LLAVA)?;
        let config = Self::try_from(raw).map_err(|problem| problem.at(&path))?;
        config.check().map_err(|problem| problem.at(&path))?;
        Ok(config)
    }

    /// Refuse sizes that no model can have: zeros, sizes beyond any known model by far, heads that do not divide the width, a feature layer that does
    /// not exist, an image token outside the vocabulary.
    ///
    /// # Errors
    /// [`LoadError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoadError> {
        self.check()
            .map_err(|problem| problem.at(&PathBuf::from("LlavaConfig")))
    }

    /// Visual tokens of one image before pruning.
    pub fn n_visual_tokens(&self) -> usize {
        match self.vision_feature_select_strategy {
            FeatureSelect::Default => self.vision.n_patches(),
            FeatureSelect::Full => self.vision.n_patches() + 1,
        }
    }

    /// The number of layers of the vision tower that have to run for the chosen hidden state (0: none, only the embedding).
    ///
    /// # Panics
    /// If [`validate`](Self::validate) would refuse the configuration.
    pub fn n_vision_layers_used(&self) -> usize {
        feature_layer(self.vision_feature_layer, self.vision.num_hidden_layers).unwrap_or_else(|| {
            panic!(
                "vision_feature_layer {} does not exist",
                self.vision_feature_layer
            )
        })
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        self.vision
            .check()
            .map_err(|problem| problem.inside("vision_config"))?;
        self.text
            .check()
            .map_err(|problem| problem.inside("text_config"))?;
        let n_layers = self.vision.num_hidden_layers;
        if feature_layer(self.vision_feature_layer, n_layers).is_none() {
            let wanted = format!("one of the {} hidden states of {n_layers} layers", n_layers + 1);
            return Err(Problem::new(
                "vision_feature_layer",
                self.vision_feature_layer,
                &wanted,
            ));
        }
        if self.image_token_id as usize >= self.text.vocab_size {
            let wanted = format!("an id below vocab_size {}", self.text.vocab_size);
            return Err(Problem::new("image_token_index", self.image_token_id, &wanted));
        }
        Ok(())
    }
}

/// Resolve a possibly negative index among the `n_layers + 1` hidden states.
fn feature_layer(index: i64, n_layers: usize) -> Option<usize> {
    let n_states = i64::try_from(n_layers).ok()? + 1;
    let resolved = if index < 0 {
        n_states.checked_add(index)?
    } else {
        index
    };
    (0..n_states).contains(&resolved).then_some(resolved as usize)
}

/// The names of a family in its files.
pub(super) struct Family {
    /// `model_type`.
    pub(super) model_type: &'static str,
    /// The name in `architectures`.
    pub(super) architecture: &'static str,
}

/// LLaVA-1.5.
const LLAVA: Family = Family {
    model_type: "llava",
    architecture: "LlavaForConditionalGeneration",
};

impl Family {
    fn unsupported(&self, path: &Path, found: impl Into<String>) -> LoadError {
        LoadError::UnsupportedArchitecture {
            path: path.into(),
            found: found.into(),
            supported: format!(
                "{} ({}) with a clip_vision_model tower and a llama or mistral decoder",
                self.model_type, self.architecture
            ),
            remedy: "convert the checkpoint to the published `-hf` layout, or use one of a supported kind"
                .into(),
        }
    }

    /// `model_type` decides; files without one are recognised by their architecture's name.
    fn check(&self, path: &Path, config: &Value) -> Result<(), LoadError> {
        let model_type = config.get("model_type").and_then(Value::as_str);
        let architecture = config.pointer("/architectures/0").and_then(Value::as_str);
        match (model_type, architecture) {
            (None, None) => {
                Err(self.unsupported(path, "none (neither model_type nor architectures is given)"))
            }
            (Some(found), _) if found != self.model_type => Err(self.unsupported(path, found)),
            (_, Some(found)) if found != self.architecture => Err(self.unsupported(path, found)),
            _ => Ok(()),
        }
    }
}

/// The fields of a configuration file of `family`.
pub(super) fn read_raw<T: DeserializeOwned>(path: &Path, family: &Family) -> Result<T, LoadError> {
    let value: Value = read_json(path, "a model configuration")?;
    family.check(path, &value)?;
    serde_json::from_value(value).map_err(|source| LoadError::Json {
        path: path.into(),
        wanted: "a LLaVA configuration".into(),
        remedy: super::RESTORE.into(),
        source,
    })
}

/// The fields as the file may have them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RawLlava {
    #[serde(skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_type: Option<String>,
    vision_config: Option<RawClip>,
    text_config: Option<RawLlama>,
    projector_hidden_act: Option<String>,
    image_token_index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_token_id: Option<u32>,
    vision_feature_layer: Option<Value>,
    vision_feature_select_strategy: Option<String>,
    tie_word_embeddings: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multimodal_projector_bias: Option<bool>,
}

impl RawLlava {
    /// Refuse towers and decoders of other kinds.
    pub(super) fn check_parts(&self, path: &Path, family: &Family) -> Result<(), LoadError> {
        let vision = self
            .vision_config
            .as_ref()
            .and_then(RawClip::model_type)
            .unwrap_or("clip_vision_model");
        if vision != "clip_vision_model" {
            let found = format!("{} with vision tower {vision}", family.model_type);
            return Err(family.unsupported(path, found));
        }
        let text = self
            .text_config
            .as_ref()
            .and_then(RawLlama::model_type)
            .unwrap_or("llama");
        if !["llama", "mistral"].contains(&text) {
            let found = format!("{} with language model {text}", family.model_type);
            return Err(family.unsupported(path, found));
        }
        Ok(())
    }

    /// The same fields in a file of another family.
    pub(super) fn of(self, family: &Family) -> Self {
        Self {
            architectures: Some(vec![family.architecture.into()]),
            model_type: Some(family.model_type.into()),
            ..self
        }
    }

    fn feature_layer(&self) -> Result<i64, Problem> {
        match &self.vision_feature_layer {
            None => Ok(-2),
            Some(value) => value.as_i64().ok_or_else(|| {
                Problem::new(
                    "vision_feature_layer",
                    value,
                    "one whole number (lists are not supported)",
                )
            }),
        }
    }

    fn select_strategy(&self) -> Result<FeatureSelect, Problem> {
        match self.vision_feature_select_strategy.as_deref() {
            None | Some("default") => Ok(FeatureSelect::Default),
            Some("full") => Ok(FeatureSelect::Full),
            Some(other) => Err(Problem::new(
                "vision_feature_select_strategy",
                other,
                "default or full",
            )),
        }
    }

    /// The decoder; the flag that ties its head may stand at the top level.
    fn text(&self) -> Result<LlamaConfig, Problem> {
        let raw = self.text_config.clone().unwrap_or_default();
        let said = raw.tie_word_embeddings();
        let mut text = LlamaConfig::try_from(raw).map_err(|problem| problem.inside("text_config"))?;
        text.tie_word_embeddings = said.or(self.tie_word_embeddings).unwrap_or(false);
        Ok(text)
    }

    fn vision(&self) -> Result<ClipVisionConfig, Problem> {
        match &self.vision_config {
            None => Ok(ClipVisionConfig::vit_l_14_336()),
            Some(raw) => raw
                .clone()
                .try_into()
                .map_err(|problem: Problem| problem.inside("vision_config")),
        }
    }
}

impl TryFrom<RawLlava> for LlavaConfig {
    type Error = Problem;

    fn try_from(raw: RawLlava) -> Result<Self, Problem> {
        must_be("multimodal_projector_bias", raw.multimodal_projector_bias, true)?;
        let act = raw.projector_hidden_act.as_deref().unwrap_or("gelu");
        Ok(Self {
            vision: raw.vision()?,
            text: raw.text()?,
            projector_hidden_act: Activation::from_name("projector_hidden_act", act)?,
            image_token_id: raw.image_token_id.or(raw.image_token_index).unwrap_or(32000),
            vision_feature_layer: raw.feature_layer()?,
            vision_feature_select_strategy: raw.select_strategy()?,
        })
    }
}

impl From<LlavaConfig> for RawLlava {
    fn from(config: LlavaConfig) -> Self {
        let strategy = match config.vision_feature_select_strategy {
            FeatureSelect::Default => "default",
            FeatureSelect::Full => "full",
        };
        Self {
            architectures: Some(vec!["LlavaForConditionalGeneration".into()]),
            model_type: Some("llava".into()),
            tie_word_embeddings: Some(config.text.tie_word_embeddings),
            vision_config: Some(config.vision.into()),
            text_config: Some(config.text.into()),
            projector_hidden_act: Some(config.projector_hidden_act.name()),
            image_token_index: Some(config.image_token_id),
            image_token_id: None,
            vision_feature_layer: Some(config.vision_feature_layer.into()),
            vision_feature_select_strategy: Some(strategy.into()),
            multimodal_projector_bias: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<LlavaConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_hub_file_of_differences_gives_the_published_sizes() -> Result<(), serde_json::Error> {
        let config = parse(
            r#"{"model_type": "llava", "image_token_index": 32000, "projector_hidden_act": "gelu",
                "text_config": {"max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05,
                                "torch_dtype": "float16", "vocab_size": 32064},
                "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
                                  "model_type": "clip_vision_model", "num_attention_heads": 16,
                                  "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768,
                                  "vocab_size": 32000},
                "vision_feature_layer": -2, "vision_feature_select_strategy": "default", "vocab_size": 32064}"#,
        )?;
        assert_eq!(config, LlavaConfig::llava_1_5_7b());
        assert_eq!(config.n_visual_tokens(), 576);
        assert_eq!(config.n_vision_layers_used(), 23);
        Ok(())
    }

    #[test]
    fn newer_spellings_mean_the_same() -> Result<(), serde_json::Error> {
        let config = parse(
            r#"{"image_token_id": 7, "tie_word_embeddings": true, "text_config": {"model_type": "mistral",
                "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}, "sliding_window": null}}"#,
        )?;
        assert_eq!(config.image_token_id, 7);
        assert_eq!(config.text.rope_theta, 1e6);
        assert_eq!(
            (config.text.num_key_value_heads, config.text.intermediate_size),
            (8, 14336)
        );
        assert!(config.text.tie_word_embeddings);
        assert_eq!(config.vision, ClipVisionConfig::vit_l_14_336());
        Ok(())
    }

    #[test]
    fn what_is_written_reads_back_equal() -> Result<(), serde_json::Error> {
        for config in [LlavaConfig::llava_1_5_7b(), LlavaConfig::tiny()] {
            let text = serde_json::to_string_pretty(&config)?;
            assert!(text.contains("\"model_type\": \"llava\""));
            assert_eq!(parse(&text)?, config);
        }
        Ok(())
    }

    #[test]
    fn settings_that_change_the_computation_are_refused() {
        for (json, field) in [
            (
                r#"{"text_config": {"rope_scaling": {"type": "linear", "factor": 4.0}}}"#,
                "text_config.rope_scaling",
            ),
            (
                r#"{"text_config": {"hidden_act": "gelu"}}"#,
                "text_config.hidden_act",
            ),
            (
                r#"{"text_config": {"attention_bias": true}}"#,
                "text_config.attention_bias",
            ),
            (
                r#"{"text_config": {"num_attention_heads": 3}}"#,
                "text_config.num_attention_heads",
            ),
            (
                r#"{"vision_config": {"hidden_act": "relu"}}"#,
                "vision_config.hidden_act",
            ),
            (r#"{"vision_feature_layer": [-2, -5]}"#, "vision_feature_layer"),
            (
                r#"{"multimodal_projector_bias": false}"#,
                "multimodal_projector_bias",
            ),
        ] {
            let message = parse(json)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(message.contains(field), "{json} gives: {message}");
        }
    }

    #[test]
    fn impossible_sizes_do_not_validate() {
        let broken: [fn(&mut LlavaConfig); 7] = [
            |c| c.vision.patch_size = 0,
            |c| c.vision.image_size = 57,
            |c| c.vision.num_attention_heads = 3,
            |c| c.text.num_key_value_heads = 0,
            |c| c.text.head_dim = 7,
            |c| c.vision_feature_layer = -5,
            |c| c.image_token_id = 64,
        ];
        assert!(LlavaConfig::tiny().validate().is_ok());
        for (i, spoil) in broken.iter().enumerate() {
            let mut config = LlavaConfig::tiny();
            spoil(&mut config);
            assert!(
                matches!(config.validate(), Err(LoadError::Config { .. })),
                "case {i}"
            );
        }
    }
}
