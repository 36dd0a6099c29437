//! `diffprune.json`: what the tensors beside it are.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CheckpointError, FORMAT_VERSION};
use crate::config::ScorerConfig;
use crate::scorer::Scorer;

/// Content of `diffprune.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Version of the format, [`FORMAT_VERSION`] when written by this crate.
    pub format_version: u32,
    /// Method that trained the scorer, for example `diffprune`.
    pub method: String,
    /// Sizes of the scorer.
    pub scorer: ScorerConfig,
    /// Width of the vision tokens; equal to `scorer.d_model`.
    pub d_vision: usize,
    /// The VLM whose tokens it was trained on: family or fingerprint, as the adapter names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlm: Option<String>,
    /// Summary of the training, free in form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Value>,
}

impl Metadata {
    /// Describes `scorer`, trained by `method`.
    pub fn new(method: impl Into<String>, scorer: &Scorer) -> Self {
        let config = scorer.config().clone();
        let d_vision = config.d_model;
        Self {
            format_version: FORMAT_VERSION,
            method: method.into(),
            scorer: config,
            d_vision,
            vlm: None,
            training: None,
        }
    }

    /// Names the VLM that the scorer belongs to.
    pub fn with_vlm(mut self, vlm: impl Into<String>) -> Self {
        self.vlm = Some(vlm.into());
        self
    }

    /// Adds a summary of the training.
    pub fn with_training(mut self, training: Value) -> Self {
        self.training = Some(training);
        self
    }

    /// Checks that the scorer fits tokens of width `d_vision`.
    ///
    /// # Errors
    ///
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

    /// Parses and checks the content of the file at `path`.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self, CheckpointError> {
        let json = |source| CheckpointError::Json {
            path: path.into(),
            source,
        };
        check_version(bytes, path)?;
        let metadata: Self = serde_json::from_slice(bytes).map_err(json)?;
        metadata
            .scorer
            .check()
            .map_err(|source| CheckpointError::Config {
                path: path.into(),
                source,
            })?;
        let (d_vision, d_model) = (metadata.d_vision, metadata.scorer.d_model);
        match d_vision == d_model {
            true => Ok(metadata),
            false => Err(CheckpointError::Inconsistent {
                path: path.into(),
                d_vision,
                d_model,
            }),
        }
    }
}

/// Refuses files of another version, before anything else: they may well lack a field that we want.
pub(super) fn check_version(bytes: &[u8], path: &Path) -> Result<(), CheckpointError> {
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
