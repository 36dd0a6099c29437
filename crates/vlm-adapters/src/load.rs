//! Reading a checkpoint folder of any family.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, Device};
use serde_json::Value;

use crate::config::read_json;
use crate::plan::ImagePlan;
use crate::{
    ChatTemplate, Family, ImageMode, LlamaConfig, LoadError, NextOptions, PromptStyle, QwenOptions, Turn,
    Vlm, WeightFiles,
};

/// Options of reading a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// The treatment of images that are not square (LLaVA-1.5).
    pub image_mode: ImageMode,
    /// Which words stand around the question.
    pub prompt_style: PromptStyle,
    /// Type that the weights are held in: f32, f16 or bf16; `None` is the type that the files store them in.
    ///
    /// A 7B model in f16 or bf16 takes 14 GB, in f32 28 GB. Comparisons of numbers want f32 ([`LoadOptions::f32`]); a CPU
    /// computes f16 far faster than bf16. Methods see tokens in f32 whatever the weights are.
    pub dtype: Option<DType>,
    /// Options of LLaVA-NeXT alone.
    pub next: NextOptions,
    /// Options of Qwen2.5-VL alone.
    pub qwen: QwenOptions,
}

impl Default for LoadOptions {
    /// Padding to a square, the checkpoint's own template, weights in the type of the files.
    fn default() -> Self {
        Self {
            image_mode: ImageMode::PadSquare,
            prompt_style: PromptStyle::default(),
            dtype: None,
            next: NextOptions::default(),
            qwen: QwenOptions::default(),
        }
    }
}

impl LoadOptions {
    /// The default with weights held in f32, whatever the files store: for numbers that are compared.
    pub fn f32() -> Self {
        Self::default().with_dtype(DType::F32)
    }

    /// The same options with weights held in this type.
    pub fn with_dtype(self, dtype: DType) -> Self {
        Self {
            dtype: Some(dtype),
            ..self
        }
    }

    /// The type in which the weights of the checkpoint in `dir` are to be held.
    pub(crate) fn dtype_of(&self, dir: &Path) -> Result<DType, LoadError> {
        self.dtype.map_or_else(|| checkpoint_dtype(dir), Ok)
    }

    /// The same with another treatment of images that are not square.
    pub fn with_image_mode(mut self, image_mode: ImageMode) -> Self {
        self.image_mode = image_mode;
        self
    }

    /// The same with other words around the question.
    pub fn with_prompt_style(mut self, prompt_style: PromptStyle) -> Self {
        self.prompt_style = prompt_style;
        self
    }

    /// The same with these options of LLaVA-NeXT.
    pub fn with_next(mut self, next: NextOptions) -> Self {
        self.next = next;
        self
    }

    /// The same with these options of Qwen2.5-VL.
    pub fn with_qwen(mut self, qwen: QwenOptions) -> Self {
        self.qwen = qwen;
        self
    }
}

/// The type in which a checkpoint folder stores its weights: f16, bf16 or f32.
///
/// The headers of the weight files say it. Of a folder without them `config.json` does; when it does not either, f32 is
/// given.
///
/// # Errors
/// When weight files are damaged, or there are neither these nor `config.json`.
pub fn checkpoint_dtype(dir: impl AsRef<Path>) -> Result<DType, LoadError> {
    let dir = dir.as_ref();
    match WeightFiles::open(dir) {
        Ok(files) => return Ok(files.dtype()),
        // The settings of a model whose weights are elsewhere.
        Err(LoadError::MissingFile { .. } | LoadError::MissingShard { .. }) => {}
        Err(error) => return Err(error),
    }
    let config: Value = read_json(&dir.join("config.json"), "a model configuration")?;
    let named = [
        "/torch_dtype",
        "/dtype",
        "/text_config/torch_dtype",
        "/text_config/dtype",
    ];
    let named = named.iter().find_map(|place| config.pointer(place)?.as_str());
    Ok(match named {
        Some("float16") => DType::F16,
        Some("bfloat16") => DType::BF16,
        _ => DType::F32,
    })
}

/// Reads a checkpoint folder.
type Load = fn(&Path, &Device, LoadOptions) -> Result<Box<dyn Vlm>, LoadError>;
/// Reads the settings of a checkpoint folder: the language model, and how images become tokens.
type Plan = fn(&Path, LoadOptions) -> Result<(LlamaConfig, Arc<dyn ImagePlan>), LoadError>;
/// Words turns.
type Render = fn(PromptStyle, Option<ChatTemplate>, &[Turn]) -> Result<String, LoadError>;

/// A family's row in the table of backbones: how its checkpoints are told from others, read and planned.
pub(crate) struct Backbone {
    pub(crate) family: Family,
    /// `model_type` and architecture in `config.json`.
    pub(crate) marks: [&'static str; 2],
    /// Reads a folder with its weights.
    pub(crate) load: Load,
    /// Reads the settings of a folder alone: the language model's, and how images are cut into tokens.
    pub(crate) plan: Plan,
    /// The text of a conversation by a folder's template, where it has one.
    pub(crate) prompt: Render,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LlavaConfig;

    #[test]
    fn weights_are_held_as_they_are_stored_unless_a_type_is_named() {
        let device = Device::flex();
        let config = LlavaConfig::tiny();
        for dtype in [DType::F16, DType::BF16, DType::F32] {
            let dir = tempfile::tempdir().unwrap();
            config
                .init(&device)
                .save_pretrained(&config, &dir, dtype)
                .unwrap();
            assert_eq!(checkpoint_dtype(&dir).unwrap(), dtype);
            assert_eq!(LoadOptions::default().dtype_of(dir.path()).unwrap(), dtype);
            assert_eq!(LoadOptions::f32().dtype_of(dir.path()).unwrap(), DType::F32);
        }
    }

    #[test]
    fn settings_alone_name_the_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        assert!(matches!(
            checkpoint_dtype(&dir),
            Err(LoadError::MissingFile { .. })
        ));
        for (text, dtype) in [
            (r#"{"torch_dtype": "float16"}"#, DType::F16),
            (r#"{"dtype": "bfloat16"}"#, DType::BF16),
            (r#"{"text_config": {"torch_dtype": "bfloat16"}}"#, DType::BF16),
            ("{}", DType::F32),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(checkpoint_dtype(&dir).unwrap(), dtype, "{text}");
        }
    }
}
