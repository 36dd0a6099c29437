//! Shapes from the configuration of a checkpoint.

use std::path::Path;

use serde_json::Value;

use super::shape::{BlockShape, ModelShape, VisionShape, Windows};
use crate::EvalError;

/// Tiles that LLaVA-NeXT cuts at most, and the base picture.
const NEXT_VIEWS: usize = 5;
/// Side of the picture that Qwen2.5-VL is counted with, pixels.
const QWEN_SIDE: usize = 1008;

/// A group of settings with the defaults of its architecture.
struct Settings<'a>(&'a Value);

impl Settings<'_> {
    fn size(&self, keys: &[&str], default: usize) -> usize {
        let found = keys.iter().find_map(|key| self.0.get(key)?.as_u64());
        found.map_or(default, |size| size as usize)
    }
}

impl ModelShape {
    /// The shape of a checkpoint in Hugging Face layout, from its `config.json`: LLaVA-1.5, LLaVA-NeXT or Qwen2.5-VL.
    ///
    /// Sizes that the file leaves out are those of the architecture's defaults. Qwen2.5-VL, whose pictures may have any
    /// size, is counted with 1008 by 1008 pixels.
    ///
    /// # Errors
    /// When the file cannot be read, is no JSON, or is of another architecture.
    pub fn from_config(path: &Path, name: &str) -> Result<Self, EvalError> {
        let bytes = std::fs::read(path).map_err(|source| EvalError::io(path, "read", source))?;
        let config: Value = serde_json::from_slice(&bytes).map_err(|error| {
            EvalError::line(path, error.line(), format!("no JSON ({error})"), "a config.json")
        })?;
        let text = config.get("text_config").unwrap_or(&config);
        let family = config
            .get("model_type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let none = Value::Null;
        let vision = Settings(config.get("vision_config").unwrap_or(&none));
        let language = language(text);
        let vision = match family {
            "llava" => clip(&config, &vision, &language, 1),
            "llava_next" => clip(&config, &vision, &language, NEXT_VIEWS),
            "qwen2_5_vl" => qwen(&vision, &language),
            _ => {
                let wanted = "llava, llava_next or qwen2_5_vl";
                return Err(EvalError::line(path, 1, format!("model_type `{family}`"), wanted));
            }
        };
        Ok(Self {
            name: name.into(),
            vocab: Settings(text).size(&["vocab_size"], 32_000),
            language,
            vision,
        })
    }
}

fn language(text: &Value) -> BlockShape {
    let mistral = text.get("model_type").and_then(Value::as_str) == Some("mistral");
    let settings = Settings(text);
    let d_model = settings.size(&["hidden_size"], 4096);
    let n_heads = settings.size(&["num_attention_heads"], 32);
    BlockShape {
        d_model,
        d_ffn: settings.size(&["intermediate_size"], if mistral { 14_336 } else { 11_008 }),
        n_layers: settings.size(&["num_hidden_layers"], 32),
        n_heads,
        n_kv_heads: settings.size(&["num_key_value_heads"], if mistral { 8 } else { n_heads }),
        head_dim: settings.size(&["head_dim"], d_model / n_heads.max(1)),
        gated: true,
    }
}

/// The CLIP tower of the LLaVA family.
fn clip(config: &Value, vision: &Settings<'_>, language: &BlockShape, views: usize) -> VisionShape {
    let d_model = vision.size(&["hidden_size"], 1024);
    let n_layers = vision.size(&["num_hidden_layers"], 24);
    let layer = config
        .get("vision_feature_layer")
        .and_then(Value::as_i64)
        .unwrap_or(-2);
    let run = if layer < 0 {
        (n_layers + 1).saturating_sub(layer.unsigned_abs() as usize)
    } else {
        layer as usize
    };
    let patch = vision.size(&["patch_size"], 14).max(1);
    let side = vision.size(&["image_size"], 336) / patch;
    VisionShape {
        blocks: BlockShape::plain(
            d_model,
            vision.size(&["intermediate_size"], 4096),
            run,
            vision.size(&["num_attention_heads"], 16),
            false,
        ),
        d_patch: 3 * patch * patch,
        extra_tokens: 1,
        windows: None,
        patches_per_token: 1,
        projector: vec![d_model, language.d_model, language.d_model],
        tokens: side * side * views,
        views,
    }
}

fn qwen(vision: &Settings<'_>, language: &BlockShape) -> VisionShape {
    let d_model = vision.size(&["hidden_size"], 1280);
    let merge = vision.size(&["spatial_merge_size"], 2).max(1);
    let patch = vision.size(&["patch_size"], 14).max(1);
    let frames = vision.size(&["temporal_patch_size"], 2);
    let window = vision.size(&["window_size"], 112) / patch;
    let full = vision.0.get("fullatt_block_indexes").and_then(Value::as_array);
    let side = QWEN_SIDE / (patch * merge);
    VisionShape {
        blocks: BlockShape::plain(
            d_model,
            vision.size(&["intermediate_size"], 3420),
            vision.size(&["depth", "num_hidden_layers"], 32),
            vision.size(&["num_heads", "num_attention_heads"], 16),
            true,
        ),
        d_patch: 3 * frames * patch * patch,
        extra_tokens: 0,
        windows: Some(Windows {
            patches: window * window,
            full_layers: full.map_or(4, Vec::len),
        }),
        patches_per_token: merge * merge,
        projector: vec![
            merge * merge * d_model,
            merge * merge * d_model,
            vision.size(&["out_hidden_size"], language.d_model),
        ],
        tokens: side * side,
        views: 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: &Value, name: &str) -> Result<ModelShape, EvalError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        ModelShape::from_config(&path, name)
    }

    #[test]
    fn configurations_of_differences_only_give_the_published_shapes() {
        let text = json!({"vocab_size": 32064, "model_type": "llama"});
        for (family, name) in [("llava", "llava-1.5-7b"), ("llava_next", "llava-next-7b")] {
            let config = json!({"model_type": family, "text_config": text, "vision_config": {}});
            assert_eq!(read(&config, name).unwrap(), ModelShape::preset(name).unwrap());
        }
        let qwen = json!({"model_type": "qwen2_5_vl", "hidden_size": 3584, "intermediate_size": 18944,
            "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
            "vision_config": {"out_hidden_size": 3584, "fullatt_block_indexes": [7, 15, 23, 31]}});
        assert_eq!(
            read(&qwen, "qwen2.5-vl-7b").unwrap(),
            ModelShape::preset("qwen2.5-vl-7b").unwrap()
        );
    }

    #[test]
    fn what_the_file_says_goes_before_defaults() {
        let config = json!({"model_type": "llava", "vision_feature_layer": -1,
            "text_config": {"model_type": "mistral", "hidden_size": 64, "num_attention_heads": 4, "head_dim": 32},
            "vision_config": {"image_size": 168, "num_hidden_layers": 5, "hidden_size": 128}});
        let shape = read(&config, "x").unwrap();
        assert_eq!(
            (
                shape.language.d_ffn,
                shape.language.n_kv_heads,
                shape.language.head_dim
            ),
            (14_336, 8, 32)
        );
        assert_eq!((shape.vision.blocks.n_layers, shape.vision.tokens), (5, 144));
        assert_eq!(shape.vision.projector, [128, 64, 64]);
    }

    #[test]
    fn other_models_and_damage_are_named() {
        for (config, named) in [
            (json!({"model_type": "bert"}), "bert"),
            (json!([]), "model_type ``"),
        ] {
            let error = read(&config, "x").unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("config.json"), "{error}");
        }
        assert!(ModelShape::from_config(Path::new("no/config.json"), "x").is_err());
    }
}
