//! Whole files in, whole files out.

use std::fs;
use std::io;
use std::path::Path;

use diffprune_files::{Staged, WriteError};

use super::CheckpointError;

/// Reads a file, telling "not there" from other trouble.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => CheckpointError::MissingFile { path: path.into() },
        _ => CheckpointError::Read {
            path: path.into(),
            source,
        },
    })
}

/// Writes `bytes` beside `target`, which they become when published.
pub(super) fn stage(target: &Path, bytes: &[u8]) -> Result<Staged, CheckpointError> {
    Staged::write(target, bytes).map_err(refused(target))
}

/// Gives a staged file its name, in one step.
pub(super) fn publish(staged: Staged, target: &Path) -> Result<(), CheckpointError> {
    staged.publish().map_err(refused(target))
}

fn refused(path: &Path) -> impl FnOnce(WriteError) -> CheckpointError {
    |error| CheckpointError::Write {
        path: path.into(),
        source: error.into(),
    }
}
