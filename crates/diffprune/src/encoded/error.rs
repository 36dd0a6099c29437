//! Why features could not be written or read.

use std::path::PathBuf;

use diffprune_files::WriteError;

use super::FEATURES_FILE;
use crate::{DataError, TrainError};

/// Why features could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// A file cannot be read.
    #[error("{}: cannot {action}: {source}; expected a folder that `diffprune encode` wrote", path.display())]
    Read {
        /// The operation that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// `features.json` is not what it should be.
    #[error("{}: found {found}, expected the index of a folder of features; encode again into an empty folder", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// The problem.
        found: String,
    },
    /// The features were made from something else.
    #[error(
        "{}: these features have `{field}` = {found}, expected {wanted}; encode again into another folder, or give what they were \
         made from",
        path.display()
    )]
    Other {
        /// The index.
        path: PathBuf,
        /// The entry that differs: `model`, `preprocessing`, `data`, ….
        field: &'static str,
        /// Its value in the folder.
        found: String,
        /// Its value now.
        wanted: String,
    },
    /// A file is not there.
    #[error(
        "{}: missing ({n_missing} of {n_files} files are); run `diffprune encode` again with the same arguments (for each of its \
         shards): files that are whole stay",
        path.display()
    )]
    Missing {
        /// The first file that is not there.
        path: PathBuf,
        /// Files that are not there.
        n_missing: usize,
        /// Files in all.
        n_files: usize,
    },
    /// A file is there and damaged.
    #[error("{}: found {found}, expected {wanted}; remove the file and run `diffprune encode` again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem.
        found: String,
        /// What should be there.
        wanted: String,
    },
    /// A shard that there is not.
    #[error("shard: found {index}/{count}, expected i/n with 1 <= i <= n")]
    Shard {
        /// Its number, counted from 1.
        index: usize,
        /// Shards in all.
        count: usize,
    },
    /// A sample cannot be encoded.
    #[error(transparent)]
    Sample(#[from] Box<TrainError>),
    /// The work was stopped between two files.
    #[error("stopped after {done} of {total} files")]
    Stopped {
        /// Files that are whole.
        done: usize,
        /// Files of this shard.
        total: usize,
    },
}

impl From<TrainError> for FeatureError {
    fn from(error: TrainError) -> Self {
        Self::Sample(Box::new(error))
    }
}

impl From<DataError> for FeatureError {
    fn from(error: DataError) -> Self {
        Self::Sample(Box::new(error.into()))
    }
}

impl From<FeatureError> for DataError {
    fn from(error: FeatureError) -> Self {
        Self::Other(Box::new(error))
    }
}

impl FeatureError {
    pub(super) fn index(folder: &std::path::Path, found: impl ToString) -> Self {
        Self::Index {
            path: folder.join(FEATURES_FILE),
            found: found.to_string(),
        }
    }
}
