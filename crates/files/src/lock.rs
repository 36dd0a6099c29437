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
    /// Files that the process before was writing when it was killed are removed.
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
        let locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => false,
            Err(TryLockError::Error(error)) => return Err(at(error)),
            Err(TryLockError::WouldBlock) => {
                let process = fs::read_to_string(&path).ok();
                return Err(LockError::Held {
                    folder: folder.into(),
                    process: process.and_then(|text| text.trim().parse().ok()),
                });
            }
        };
        let own = std::process::id();
        let before = fs::read_to_string(&path).ok();
        let before = before.and_then(|text| text.trim().parse::<u32>().ok());
        if let Some(before) = before.filter(|before| *before != own && locked) {
            remove_unfinished(folder, before);
        }
        file.set_len(0)
            .and_then(|()| file.write_all(own.to_string().as_bytes()))
            .map_err(at)?;
        Ok(Self { _file: file })
    }
}

/// Removes what a process that is no more was writing below a folder; see `write_whole` for the names. What cannot be removed
/// stays and does no harm.
fn remove_unfinished(folder: &Path, process: u32) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        // Links are not followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_unfinished(&entry.path(), process);
        } else if entry
            .file_name()
            .to_str()
            .is_some_and(|name| is_unfinished(name, process))
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// `true` for `.NAME.PROCESS-NUMBER.tmp`.
fn is_unfinished(name: &str, process: u32) -> bool {
    let rest = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp"));
    let last = rest.and_then(|rest| rest.rsplit_once('.'));
    let numbers = last.and_then(|(_, last)| last.split_once('-'));
    numbers
        .is_some_and(|(by, nth)| by.parse() == Ok(process) && nth.bytes().all(|byte| byte.is_ascii_digit()))
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
    fn what_a_killed_process_was_writing_is_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("stages");
        fs::create_dir(&inner).unwrap();
        let dead = 4_000_000_000_u32;
        fs::write(root.path().join(NAME), dead.to_string()).unwrap();
        let unfinished = [
            root.path().join(format!(".report.md.{dead}-12.tmp")),
            inner.join(format!(".a.svg.{dead}-0.tmp")),
        ];
        let others = [
            root.path().join(".report.md.7-12.tmp"),
            root.path().join(format!("report.md.{dead}-12.tmp")),
            root.path().join(format!(".report.md.{dead}-x.tmp")),
            inner.join("a.svg"),
        ];
        for file in unfinished.iter().chain(&others) {
            fs::write(file, "").unwrap();
        }
        let _lock = FolderLock::take(root.path()).unwrap();
        assert!(unfinished.iter().all(|file| !file.exists()));
        assert!(others.iter().all(|file| file.exists()));
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
