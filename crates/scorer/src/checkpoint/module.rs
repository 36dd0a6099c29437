//! Checkpoints of other modules in the same format.

use std::path::Path;

use burn::module::Module;
use serde::Serialize;

use super::file::{publish, read, stage};
use super::state::StateDict;
use super::{CheckpointError, DENOISER_PREFIX, METADATA_FILE, TENSORS_FILE};

/// Writes and reads the two files of a [`ScorerCheckpoint`](super::ScorerCheckpoint) for any module and any
/// description.
///
/// Tensors are named by their paths in the module, as PyTorch names them; everything else is as for a scorer. The
/// description is a [`Metadata`](super::Metadata).
#[derive(Debug, Clone, Copy)]
pub struct ModuleCheckpoint;

impl ModuleCheckpoint {
    /// Writes `module` and the denoiser that it was trained with into the folder `dir`, which is made if need be.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or written to, or the parameters cannot be read from their device.
    pub fn save<M: Module, D: Module>(
        dir: impl AsRef<Path>,
        module: &M,
        denoiser: &D,
        description: &impl Serialize,
    ) -> Result<(), CheckpointError> {
        let mut state = StateDict::default();
        state.add("", module)?;
        state.add(DENOISER_PREFIX, denoiser)?;
        write(dir.as_ref(), &state, description)
    }

    /// Reads the tensors into `module`, of the same sizes. Tensors of a denoiser are passed over.
    ///
    /// # Errors
    ///
    /// If the file is missing, unreadable, cut off or damaged, or holds another module.
    pub fn load<M: Module>(dir: impl AsRef<Path>, module: M) -> Result<M, CheckpointError> {
        let path = dir.as_ref().join(TENSORS_FILE);
        let state = StateDict::from_bytes(&read(&path)?, &path, |name| !name.starts_with(DENOISER_PREFIX))?;
        state.into_module("", module, &path)
    }
}

/// Writes both files under temporary names and then renames them, the description last.
pub(super) fn write(
    dir: &Path,
    state: &StateDict,
    description: &impl Serialize,
) -> Result<(), CheckpointError> {
    let (json_path, tensors_path) = (dir.join(METADATA_FILE), dir.join(TENSORS_FILE));
    let mut json = serde_json::to_vec_pretty(description).map_err(|source| CheckpointError::Json {
        path: json_path.clone(),
        source,
    })?;
    json.push(b'\n');
    std::fs::create_dir_all(dir).map_err(|source| CheckpointError::Write {
        path: dir.into(),
        source,
    })?;
    let tensors = stage(&tensors_path, &state.to_bytes(&tensors_path)?)?;
    let json = stage(&json_path, &json)?;
    publish(tensors, &tensors_path)?;
    publish(json, &json_path)
}
