//! Errors between a run and its files.

use std::io;
use std::path::{Path, PathBuf};

use diffprune_files::LockError;

/// Why training state could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// The file system refused.
    #[error(
        "cannot {action} {path}: {source}; check that the directory exists, is writable and the disk has room"
    )]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process works in the folder of the run.
    #[error(transparent)]
    Lock(LockError),
    /// A file is not what it should be.
    #[error("{path}: found {found}, expected {wanted}; delete this checkpoint to fall back on an older one")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The value found.
        found: String,
        /// The value expected.
        wanted: &'static str,
    },
    /// Stored tensors do not fit the module.
    #[error(
        "{path}: tensor `{name}`: found {found}, expected {wanted}; resume with the configuration that wrote it"
    )]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Path of the parameter in the module.
        name: String,
        /// The value found.
        found: String,
        /// The value expected.
        wanted: String,
    },
}

impl From<LockError> for TrainingError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Io { folder, source } => Self::io("write in", &folder)(source),
            held => Self::Lock(held),
        }
    }
}

impl TrainingError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn corrupt(path: &Path, found: impl ToString, wanted: &'static str) -> Self {
        Self::Corrupt {
            path: path.to_path_buf(),
            found: found.to_string(),
            wanted,
        }
    }

    pub(crate) fn tensor(path: &Path, name: &str, found: impl ToString, wanted: impl ToString) -> Self {
        Self::Tensor {
            path: path.to_path_buf(),
            name: name.to_string(),
            found: found.to_string(),
            wanted: wanted.to_string(),
        }
    }
}
