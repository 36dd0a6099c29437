//! Whole files in, whole files out.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

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

/// A file that is complete on disk under a temporary name; removed again unless published.
pub(super) struct Staged {
    temporary: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// Writes `bytes` beside `target` and waits for the disk.
    pub(super) fn write(target: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        // Unique among processes and threads that may write the same checkpoint.
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let unique = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temporary = target.with_file_name(format!(".{name}.{}-{}.tmp", unique.0, unique.1));
        let staged = Self {
            temporary,
            target: target.into(),
        };
        File::create(&staged.temporary)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .map_err(|source| CheckpointError::Write {
                path: target.into(),
                source,
            })?;
        Ok(staged)
    }

    /// Gives the file its name, in one step.
    pub(super) fn publish(self) -> Result<(), CheckpointError> {
        fs::rename(&self.temporary, &self.target).map_err(|source| CheckpointError::Write {
            path: self.target.clone(),
            source,
        })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After publishing there is nothing left under the temporary name.
        let _ = fs::remove_file(&self.temporary);
    }
}
