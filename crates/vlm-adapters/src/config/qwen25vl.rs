//! `config.json` of Qwen2.5-VL.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::qwen_text::RawQwenText;
use super::qwen_vision::RawQwenVision;
use super::{LlamaConfig, Problem, QwenVisionConfig, read_json};
use crate::LoadError;

/// The whole configuration of a Qwen2.5-VL checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawQwen25Vl", into = "RawQwen25Vl")]
pub struct Qwen25VlConfig {
    /// The vision tower and the merger.
    pub vision: QwenVisionConfig,
    /// The language model.
    pub text: LlamaConfig,
    /// Vocabulary id that stands for one visual token.
    pub image_token_id: u32,
    /// Vocabulary id that stands for one visual token of a film. Kept for other readers; films are not implemented.
    pub video_token_id: u32,
    /// Vocabulary id before the visual tokens of an image.
    pub vision_start_token_id: u32,
    /// Vocabulary id after the visual tokens of an image.
    pub vision_end_token_id: u32,
}

impl Qwen25VlConfig {
    /// The published sizes of Qwen2.5-VL-3B.
    pub fn qwen2_5_vl_3b() -> Self {
        Self::published(
            QwenVisionConfig::published(3420, 2048),
            LlamaConfig {
                vocab_size: 151_936,
                hidden_size: 2048,
                intermediate_size: 11008,
                num_hidden_layers: 36,
                num_attention_heads: 16,
                num_key_value_heads: 2,
                tie_word_embeddings: true,
                ..published_text()
            },
        )
    }

    /// The published sizes of Qwen2.5-VL-7B.
    pub fn qwen2_5_vl_7b() -> Self {
        Self::published(QwenVisionConfig::published(3420, 3584), published_text())
    }

    /// The published sizes of Qwen2.5-VL-32B.
    pub fn qwen2_5_vl_32b() -> Self {
        Self::published(
            QwenVisionConfig::published(3456, 5120),
            LlamaConfig {
                hidden_size: 5120,
                intermediate_size: 27648,
                num_hidden_layers: 64,
                num_attention_heads: 40,
                num_key_value_heads: 8,
                ..published_text()
            },
        )
    }

    fn published(vision: QwenVisionConfig, text: LlamaConfig) -> Self {
        Self {
            vision,
            text,
            image_token_id: 151_655,
            video_token_id: 151_656,
            vision_start_token_id: 151_652,
            vision_end_token_id: 151_653,
        }
    }

    /// A model of a few thousand parameters, for tests.
    pub fn tiny() -> Self {
        Self {
            vision: QwenVisionConfig::tiny(),
            text: LlamaConfig {
                num_key_value_heads: 1,
                rms_norm_eps: 1e-6,
                attention_bias: true,
                mrope_section: Some([2, 1, 1]),
                ..LlamaConfig::tiny()
            },
            image_token_id: 60,
            video_token_id: 61,
            vision_start_token_id: 62,
            vision_end_token_id: 63,
        }
    }

    /// Read `config.json` in `dir`, flat as on the hub or with a nested `text_config`, and
    /// [`validate`](Self::validate).
    ///
    /// # Errors
    /// [`LoadError::MissingFile`], [`LoadError::Json`], [`LoadError::UnsupportedArchitecture`] and
    /// [`LoadError::Config`], each naming the file.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = dir.as_ref().join("config.json");
        let value: Value = read_json(&path, "a model configuration")?;
        let raw: RawQwen25Vl = serde_json::from_value(value).map_err(|source| LoadError::Json {
            path: path.clone(),
            wanted: "a Qwen2.5-VL configuration".into(),
            remedy: super::RESTORE.into(),
            source,
        })?;
        raw.check_family(&path)?;
        let config = Self::try_from(raw).map_err(|problem| problem.at(&path))?;
        config.check().map_err(|problem| problem.at(&path))?;
        Ok(config)
    }

    /// Refuse sizes that no model can have: zeros, sizes beyond any known model by far, heads that do not fit the
    /// width, rotary sections that do not fill a head, a merger that does not fit the language model, ids outside the
    /// vocabulary.
    ///
    /// # Errors
    /// [`LoadError::Config`] naming the field.
    pub fn validate(&self) -> Result<(), LoadError> {
        self.check()
            .map_err(|problem| problem.at(&PathBuf::from("Qwen25VlConfig")))
    }

    fn check(&self) -> Result<(), Problem> {
        self.vision
            .check()
            .map_err(|problem| problem.inside("vision_config"))?;
        self.text.check()?;
        self.check_rope()?;
        if self.vision.out_hidden_size != self.text.hidden_size {
            let wanted = format!("hidden_size {} of the language model", self.text.hidden_size);
            let found = self.vision.out_hidden_size;
            return Err(Problem::new("vision_config.out_hidden_size", found, &wanted));
        }
        for (field, id) in [
            ("image_token_id", self.image_token_id),
            ("video_token_id", self.video_token_id),
            ("vision_start_token_id", self.vision_start_token_id),
            ("vision_end_token_id", self.vision_end_token_id),
        ] {
            if id as usize >= self.text.vocab_size {
                let wanted = format!("an id below vocab_size {}", self.text.vocab_size);
                return Err(Problem::new(field, id, &wanted));
            }
        }
        Ok(())
    }

    /// Three rotary sections that fill half a head, and biases.
    fn check_rope(&self) -> Result<(), Problem> {
        let half = self.text.head_dim / 2;
        let sections = self.text.mrope_section.unwrap_or_default();
        let sum = sections.iter().try_fold(0, |sum: usize, &n| sum.checked_add(n));
        if sum != Some(half) {
            let wanted = format!("three numbers that sum to {half}, half of a head's width");
            return Err(Problem::new("mrope_section", format!("{sections:?}"), &wanted));
        }
        if !self.text.attention_bias {
            return Err(Problem::new("attention_bias", false, "true"));
        }
        Ok(())
    }
}

/// The language model of the 7B, of which the others are variants.
fn published_text() -> LlamaConfig {
    LlamaConfig {
        vocab_size: 152_064,
        hidden_size: 3584,
        intermediate_size: 18944,
        num_hidden_layers: 28,
        num_attention_heads: 28,
        num_key_value_heads: 4,
        head_dim: 128,
        max_position_embeddings: 128_000,
        rope_theta: 1e6,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: false,
        attention_bias: true,
        mrope_section: Some([16, 24, 24]),
    }
}

/// The fields as the file may have them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RawQwen25Vl {
    #[serde(skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_type: Option<String>,
    vision_config: Option<RawQwenVision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_config: Option<RawQwenText>,
    #[serde(flatten)]
    flat: RawQwenText,
    image_token_id: Option<u32>,
    video_token_id: Option<u32>,
    vision_start_token_id: Option<u32>,
    vision_end_token_id: Option<u32>,
}

impl RawQwen25Vl {
    /// Refuse other families and towers of other kinds.
    fn check_family(&self, path: &Path) -> Result<(), LoadError> {
        let architecture = self.architectures.iter().flatten().next().map(String::as_str);
        let found = match (self.model_type.as_deref(), architecture) {
            (Some("qwen2_5_vl"), None | Some("Qwen2_5_VLForConditionalGeneration")) => None,
            (None, Some("Qwen2_5_VLForConditionalGeneration")) => None,
            (Some("qwen2_5_vl"), Some(other)) | (Some(other), _) | (None, Some(other)) => Some(other),
            (None, None) => Some("none (neither model_type nor architectures is given)"),
        };
        let tower = self.vision_config.as_ref().and_then(RawQwenVision::model_type);
        // The tower carries the family's own name, or that of its configuration's class.
        let tower = tower.filter(|kind| !["qwen2_5_vl", "qwen2_5_vl_vision"].contains(kind));
        match found
            .map(String::from)
            .or(tower.map(|kind| format!("qwen2_5_vl with vision tower {kind}")))
        {
            None => Ok(()),
            Some(found) => Err(LoadError::UnsupportedArchitecture {
                path: path.into(),
                found,
                supported: "qwen2_5_vl (Qwen2_5_VLForConditionalGeneration)".into(),
                remedy: "use a Qwen2.5-VL checkpoint, or let load_vlm choose the family".into(),
            }),
        }
    }
}

impl TryFrom<RawQwen25Vl> for Qwen25VlConfig {
    type Error = Problem;

    fn try_from(raw: RawQwen25Vl) -> Result<Self, Problem> {
        // The flag that ties the head stands at the top level also beside a nested decoder.
        let tied = raw.flat.tie_word_embeddings();
        let (parent, text) = match raw.text_config {
            Some(text) => (Some("text_config"), text),
            None => (None, raw.flat),
        };
        let tied = tied.or(text.tie_word_embeddings()).unwrap_or(false);
        let text = LlamaConfig::try_from(text).map_err(|problem| match parent {
            Some(parent) => problem.inside(parent),
            None => problem,
        })?;
        let vision = QwenVisionConfig::try_from(raw.vision_config.unwrap_or_default())
            .map_err(|problem| problem.inside("vision_config"))?;
        Ok(Self {
            vision,
            text: LlamaConfig {
                tie_word_embeddings: tied,
                ..text
            },
            image_token_id: raw.image_token_id.unwrap_or(151_655),
            video_token_id: raw.video_token_id.unwrap_or(151_656),
            vision_start_token_id: raw.vision_start_token_id.unwrap_or(151_652),
            vision_end_token_id: raw.vision_end_token_id.unwrap_or(151_653),
        })
    }
}

impl From<Qwen25VlConfig> for RawQwen25Vl {
    fn from(config: Qwen25VlConfig) -> Self {
        Self {
            architectures: Some(vec!["Qwen2_5_VLForConditionalGeneration".into()]),
            model_type: Some("qwen2_5_vl".into()),
            vision_config: Some(config.vision.into()),
            text_config: None,
            flat: config.text.into(),
            image_token_id: Some(config.image_token_id),
            video_token_id: Some(config.video_token_id),
            vision_start_token_id: Some(config.vision_start_token_id),
            vision_end_token_id: Some(config.vision_end_token_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &Value) -> Result<Qwen25VlConfig, serde_json::Error> {
        serde_json::from_value(json.clone())
    }

    fn presets() -> [Qwen25VlConfig; 4] {
        [
            Qwen25VlConfig::qwen2_5_vl_3b(),
            Qwen25VlConfig::qwen2_5_vl_7b(),
            Qwen25VlConfig::qwen2_5_vl_32b(),
            Qwen25VlConfig::tiny(),
        ]
    }

    /// The hub's spelling of the 3B model.
    fn hub() -> Value {
        serde_json::json!({
            "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
            "vision_start_token_id": 151652, "vision_end_token_id": 151653, "image_token_id": 151655,
            "video_token_id": 151656, "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 11008,
            "max_position_embeddings": 128000, "max_window_layers": 70, "num_attention_heads": 16,
            "num_hidden_layers": 36, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
            "sliding_window": 32768, "tie_word_embeddings": true, "use_sliding_window": false,
            "vision_config": {"depth": 32, "hidden_act": "silu", "hidden_size": 1280, "intermediate_size": 3420,
                "num_heads": 16, "in_chans": 3, "out_hidden_size": 2048, "patch_size": 14,
                "spatial_merge_size": 2, "spatial_patch_size": 14, "window_size": 112,
                "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2, "temporal_patch_size": 2},
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "vocab_size": 151936
        })
    }

    #[test]
    fn the_hub_file_gives_the_published_sizes() -> Result<(), serde_json::Error> {
        assert_eq!(parse(&hub())?, Qwen25VlConfig::qwen2_5_vl_3b());
        Ok(())
    }

    #[test]
    fn a_nested_decoder_and_newer_spellings_mean_the_same() -> Result<(), serde_json::Error> {
        let mut json = hub();
        let mut text = json.clone();
        for field in ["vision_config", "architectures", "rope_scaling", "rope_theta"] {
            text.as_object_mut().unwrap().remove(field);
        }
        text["rope_parameters"] = serde_json::json!({"rope_type": "default", "type": "default",
            "rope_theta": 1e6, "mrope_section": [16, 24, 24]});
        text["layer_types"] = serde_json::json!(["full_attention", "full_attention"]);
        for field in [
            "hidden_size",
            "vocab_size",
            "num_attention_heads",
            "rope_scaling",
            "rope_theta",
        ] {
            json.as_object_mut().unwrap().remove(field);
        }
        json["text_config"] = text;
        json["vision_config"]["in_channels"] = 3.into();
        assert_eq!(parse(&json)?, Qwen25VlConfig::qwen2_5_vl_3b());
        Ok(())
    }

    #[test]
    fn what_is_written_reads_back_equal() -> Result<(), Box<dyn std::error::Error>> {
        for config in presets() {
            config.validate()?;
            let json = serde_json::to_value(&config)?;
            assert_eq!(json["model_type"], "qwen2_5_vl");
            assert_eq!(
                json["hidden_size"], config.text.hidden_size,
                "flat, as on the hub"
            );
            assert_eq!(parse(&json)?, config);
        }
        Ok(())
    }

    #[test]
    fn settings_that_change_the_computation_are_refused() {
        for (path, value, field) in [
            ("/hidden_act", "gelu".into(), "hidden_act"),
            ("/use_sliding_window", true.into(), "use_sliding_window"),
            ("/rope_scaling/type", "yarn".into(), "rope_scaling"),
            (
                "/rope_scaling/mrope_section",
                Value::Null,
                "rope_scaling.mrope_section",
            ),
            ("/hidden_size", Value::Null, "hidden_size"),
            ("/num_attention_heads", 3.into(), "num_attention_heads"),
            (
                "/vision_config/hidden_act",
                "gelu".into(),
                "vision_config.hidden_act",
            ),
            ("/vision_config/in_chans", 1.into(), "vision_config.in_chans"),
            (
                "/vision_config/hidden_size",
                Value::Null,
                "vision_config.hidden_size",
            ),
        ] {
            let mut json = hub();
            *json.pointer_mut(path).unwrap() = value;
            let message = parse(&json)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(message.contains(&format!("`{field}`")), "{path} gives: {message}");
        }
        for (field, value) in [
            ("head_dim", 64.into()),
            ("layer_types", serde_json::json!(["sliding_attention"])),
        ] {
            let mut json = hub();
            json[field] = value;
            let message = parse(&json)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(
                message.contains(&format!("`{field}`")),
                "{field} gives: {message}"
            );
        }
    }

    #[test]
    fn impossible_sizes_do_not_validate() {
        let broken: [fn(&mut Qwen25VlConfig); 11] = [
            |c| c.vision.patch_size = 0,
            |c| c.vision.num_heads = 3,
            |c| c.vision.hidden_size = 20,
            |c| c.vision.window_size = 7,
            |c| c.vision.fullatt_block_indexes = vec![3],
            |c| c.vision.spatial_merge_size = 1 << 20,
            |c| c.vision.out_hidden_size = 32,
            |c| c.text.mrope_section = Some([2, 2, 2]),
            |c| c.text.mrope_section = Some([usize::MAX, 4, 1]),
            |c| c.text.attention_bias = false,
            |c| c.image_token_id = 64,
        ];
        for (i, spoil) in broken.iter().enumerate() {
            let mut config = Qwen25VlConfig::tiny();
            spoil(&mut config);
            assert!(
                matches!(config.validate(), Err(LoadError::Config { .. })),
                "case {i}"
            );
        }
    }
}
