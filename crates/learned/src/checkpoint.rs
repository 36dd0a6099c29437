//! The checkpoint of any head: a folder with two files, described as that of a scorer is.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use diffprune_scorer::{CheckpointError, Metadata, ModuleCheckpoint, ScorerCheckpoint, ScorerConfig, Sizes};
use serde::de::Error;
use serde::{Deserialize, Serialize};

use crate::{Head, HeadConfig};

/// The description of a head in `diffprune.json`.
pub type HeadMetadata = Metadata<HeadSizes>;

/// The sizes of a head as `diffprune.json` has them: those of a scorer under `scorer`, those of another head under
/// `selector`, with its `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadSizes {
    /// A scorer's.
    Scorer(ScorerConfig),
    /// Those of another head.
    Selector(HeadConfig),
}

impl HeadSizes {
    /// The sizes, wherever they stand.
    pub fn config(&self) -> HeadConfig {
        match self {
            Self::Scorer(config) => HeadConfig::Scorer(config.clone()),
            Self::Selector(config) => config.clone(),
        }
    }
}

impl From<HeadConfig> for HeadSizes {
    fn from(config: HeadConfig) -> Self {
        match config {
            HeadConfig::Scorer(config) => Self::Scorer(config),
            config => Self::Selector(config),
        }
    }
}

impl Sizes for HeadSizes {
    fn d_model(&self) -> usize {
        self.config().d_model()
    }

    fn check(&self, path: &Path) -> Result<(), CheckpointError> {
        match self {
            Self::Scorer(config) => config.check().map_err(|source| CheckpointError::Config {
                path: path.into(),
                source,
            }),
            Self::Selector(config) => config.check().map_err(|cause| CheckpointError::Json {
                path: path.into(),
                source: serde_json::Error::custom(cause),
            }),
        }
    }
}

/// Writes and reads checkpoints of heads; that of a scorer is a [`ScorerCheckpoint`] and the other way round.
#[derive(Debug, Clone, Copy)]
pub struct HeadCheckpoint;

impl HeadCheckpoint {
    /// Describes `head`, trained by `method`.
    pub fn describe(method: impl Into<String>, head: &Head) -> HeadMetadata {
        Metadata::of(method, head.config().into())
    }

    /// Writes `head` and the denoiser that it was trained with into the folder `dir`, which is made if need be. The
    /// fields of `metadata` that describe the head are taken from the head.
    ///
    /// # Errors
    /// When the folder cannot be made or written to, or the parameters cannot be read from their device.
    pub fn save_with_denoiser<D: Module>(
        dir: impl AsRef<Path>,
        head: &Head,
        denoiser: &D,
        metadata: &HeadMetadata,
    ) -> Result<(), CheckpointError> {
        let metadata = HeadMetadata {
            vlm: metadata.vlm.clone(),
            training: metadata.training.clone(),
            ..Self::describe(metadata.method.clone(), head)
        };
        ModuleCheckpoint::save(dir, head, denoiser, &metadata)
    }

    /// Reads only the description.
    ///
    /// # Errors
    /// When the file is missing, unreadable, not of this format or contradicts itself.
    pub fn metadata(dir: impl AsRef<Path>) -> Result<HeadMetadata, CheckpointError> {
        Metadata::read(dir)
    }

    /// Reads a head onto `device`. Tensors of a denoiser are passed over.
    ///
    /// # Errors
    /// When a file is missing, unreadable, cut off or damaged, or the two files do not belong together.
    pub fn load(dir: impl AsRef<Path>, device: &Device) -> Result<(Head, HeadMetadata), CheckpointError> {
        let dir = dir.as_ref();
        let metadata = Self::metadata(dir)?;
        let head = match metadata.sizes.config() {
            // Without drawing values first: scorers can be large.
            HeadConfig::Scorer(_) => Head::Scorer(ScorerCheckpoint::load(dir, device)?.0),
            config => ModuleCheckpoint::load(dir, config.init(device))?,
        };
        Ok((head, metadata))
    }

    /// As [`load`](Self::load), for descriptors of width `d_descriptor`; the width is checked before the tensors are read.
    ///
    /// # Errors
    /// As for [`load`](Self::load), and [`CheckpointError::Width`].
    pub fn load_for_width(
        dir: impl AsRef<Path>,
        d_descriptor: usize,
        device: &Device,
    ) -> Result<(Head, HeadMetadata), CheckpointError> {
        Self::metadata(&dir)?.expect_width(d_descriptor)?;
        Self::load(dir, device)
    }
}
