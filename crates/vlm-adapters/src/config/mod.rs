//! `config.json` and `generation_config.json` as the hub has them, with every published default filled in.

mod clip;
mod generation;
mod llama;
mod llava;
mod llava_next;
mod qwen25vl;
mod qwen_text;
mod qwen_vision;
mod vit;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use clip::ClipVisionConfig;
pub use generation::GenerationConfig;
pub use llama::LlamaConfig;
pub use llava::{FeatureSelect, LlavaConfig};
pub use llava_next::LlavaNextConfig;
pub use qwen_vision::QwenVisionConfig;
pub use qwen25vl::Qwen25VlConfig;
pub use vit::{VitConfig, VitLayout, VitPool};

use crate::LoadError;
use crate::notes::note;

/// The advice given when a configuration is damaged.
const RESTORE: &str = "restore the checkpoint's published file";

/// An elementwise activation that a configuration may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`, the activation of the CLIP towers.
    QuickGelu,
    /// `x * Phi(x)` with the exact (erf) normal distribution.
    Gelu,
}

impl Activation {
    /// The activation that `name` stands for in a configuration file.
    fn from_name(field: &str, name: &str) -> Result<Self, Problem> {
        match name {
            "quick_gelu" => Ok(Self::QuickGelu),
            "gelu" => Ok(Self::Gelu),
            _ => Err(Problem::new(field, name, "quick_gelu or gelu")),
        }
    }

    /// The name that configuration files use.
    fn name(self) -> String {
        match self {
            Self::QuickGelu => "quick_gelu".into(),
            Self::Gelu => "gelu".into(),
        }
    }
}

/// A field with a value that cannot be honoured, before it is known which file it came from.
#[derive(Debug, thiserror::Error)]
#[error("found `{field}` = {found}, expected {wanted}")]
pub struct Problem {
    field: String,
    found: String,
    wanted: String,
}

impl Problem {
    /// `field` holds `found`; `wanted` says what would do.
    fn new(field: &str, found: impl ToString, wanted: &str) -> Self {
        Self {
            field: field.into(),
            found: found.to_string(),
            wanted: wanted.into(),
        }
    }

    /// The same problem in the part of the file called `parent`.
    fn inside(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }

    /// The error that names the file.
    fn at(self, path: &Path) -> LoadError {
        LoadError::Config {
            path: path.into(),
            field: self.field,
            found: self.found,
            wanted: self.wanted,
            remedy: RESTORE.into(),
        }
    }
}

/// Refuse `field` unless it is positive.
fn positive(field: &str, value: usize) -> Result<(), Problem> {
    if value == 0 {
        Err(Problem::new(field, value, "a positive number"))
    } else {
        Ok(())
    }
}

/// Most layers of a part of a model; sizes beyond this and the following are damage, not models.
const MAX_LAYERS: usize = 1 << 10;
/// Largest width of a layer, and most heads.
const MAX_WIDTH: usize = 1 << 20;
/// Most rows of a vocabulary.
const MAX_VOCAB: usize = 1 << 24;
/// Largest side of an image, in pixels.
const MAX_IMAGE: usize = 1 << 16;
/// Largest side of a patch, in pixels.
const MAX_PATCH: usize = 1 << 12;

/// Refuse `field` unless it is positive and at most `limit`.
fn size(field: &str, value: usize, limit: usize) -> Result<(), Problem> {
    positive(field, value)?;
    if value > limit {
        Err(Problem::new(field, value, &format!("at most {limit}")))
    } else {
        Ok(())
    }
}

/// Refuse `field` unless it is positive and finite.
fn positive_real(field: &str, value: f64) -> Result<(), Problem> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(Problem::new(field, value, "a positive finite number"))
    }
}

/// The value of `field`, which no default can stand in for.
fn required<T>(field: &str, value: Option<T>) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::new(field, "nothing", "a value"))
}

/// Refuse a flag that changes the computation in a way that this crate does not implement.
fn must_be(field: &str, value: Option<bool>, wanted: bool) -> Result<(), Problem> {
    match value {
        Some(found) if found != wanted => {
            Err(Problem::new(field, found, if wanted { "true" } else { "false" }))
        }
        _ => Ok(()),
    }
}

/// Read and parse a json file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, wanted: &str) -> Result<T, LoadError> {
    let bytes = std::fs::read(path).map_err(|source| LoadError::read(path, wanted, RESTORE, source))?;
    LoadError::check_pointer(path, &bytes, wanted)?;
    serde_json::from_slice(&bytes).map_err(|source| LoadError::Json {
        path: path.into(),
        wanted: wanted.into(),
        remedy: RESTORE.into(),
        source,
    })
}

/// A checkpoint's settings of image preprocessing and the file that has them: `image_processor` inside
/// `processor_config.json`, where newer releases of the reference save all settings of a processor, else
/// `preprocessor_config.json`. `None` without either.
pub(crate) fn read_image_settings<T: DeserializeOwned>(
    dir: &Path,
) -> Result<Option<(PathBuf, T)>, LoadError> {
    const WANTED: &str = "image preprocessing settings";
    let path = dir.join("processor_config.json");
    let whole: Option<Value> = read_optional_json(&path, "settings of a processor")?;
    if let Some(settings) = whole.and_then(|mut whole| whole.get_mut("image_processor").map(Value::take)) {
        let settings = serde_json::from_value(settings).map_err(|source| LoadError::Json {
            path: path.clone(),
            wanted: WANTED.into(),
            remedy: RESTORE.into(),
            source,
        })?;
        return Ok(Some((path, settings)));
    }
    let path = dir.join("preprocessor_config.json");
    Ok(read_optional_json(&path, WANTED)?.map(|settings| (path, settings)))
}

/// Notes that a checkpoint has no settings of image preprocessing, and what stands in for them.
pub(crate) fn note_default_images(dir: &Path, assumed: &str) {
    note(format!(
        "{}: neither processor_config.json with an image_processor nor preprocessor_config.json; {assumed} assumed",
        dir.display()
    ));
}

/// Like [`read_json`], with `None` for a file that is not there.
pub(crate) fn read_optional_json<T: DeserializeOwned>(
    path: &Path,
    wanted: &str,
) -> Result<Option<T>, LoadError> {
    match read_json(path, wanted) {
        Ok(value) => Ok(Some(value)),
        Err(LoadError::MissingFile { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
