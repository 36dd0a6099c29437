//! Why a training run ended without result.

use std::path::PathBuf;

use diffprune_pruner::PruneError;
use diffprune_scorer::CheckpointError;
use diffprune_training::TrainingError;
use diffprune_vlm::VlmError;
use diffprune_vlm_adapters::LoadError;

use crate::{ConfigError, DataError};

/// Why a training run ended without result.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A settings file cannot be parsed.
    #[error("{}: {found}; expected settings of a training run in TOML", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The problem.
        found: String,
    },
    /// A sample cannot be learned from.
    #[error("{place}: {source}")]
    Sample {
        /// The place of the sample: file and line.
        place: String,
        /// The cause.
        source: Box<TrainError>,
    },
    /// No sample can be learned from.
    #[error("none of {n} samples can be used, the last one because: {source}")]
    NoneUsable {
        /// The samples.
        n: usize,
        /// What is wrong with the last one.
        source: Box<TrainError>,
    },
    /// The directory holds a run with other settings, another model or other data.
    #[error(
        "{}: the run in this directory has `{field}` = {found}, expected {wanted}; give another directory or the same \
         settings, model and data",
        path.display()
    )]
    OtherRun {
        /// The settings file of the run.
        path: PathBuf,
        /// The first setting that differs.
        field: String,
        /// Its value in the directory.
        found: String,
        /// Its value now.
        wanted: String,
    },
    /// A number that must be finite is not.
    #[error(
        "step {step}: the {what} is {found}, expected a finite number; lower the learning rate or look at the images of \
         this step (the newest checkpoint is intact)"
    )]
    NotFinite {
        /// The step, counted from 1.
        step: usize,
        /// The quantity that is not finite.
        what: &'static str,
        /// Its value.
        found: f64,
    },
    /// A file cannot be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The data failed.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model failed.
    #[error(transparent)]
    Vlm(#[from] VlmError),
    /// Text, images or files of the model failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The method could not choose.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// Checkpoints or measurements failed.
    #[error(transparent)]
    State(#[from] TrainingError),
    /// The scorer could not be saved.
    #[error(transparent)]
    Scorer(#[from] CheckpointError),
}

impl TrainError {
    /// The same error with the place of the sample that it is about, unless it has one.
    pub(crate) fn at(self, place: Option<String>) -> Self {
        match (self, place) {
            (error @ (Self::Sample { .. } | Self::Data(_)), _) | (error, None) => error,
            (error, Some(place)) => Self::Sample {
                place,
                source: Box::new(error),
            },
        }
    }
}
