//! `diffprune.json`: what the tensors beside it are.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::file::read;
use super::{CheckpointError, FORMAT_VERSION, METADATA_FILE};
use crate::config::ScorerConfig;
use crate::scorer::Scorer;

/// Content of `diffprune.json`, for a scorer or for any other module that ranks tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata<S = ScorerSizes> {
    /// Version of the format, [`FORMAT_VERSION`] when written by this crate.
    pub format_version: u32,
    /// Method that trained the module, for example `diffprune`.
    pub method: String,
    /// The field that holds the module's sizes; its name says what module it is.
    #[serde(flatten)]
    pub sizes: S,
    /// Width of the descriptors that the module looks at: that of a visual token, or of one of the vectors that make it up.
    /// Equal to the `d_model` of the sizes. Files of earlier versions call it `d_vision`.
    #[serde(alias = "d_vision")]
    pub d_descriptor: usize,
    /// The VLM whose tokens it was trained on: family or fingerprint, as the adapter names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlm: Option<String>,
    /// Summary of the training, free in form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Value>,
}

/// The sizes of a module in its description.
pub trait Sizes: Serialize + DeserializeOwned {
    /// Width of the tokens that the module takes.
    fn d_model(&self) -> usize;

    /// Checks the sizes that were read from the file at `path`.
    ///
    /// # Errors
    /// When no module can have them.
    fn check(&self, path: &Path) -> Result<(), CheckpointError>;
}

/// The sizes of a scorer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScorerSizes {
    /// Sizes of the scorer.
    pub scorer: ScorerConfig,
}

impl Sizes for ScorerSizes {
    fn d_model(&self) -> usize {
        self.scorer.d_model
    }

    fn check(&self, path: &Path) -> Result<(), CheckpointError> {
        self.scorer.check().map_err(|source| CheckpointError::Config {
            path: path.into(),
            source,
        })
    }
}

impl Metadata {
    /// Describes `scorer`, trained by `method`.
    pub fn new(method: impl Into<String>, scorer: &Scorer) -> Self {
        let scorer = scorer.config().clone();
        Self::of(method, ScorerSizes { scorer })
    }
}

impl<S: Sizes> Metadata<S> {
    /// Describes a module of these sizes, trained by `method`.
    pub fn of(method: impl Into<String>, sizes: S) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            method: method.into(),
            d_descriptor: sizes.d_model(),
            sizes,
            vlm: None,
            training: None,
        }
    }

    /// Names the VLM that the module belongs to.
    pub fn with_vlm(mut self, vlm: impl Into<String>) -> Self {
        self.vlm = Some(vlm.into());
        self
    }

    /// Adds a summary of the training.
    pub fn with_training(mut self, training: Value) -> Self {
        self.training = Some(training);
        self
    }

    /// Checks that the module fits descriptors of width `d_descriptor`.
    ///
    /// # Errors
    /// [`CheckpointError::Width`] if it does not.
    pub fn expect_width(&self, d_descriptor: usize) -> Result<(), CheckpointError> {
        match self.d_descriptor == d_descriptor {
            true => Ok(()),
            false => Err(CheckpointError::Width {
                found: self.d_descriptor,
                wanted: d_descriptor,
                vlm: self.vlm.clone(),
            }),
        }
    }

    /// Reads and checks the description in the folder `dir`.
    ///
    /// # Errors
    /// When the file is missing, unreadable, not of this format or contradicts itself.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = dir.as_ref().join(METADATA_FILE);
        let bytes = read(&path)?;
        check_version(&bytes, &path)?;
        let metadata: Self = serde_json::from_slice(&bytes).map_err(|source| CheckpointError::Json {
            path: path.clone(),
            source,
        })?;
        metadata.sizes.check(&path)?;
        let (d_descriptor, d_model) = (metadata.d_descriptor, metadata.sizes.d_model());
        match d_descriptor == d_model {
            true => Ok(metadata),
            false => Err(CheckpointError::Inconsistent {
                path,
                d_descriptor,
                d_model,
            }),
        }
    }
}

/// Refuses files of another version, before anything else: they may well lack a field that we want.
fn check_version(bytes: &[u8], path: &Path) -> Result<(), CheckpointError> {
    let version: Version = serde_json::from_slice(bytes).map_err(|source| CheckpointError::Json {
        path: path.into(),
        source,
    })?;
    match version.format_version {
        FORMAT_VERSION => Ok(()),
        found => Err(CheckpointError::Version {
            path: path.into(),
            found,
        }),
    }
}

#[derive(Deserialize)]
struct Version {
    format_version: u32,
}
