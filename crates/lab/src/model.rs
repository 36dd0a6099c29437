//! A model read from a folder, and its identity.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use burn::tensor::{DType, Device};
use diffprune::vlm::{WeightFiles, checkpoint_dtype};
use diffprune::{LoadOptions, Vlm, load_vlm};

use crate::checksums::verify_checksums;
use crate::digest::Digest;
use crate::error::LabError;
use crate::files::folder_name;

/// The files beside the weights that decide the answers.
const ANSWERING: [&str; 9] = [
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Types that weights can be held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightType {
    /// 32 bit.
    F32,
    /// 16 bit, 10 of them mantissa.
    F16,
    /// 16 bit, 7 of them mantissa.
    Bf16,
}

impl WeightType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// The name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// The type as which `dtype` is reported: every other type counts as f32.
    fn of(dtype: DType) -> Self {
        let same = |own: &Self| DType::from(*own) == dtype;
        Self::ALL.into_iter().find(same).unwrap_or(Self::F32)
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WeightType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|own| own.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            format!("found `{text}`, expected one of {}", names.join(", "))
        })
    }
}

impl From<WeightType> for DType {
    fn from(dtype: WeightType) -> Self {
        match dtype {
            WeightType::F32 => Self::F32,
            WeightType::F16 => Self::F16,
            WeightType::Bf16 => Self::BF16,
        }
    }
}

/// A model that was read from a folder.
pub struct LoadedModel {
    /// The frozen model.
    pub vlm: Box<dyn Vlm>,
    /// Its folder.
    pub dir: PathBuf,
    /// Type that its weights are held in.
    pub dtype: WeightType,
    /// Options of its family that are not the default, in words; mostly empty.
    pub options: String,
}

impl LoadedModel {
    /// Reads a checkpoint in Hugging Face layout onto a device.
    ///
    /// # Errors
    /// When a file is missing or damaged, is not what a list of checksums beside it says, or belongs to no known family.
    pub fn load(dir: &Path, device: &Device, options: LoadOptions) -> Result<Self, LabError> {
        verify_checksums(dir)?;
        let dtype = options.dtype.map_or_else(|| checkpoint_dtype(dir), Ok)?;
        Ok(Self {
            vlm: load_vlm(dir, device, options)?,
            dir: dir.to_path_buf(),
            dtype: WeightType::of(dtype),
            options: describe_options(&options),
        })
    }

    /// The bytes that the weights of a checkpoint take when they are read with these options, from the headers of its files.
    ///
    /// # Errors
    /// When there are no weights, or a header is damaged.
    pub fn needed_bytes(dir: &Path, options: &LoadOptions) -> Result<u64, LabError> {
        let files = WeightFiles::open(dir)?;
        let dtype = options.dtype.unwrap_or_else(|| files.dtype());
        Ok(files.n_values() * dtype.size() as u64)
    }

    /// Name of the model in reports: the last part of its folder's path.
    pub fn name(&self) -> String {
        folder_name(&self.dir).unwrap_or_else(|| "model".into())
    }

    /// `text` with the options of the family behind it, where some are not the default.
    pub fn with_options(&self, text: &str) -> String {
        match self.options.as_str() {
            "" => text.to_string(),
            options => format!("{text}; {options}"),
        }
    }

    /// True when the model computes on the CPU.
    pub fn is_on_cpu(&self) -> bool {
        self.vlm.device() == Device::flex()
    }

    /// A hash of configuration, texts and weights, and of the options of the family, which change the answers too.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn fingerprint(&self) -> Result<String, LabError> {
        let digest = Digest::of_folder(&self.dir, &ANSWERING)?;
        // Without options the hash is that of the folder.
        Ok(match self.options.as_str() {
            "" => digest.hex(),
            options => digest.text(options).hex(),
        })
    }
}

/// The options of a family that are not the default, in words; empty when all are.
pub fn describe_options(options: &LoadOptions) -> String {
    let (next, qwen, default) = (options.next, options.qwen, LoadOptions::default());
    let mut parts = Vec::new();
    if options.image_mode != default.image_mode {
        parts.push(format!("image-mode {}", name(&options.image_mode)));
    }
    if options.prompt_style != default.prompt_style {
        parts.push(format!("prompt-style {}", name(&options.prompt_style)));
    }
    if next.tokens != default.next.tokens {
        parts.push(format!("next-tokens {}", name(&next.tokens)));
    }
    if next.newlines != default.next.newlines {
        parts.push(format!("newlines {}", name(&next.newlines)));
    }
    if qwen.site != default.qwen.site {
        parts.push(format!("site {}", name(&qwen.site)));
    }
    let limits = [("min-pixels", qwen.min_pixels), ("max-pixels", qwen.max_pixels)];
    parts.extend(
        limits
            .iter()
            .filter_map(|(name, limit)| Some(format!("{name} {}", (*limit)?))),
    );
    if qwen.pad_square {
        parts.push("pad-square".into());
    }
    parts.join(", ")
}

/// A value as it is typed on the command line.
fn name<T: serde::Serialize>(value: &T) -> String {
    let text = serde_json::to_value(value).ok();
    let text = text.as_ref().and_then(|text| text.as_str()).unwrap_or_default();
    text.replace('_', "-")
}
