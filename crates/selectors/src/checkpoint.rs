//! The checkpoint of any selector: a folder with two files.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use diffprune_scorer::{
    CheckpointError, FORMAT_VERSION, METADATA_FILE, Metadata, ModuleCheckpoint, ScorerCheckpoint,
};
use serde::de::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Selector, SelectorConfig};

/// What `diffprune.json` says of a selector.
///
/// A scorer is described as [`Metadata`] does; the others have `selector` (with its `kind`) in the place of `scorer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectorMetadata {
    /// Version of the format, [`FORMAT_VERSION`] when written by this crate.
    pub format_version: u32,
    /// Method that trained the selector, for example `dynamic_vit`.
    pub method: String,
    /// Sizes of the selector.
    pub selector: SelectorConfig,
    /// Width of the vision tokens; equal to that of the selector.
    pub d_vision: usize,
    /// The VLM whose tokens it was trained on, as the adapter names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlm: Option<String>,
    /// Summary of the training, free in form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Value>,
}

impl SelectorMetadata {
    /// Describes `selector`, trained by `method`.
    pub fn new(method: impl Into<String>, selector: &Selector) -> Self {
        let selector = selector.config();
        Self {
            format_version: FORMAT_VERSION,
            method: method.into(),
            d_vision: selector.d_model(),
            selector,
            vlm: None,
            training: None,
        }
    }

    /// Names the VLM that the selector belongs to.
    pub fn with_vlm(mut self, vlm: impl Into<String>) -> Self {
        self.vlm = Some(vlm.into());
        self
    }

    /// Adds a summary of the training.
    pub fn with_training(mut self, training: Value) -> Self {
        self.training = Some(training);
        self
    }

    /// Checks that the selector fits tokens of width `d_vision`.
    ///
    /// # Errors
    /// [`CheckpointError::Width`] if it does not.
    pub fn expect_width(&self, d_vision: usize) -> Result<(), CheckpointError> {
        match self.d_vision == d_vision {
            true => Ok(()),
            false => Err(CheckpointError::Width {
                found: self.d_vision,
                wanted: d_vision,
                vlm: self.vlm.clone(),
            }),
        }
    }
}

impl From<Metadata> for SelectorMetadata {
    fn from(metadata: Metadata) -> Self {
        Self {
            format_version: metadata.format_version,
            method: metadata.method,
            selector: SelectorConfig::Scorer(metadata.scorer),
            d_vision: metadata.d_vision,
            vlm: metadata.vlm,
            training: metadata.training,
        }
    }
}

/// Writes and reads checkpoints of selectors; that of a scorer is a [`ScorerCheckpoint`] and the other way round.
#[derive(Debug, Clone, Copy)]
pub struct SelectorCheckpoint;

impl SelectorCheckpoint {
    /// Writes `selector` and the denoiser that it was trained with into the folder `dir`, which is made if need be. The
    /// fields of `metadata` that describe the selector are taken from the selector.
    ///
    /// # Errors
    /// If the folder cannot be made or written to, or the parameters cannot be read from their device.
    pub fn save_with_denoiser<D: Module>(
        dir: impl AsRef<Path>,
        selector: &Selector,
        denoiser: &D,
        metadata: &SelectorMetadata,
    ) -> Result<(), CheckpointError> {
        let metadata = SelectorMetadata {
            vlm: metadata.vlm.clone(),
            training: metadata.training.clone(),
            ..SelectorMetadata::new(metadata.method.clone(), selector)
        };
        match selector {
            Selector::Scorer(scorer) => {
                let metadata = Metadata {
                    vlm: metadata.vlm,
                    training: metadata.training,
                    ..Metadata::new(metadata.method, scorer)
                };
                ScorerCheckpoint::save_with_denoiser(dir, scorer, denoiser, &metadata)
            }
            Selector::DynamicVit(module) => ModuleCheckpoint::save(dir, module, denoiser, &metadata),
            Selector::DynamicLlava(module) => ModuleCheckpoint::save(dir, module, denoiser, &metadata),
            Selector::Atp(module) => ModuleCheckpoint::save(dir, module, denoiser, &metadata),
            Selector::Glimpse(module) => ModuleCheckpoint::save(dir, module, denoiser, &metadata),
        }
    }

    /// Reads only the description.
    ///
    /// # Errors
    /// If the file is missing, unreadable, not of this format or contradicts itself.
    pub fn metadata(dir: impl AsRef<Path>) -> Result<SelectorMetadata, CheckpointError> {
        let dir = dir.as_ref();
        let description: Value = ModuleCheckpoint::description(dir)?;
        if description.get("selector").is_none() {
            return Ok(ScorerCheckpoint::metadata(dir)?.into());
        }
        let path = dir.join(METADATA_FILE);
        let metadata: SelectorMetadata = ModuleCheckpoint::description(dir)?;
        if let Err(cause) = metadata.selector.check() {
            let source = serde_json::Error::custom(cause);
            return Err(CheckpointError::Json { path, source });
        }
        let (d_vision, d_model) = (metadata.d_vision, metadata.selector.d_model());
        match d_vision == d_model {
            true => Ok(metadata),
            false => Err(CheckpointError::Inconsistent {
                path,
                d_vision,
                d_model,
            }),
        }
    }

    /// Reads a selector onto `device`. Tensors of a denoiser are passed over.
    ///
    /// # Errors
    /// If a file is missing, unreadable, cut off or damaged, or the two files do not belong together.
    pub fn load(
        dir: impl AsRef<Path>,
        device: &Device,
    ) -> Result<(Selector, SelectorMetadata), CheckpointError> {
        let dir = dir.as_ref();
        let metadata = Self::metadata(dir)?;
        let selector = match &metadata.selector {
            SelectorConfig::Scorer(_) => Selector::Scorer(ScorerCheckpoint::load(dir, device)?.0),
            SelectorConfig::DynamicVit(config) => {
                Selector::DynamicVit(ModuleCheckpoint::load(dir, config.init(device))?)
            }
            SelectorConfig::DynamicLlava(config) => {
                Selector::DynamicLlava(ModuleCheckpoint::load(dir, config.init(device))?)
            }
            SelectorConfig::Atp(config) => Selector::Atp(ModuleCheckpoint::load(dir, config.init(device))?),
            SelectorConfig::Glimpse(config) => {
                Selector::Glimpse(ModuleCheckpoint::load(dir, config.init(device))?)
            }
        };
        Ok((selector, metadata))
    }

    /// As [`load`](Self::load), for tokens of width `d_vision`; the width is checked before the tensors are read.
    ///
    /// # Errors
    /// As for [`load`](Self::load), and [`CheckpointError::Width`].
    pub fn load_for_width(
        dir: impl AsRef<Path>,
        d_vision: usize,
        device: &Device,
    ) -> Result<(Selector, SelectorMetadata), CheckpointError> {
        Self::metadata(&dir)?.expect_width(d_vision)?;
        Self::load(dir, device)
    }
}
