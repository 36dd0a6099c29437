//! A checkpoint folder: configuration and weights.

use std::fs;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use serde::Serialize;

use super::{save_safetensors, write_atomic};
use crate::LoadError;

/// Writes `config.json` and `model.safetensors` into `dir`; each file appears whole or not at all.
///
/// # Errors
/// When the folder cannot be written, or values do not fit `dtype`.
pub(crate) fn save_checkpoint(
    dir: &Path,
    config: &impl Serialize,
    tensors: Vec<(String, TensorData)>,
    dtype: DType,
) -> Result<(), LoadError> {
    fs::create_dir_all(dir).map_err(|source| LoadError::write(dir, source))?;
    save_safetensors(dir.join("model.safetensors"), tensors, dtype)?;
    let path = dir.join("config.json");
    let text = serde_json::to_vec_pretty(config).map_err(|source| LoadError::Json {
        path: path.clone(),
        wanted: "a configuration that can be written".into(),
        remedy: "report this as a bug".into(),
        source,
    })?;
    write_atomic(path, &text)
}
