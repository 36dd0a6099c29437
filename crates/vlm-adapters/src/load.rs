//! Reading a checkpoint folder of any family.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, Device};
use serde_json::Value;

use crate::config::read_json;
use crate::plan::ImagePlan;
use crate::{
    ChatTemplate, Family, ImageMode, LlamaConfig, LoadError, NextOptions, PromptStyle, QwenOptions, Turn, Vlm,
};

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

/// A family's row in the table of backbones: how its checkpoints are told from others, read and planned.
pub(crate) struct Backbone {
    pub(crate) family: Family,
    /// `model_type` and architecture in `config.json`.
    pub(crate) marks: [&'static str; 2],
    /// Reads a folder with its weights.
    pub(crate) load: fn(&Path, &Device, LoadOptions) -> Result<Box<dyn Vlm>, LoadError>,
    /// Reads the settings of a folder alone: the language model's, and how images are cut into tokens.
    pub(crate) plan: fn(&Path, LoadOptions) -> Result<(LlamaConfig, Arc<dyn ImagePlan>), LoadError>,
    /// The text of a conversation by a folder's template, where it has one.
    pub(crate) prompt: fn(PromptStyle, Option<ChatTemplate>, &[Turn]) -> Result<String, LoadError>,
}

/// The backbones of this crate.
const BACKBONES: [&Backbone; 3] = [
    &crate::llava15::BACKBONE,
    &crate::llava_next::BACKBONE,
    &crate::qwen25vl::BACKBONE,
];

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
    (backbone_of(dir)?.load)(dir, device, options)
}

/// The backbone of a folder: by `model_type`, or by the architecture in files without one.
pub(crate) fn backbone_of(dir: &Path) -> Result<&'static Backbone, LoadError> {
    let path = dir.join("config.json");
    let config: Value = read_json(&path, "a model configuration")?;
    let found = config
        .get("model_type")
        .or_else(|| config.pointer("/architectures/0"))
        .and_then(Value::as_str)
        .unwrap_or("none (neither model_type nor architectures is given)");
    BACKBONES
        .into_iter()
        .find(|backbone| backbone.marks.contains(&found))
        .ok_or_else(|| LoadError::UnsupportedArchitecture {
            path,
            found: found.into(),
            supported: BACKBONES.map(|backbone| backbone.marks[0]).join(", "),
            remedy: "convert the checkpoint to the published `-hf` layout, or use one of a supported kind"
                .into(),
        })
}
