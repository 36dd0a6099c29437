//! The typed error of the studies.

use std::path::PathBuf;

use diffprune_eval::EvalError;
use diffprune_mini::MiniError;
use diffprune_pruner::PruneError;
use diffprune_vlm::VlmError;
use diffprune_vlm_adapters::{ImageFileError, LoadError};

/// Refuses a setting of a plan: its name, its value, and the values that would do.
pub(crate) fn refuse<T>(
    field: &'static str,
    found: impl ToString,
    expected: impl Into<String>,
) -> Result<T, PilotError> {
    Err(PilotError::Plan {
        field,
        found: found.to_string(),
        expected: expected.into(),
    })
}

/// Refuses a study without arms, or with a temperature that is not a finite number above 0.
pub(crate) fn check_arms(n_arms: usize, tau: f64) -> Result<(), PilotError> {
    if n_arms == 0 {
        return refuse("arms", "none", "at least one");
    }
    if !(tau.is_finite() && tau > 0.0) {
        return refuse("tau", tau, "a finite number above 0");
    }
    Ok(())
}

/// Reasons for which a study cannot be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PilotError {
    /// A setting of the plan makes no study.
    #[error("pilot setting `{field}`: found {found}, expected {expected}")]
    Plan {
        /// The setting.
        field: &'static str,
        /// Its value.
        found: String,
        /// Usable values.
        expected: String,
    },
    /// The study was stopped from outside, between two batches.
    #[error("stopped before the study was complete; run the same command again to start it anew")]
    Stopped,
    /// A file of the study could not be written.
    #[error("cannot write {path}: {source} (check that the folder exists, is writable and has free space)")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file of the study could not be put in its place.
    #[error(transparent)]
    File(#[from] diffprune_files::WriteError),
    /// A figure could not be drawn.
    #[error("figure `{name}` could not be drawn: {problem}")]
    Figure {
        /// The figure.
        name: String,
        /// The message of the drawing library.
        problem: String,
    },
    /// A gradient or a loss that a study was given as a function could not be computed.
    #[error(transparent)]
    Function(Box<dyn std::error::Error + Send + Sync>),
    /// The model refused its input.
    #[error(transparent)]
    Vlm(#[from] VlmError),
    /// A method could not choose.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// A picture could not be read.
    #[error(transparent)]
    Image(#[from] ImageFileError),
    /// A checkpoint could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A data set could not be read.
    #[error(transparent)]
    Data(#[from] EvalError),
    /// Pictures could not be generated.
    #[error(transparent)]
    Mini(#[from] MiniError),
}
