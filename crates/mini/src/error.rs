//! The typed error of everything in this crate that touches files or user input.

use std::io;
use std::path::{Path, PathBuf};

/// Errors of configuring, writing or reading a small world. Every message says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MiniError {
    /// A file or folder could not be read or written.
    #[error("{action} {path}: {source} (check that the folder exists, is writable and has free space)")]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A picture could not be encoded or decoded.
    #[error("{action} picture {path}: {source} (delete the file and write the world again)")]
    Picture {
        /// The operation, as a verb.
        action: &'static str,
        /// The picture.
        path: PathBuf,
        /// The cause.
        #[source]
        source: image::ImageError,
    },
    /// A JSON file could not be parsed or built.
    #[error("json {path}: {source} (delete the file and write the world again)")]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A number of a configuration makes no world.
    #[error("configuration field `{field}`: found {found}, expected {wanted}; change the field")]
    Config {
        /// The field's name.
        field: &'static str,
        /// The value found.
        found: String,
        /// The values allowed.
        wanted: String,
    },
    /// The target folder holds something else.
    #[error(
        "{path}: found {found}, expected an empty or absent folder or this same world; choose another folder or remove it"
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// The content found.
        found: String,
    },
    /// The asked number of questions cannot be drawn from the scenes of this configuration.
    #[error(
        "{set}: found {found} questions in {scenes} scenes, expected {wanted}; ask for fewer or allow more objects and signs"
    )]
    TooFew {
        /// The question set.
        set: String,
        /// Questions found.
        found: usize,
        /// Questions asked for.
        wanted: usize,
        /// Scenes looked at.
        scenes: u64,
    },
    /// The tokenizer could not be built.
    #[error("tokenizer: {reason} (this is a defect of the word list, please report it)")]
    Tokenizer {
        /// The cause, as the tokenizer library tells it.
        reason: String,
    },
    /// The small world has no model of the family.
    #[error(
        "found the family `{found}`, expected one of {}",
        diffprune_vlm::Family::ALL.map(diffprune_vlm::Family::name).join(", ")
    )]
    Family {
        /// The family.
        found: diffprune_vlm::Family,
    },
    /// Training lost its footing.
    #[error(
        "{stage}, step {step}: found a loss or gradient that is not finite; lower the learning rate and start anew"
    )]
    Diverged {
        /// The stage.
        stage: String,
        /// The step, counted from 0.
        step: usize,
    },
    /// Training was asked to stop.
    #[error("{stage}: stopped after step {step}, which is saved; the same call goes on there")]
    Stopped {
        /// The stage.
        stage: String,
        /// Steps done.
        step: usize,
    },
    /// The writing of a world was asked to stop.
    #[error("{}: stopped before the world was complete; the same call goes on with what is missing", folder.display())]
    Unfinished {
        /// The folder that the world is written to.
        folder: PathBuf,
    },
    /// Training state could not be written or read.
    #[error(transparent)]
    Training(#[from] diffprune_training::TrainingError),
    /// The model cannot run on what it is given.
    #[error(transparent)]
    Run(#[from] diffprune_vlm::VlmError),
    /// The model's files or sizes are wrong.
    #[error(transparent)]
    Model(Box<diffprune_vlm_adapters::LoadError>),
}

impl From<diffprune_vlm_adapters::LoadError> for MiniError {
    fn from(error: diffprune_vlm_adapters::LoadError) -> Self {
        Self::Model(Box::new(error))
    }
}

impl MiniError {
    /// Wraps an input or output error, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }

    /// Wraps a JSON error, for `map_err`.
    pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Json {
            path: path.to_path_buf(),
            source,
        }
    }
}
