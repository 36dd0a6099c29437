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

/// The families that this crate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Llava,
    LlavaNext,
    Qwen25Vl,
}

impl Family {
    const ALL: [Self; 3] = [Self::Llava, Self::LlavaNext, Self::Qwen25Vl];

    /// `model_type` and architecture in `config.json`.
    fn marks(self) -> [&'static str; 2] {
        match self {
            Self::Llava => ["llava", "LlavaForConditionalGeneration"],
            Self::LlavaNext => ["llava_next", "LlavaNextForConditionalGeneration"],
            Self::Qwen25Vl => ["qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"],
        }
    }

    /// As [`Vlm::family`] says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Llava => "llava-1.5",
            Self::LlavaNext => "llava-next",
            Self::Qwen25Vl => "qwen2.5-vl",
        }
    }
}

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
    Ok(match family_of(&config, &path)? {
        Family::Llava => Box::new(Llava::load_with(dir, device, options)?),
        Family::LlavaNext => Box::new(LlavaNext::load_with(dir, device, options)?),
        Family::Qwen25Vl => Box::new(Qwen25Vl::load_with(dir, device, options)?),
    })
}

/// The family of a configuration: by `model_type`, or by its architecture in files without one.
pub(crate) fn family_of(config: &Value, path: &Path) -> Result<Family, LoadError> {
    let found = config
        .get("model_type")
        .or_else(|| config.pointer("/architectures/0"))
        .and_then(Value::as_str)
        .unwrap_or("none (neither model_type nor architectures is given)");
    Family::ALL
        .into_iter()
        .find(|family| family.marks().contains(&found))
        .ok_or_else(|| LoadError::UnsupportedArchitecture {
            path: path.into(),
            found: found.into(),
            supported: Family::ALL.map(|family| family.marks()[0]).join(", "),
            remedy: "convert the checkpoint to the published `-hf` layout, or use one of a supported kind"
                .into(),
        })
}
