//! One process at a time in a folder.

use std::error::Error;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the file that is locked. It stays: removing it would let two processes lock two files of one name.
const NAME: &str = ".diffprune.lock";

/// Keeps other processes, and other locks of this one, out of a folder until it is dropped, or until the process ends in
/// whatever way.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Why a folder could not be locked.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else works in it.
    Held {
        /// The folder.
        folder: PathBuf,
        /// Number of the process, as far as it is known.
        process: Option<u32>,
    },
    /// The system refused.
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FolderLock {
    /// Locks a folder, which is made if it is not there. Where the file system has no locks nobody is kept out.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process works in it; [`LockError::Io`] when it cannot be made or written.
    pub fn take(folder: impl AsRef<Path>) -> Result<Self, LockError> {
        let folder = folder.as_ref();
        let at = |source| LockError::Io {
            folder: folder.into(),
            source,
        };
        fs::create_dir_all(folder).map_err(at)?;
        let path = folder.join(NAME);
        // Not truncated: until it is locked the file says who holds it.
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(at)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(at(error)),
            Err(TryLockError::WouldBlock) => {
                let process = fs::read_to_string(&path).ok();
                return Err(LockError::Held {
                    folder: folder.into(),
                    process: process.and_then(|text| text.trim().parse().ok()),
                });
            }
        }
        let process = std::process::id().to_string();
        file.set_len(0)
            .and_then(|()| file.write_all(process.as_bytes()))
            .map_err(at)?;
        Ok(Self { _file: file })
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { folder, process } => {
                let number = process.map_or(String::new(), |process| format!(" {process}"));
                write!(
                    f,
                    "{}: another process{number} is working in this folder; wait for it to end, or choose another folder",
                    folder.display()
                )
            }
            Self::Io { folder, source } => write!(
                f,
                "{}: cannot lock the folder: {source}; check that it is writable and has space left",
                folder.display()
            ),
        }
    }
}

impl Error for LockError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Held { .. } => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_worked_in_once_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a").join("run");
        let first = FolderLock::take(&folder).unwrap();
        let error = FolderLock::take(&folder).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("run") && text.contains(&std::process::id().to_string()),
            "{text}"
        );
        let _other = FolderLock::take(root.path()).unwrap();
        drop(first);
        FolderLock::take(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = FolderLock::take(file.join("run")).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }), "{error}");
    }
}
