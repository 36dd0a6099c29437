//! The checkpoint of a scorer: a folder with two files.

mod error;
mod file;
mod metadata;
mod module;
mod state;

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

pub use self::error::CheckpointError;
use self::file::read;
pub use self::metadata::{Metadata, ScorerSizes, Sizes};
pub use self::module::ModuleCheckpoint;
use self::state::StateDict;
use crate::scorer::Scorer;

/// Version of the format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Name of the file that describes the scorer.
pub const METADATA_FILE: &str = "diffprune.json";
/// Name of the file that holds the parameters.
pub const TENSORS_FILE: &str = "model.safetensors";
/// The prefix of the names of a denoiser's tensors.
const DENOISER_PREFIX: &str = "denoiser.";

/// Writes and reads checkpoints.
///
/// | tensor | shape |
/// |---|---|
/// | `input_norm.weight`, `input_norm.bias` (if the scorer has it) | `[d_model]` |
/// | `blocks.{i}.norm1.weight`, `.bias` | `[d_model]` |
/// | `blocks.{i}.attn.{q_proj,k_proj,v_proj,out_proj}.weight` | `[d_model, d_model]` |
/// | `blocks.{i}.attn.{q_proj,k_proj,v_proj,out_proj}.bias` | `[d_model]` |
/// | `blocks.{i}.norm2.weight`, `.bias` | `[d_model]` |
/// | `blocks.{i}.linear1.weight`, `.bias` | `[d_ff, d_model]`, `[d_ff]` |
/// | `blocks.{i}.linear2.weight`, `.bias` | `[d_model, d_ff]`, `[d_model]` |
/// | `final_norm.weight`, `final_norm.bias` | `[d_model]` |
/// | `head.weight` | `[1, d_model]` |
/// | `denoiser.*` (optional) | as the denoiser has them |
///
/// Tensors are written in f32 and read from f32, f16 or bf16. A linear weight is `[out, in]`, as PyTorch
/// stores it.
#[derive(Debug, Clone, Copy)]
pub struct ScorerCheckpoint;

impl ScorerCheckpoint {
    /// Writes `scorer` into the folder `dir`, which is made if need be.
    ///
    /// Both files are written under temporary names and then renamed, the description last: no reader
    /// ever sees half a file. The fields of `metadata` that describe the scorer are taken from the scorer.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or written to, or the parameters cannot be read from their device.
    pub fn save(dir: impl AsRef<Path>, scorer: &Scorer, metadata: &Metadata) -> Result<(), CheckpointError> {
        let mut state = StateDict::default();
        state.add("", scorer)?;
        write_scorer(dir.as_ref(), &state, scorer, metadata)
    }

    /// As [`save`](Self::save), with the parameters of the denoiser it was trained with.
    ///
    /// # Errors
    ///
    /// As for [`save`](Self::save).
    pub fn save_with_denoiser<M: Module>(
        dir: impl AsRef<Path>,
        scorer: &Scorer,
        denoiser: &M,
        metadata: &Metadata,
    ) -> Result<(), CheckpointError> {
        let mut state = StateDict::default();
        state.add("", scorer)?;
        state.add(DENOISER_PREFIX, denoiser)?;
        write_scorer(dir.as_ref(), &state, scorer, metadata)
    }

    /// Reads only the description.
    ///
    /// # Errors
    ///
    /// If the file is missing, unreadable, not of this format or contradicts itself.
    pub fn metadata(dir: impl AsRef<Path>) -> Result<Metadata, CheckpointError> {
        Metadata::read(dir)
    }

    /// Reads a scorer onto `device`. Tensors of a denoiser are passed over.
    ///
    /// # Errors
    ///
    /// If a file is missing, unreadable, cut off or damaged, or the two files do not belong together.
    pub fn load(dir: impl AsRef<Path>, device: &Device) -> Result<(Scorer, Metadata), CheckpointError> {
        let dir = dir.as_ref();
        let metadata = Self::metadata(dir)?;
        let path = dir.join(TENSORS_FILE);
        let state = StateDict::from_bytes(&read(&path)?, &path, |name| !name.starts_with(DENOISER_PREFIX))?;
        let scorer = state.into_module("", metadata.sizes.scorer.init_lazy(device), &path)?;
        Ok((scorer, metadata))
    }

    /// As [`load`](Self::load), for descriptors of width `d_descriptor`; the width is checked before the tensors
    /// are read.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load), and [`CheckpointError::Width`].
    pub fn load_for_width(
        dir: impl AsRef<Path>,
        d_descriptor: usize,
        device: &Device,
    ) -> Result<(Scorer, Metadata), CheckpointError> {
        Self::metadata(&dir)?.expect_width(d_descriptor)?;
        Self::load(dir, device)
    }

    /// Reads the denoiser that was saved with the scorer into `denoiser`, a module of the same sizes.
    ///
    /// # Errors
    ///
    /// If the file is missing, unreadable, cut off or damaged, or holds no such denoiser.
    pub fn load_denoiser<M: Module>(dir: impl AsRef<Path>, denoiser: M) -> Result<M, CheckpointError> {
        let path = dir.as_ref().join(TENSORS_FILE);
        let state = StateDict::from_bytes(&read(&path)?, &path, |name| name.starts_with(DENOISER_PREFIX))?;
        state.into_module(DENOISER_PREFIX, denoiser, &path)
    }
}

fn write_scorer(
    dir: &Path,
    state: &StateDict,
    scorer: &Scorer,
    metadata: &Metadata,
) -> Result<(), CheckpointError> {
    let described = Metadata {
        method: metadata.method.clone(),
        ..Metadata::new("", scorer)
    };
    let metadata = Metadata {
        vlm: metadata.vlm.clone(),
        training: metadata.training.clone(),
        ..described
    };
    module::write(dir, state, &metadata)
}
