//! Reading a checkpoint folder of any family.

use std::path::Path;

use burn::tensor::{DType, Device};
use serde_json::Value;

use crate::config::read_json;
use crate::{ImageMode, Llava, LlavaNext, LoadError, NextOptions, PromptStyle, Qwen25Vl, QwenOptions, Vlm};

/// How a checkpoint is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadOptions {
    /// How images that are not square are treated (LLaVA-1.5).
    pub image_mode: ImageMode,
    /// Which words stand around the question.
    pub prompt_style: PromptStyle,
    /// Type that the weights are held in, whatever the file stores.
    pub dtype: DType,
    /// What only LLaVA-NeXT knows.
    pub next: NextOptions,
    /// What only Qwen2.5-VL knows.
    pub qwen: QwenOptions,
}

impl Default for LoadOptions {
    /// Padding to a square, the checkpoint's own template, f32 (exact; 7B on a CPU wants f16).
    fn default() -> Self {
        Self {
            image_mode: ImageMode::PadSquare,
            prompt_style: PromptStyle::default(),
            dtype: DType::F32,
            next: NextOptions::default(),
            qwen: QwenOptions::default(),
        }
    }
}

/// The families, as `model_type` and `architectures` of `config.json` name them.
const LLAVA: [&str; 2] = ["llava", "LlavaForConditionalGeneration"];
const LLAVA_NEXT: [&str; 2] = ["llava_next", "LlavaNextForConditionalGeneration"];
const QWEN25_VL: [&str; 2] = ["qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"];

/// Reads a checkpoint folder of any family that this crate knows; `model_type` in `config.json` decides which.
///
/// # Errors
/// When the family is unknown, a file is absent or damaged, or the parts do not fit together.
pub fn load_vlm(
    dir: impl AsRef<Path>,
    device: &Device,
    options: LoadOptions,
) -> Result<Box<dyn Vlm>, LoadError> {
    let dir = dir.as_ref();
    let path = dir.join("config.json");
    let config: Value = read_json(&path, "a model configuration")?;
    let family = family(&config);
    Ok(match family {
        _ if LLAVA.contains(&family) => Box::new(Llava::load_with(dir, device, options)?),
        _ if LLAVA_NEXT.contains(&family) => Box::new(LlavaNext::load_with(dir, device, options)?),
        _ if QWEN25_VL.contains(&family) => Box::new(Qwen25Vl::load_with(dir, device, options)?),
        _ => {
            return Err(LoadError::UnsupportedArchitecture {
                path,
                found: family.into(),
                supported: [LLAVA[0], LLAVA_NEXT[0], QWEN25_VL[0]].join(", "),
                remedy:
                    "convert the checkpoint to the published `-hf` layout, or use one of a supported kind"
                        .into(),
            });
        }
    })
}

/// What a configuration calls itself: `model_type`, or its architecture in files without one.
fn family(config: &Value) -> &str {
    config
        .get("model_type")
        .or_else(|| config.pointer("/architectures/0"))
        .and_then(Value::as_str)
        .unwrap_or("none (neither model_type nor architectures is given)")
}
