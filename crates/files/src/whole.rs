//! Whole files: under another name first, then renamed.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{WriteError, faults};

/// Writes `bytes` to `path`: beside it first, on the disk for certain, then renamed. A reader, and whoever looks after a
/// crash, finds the old content or the new one.
///
/// # Errors
/// When the folder is missing or not writable, or the disk is full; an older file is then untouched. When `path` is
/// something other than a regular file: a symbolic link or a device would be lost by the renaming.
pub fn write_whole(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), WriteError> {
    Staged::write(path, bytes)?.publish()
}

/// As [`write_whole`], without waiting for the disk: a reader finds the old content or the new one, but after a power cut
/// the file may be empty. For many files that can be made again.
///
/// # Errors
/// As for [`write_whole`].
pub fn replace_whole(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), WriteError> {
    Staged::aside(path.as_ref(), bytes.as_ref(), false)?.rename()
}

/// A file that is complete on the disk under a temporary name; removed again unless published.
#[derive(Debug)]
pub struct Staged {
    temporary: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// Writes `bytes` beside `target` and waits for the disk.
    ///
    /// # Errors
    /// As for [`write_whole`].
    pub fn write(target: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<Self, WriteError> {
        Self::aside(target.as_ref(), bytes.as_ref(), true)
    }

    /// Gives the file its name, in one step, and waits for the folder to say so on the disk.
    ///
    /// # Errors
    /// When it cannot be renamed; the target is then as it was.
    pub fn publish(self) -> Result<(), WriteError> {
        self.rename()?;
        if let Ok(folder) = File::open(folder_of(&self.target)) {
            // Not every file system can sync a folder; the renaming has happened either way.
            let _ = folder.sync_all();
        }
        Ok(())
    }

    fn rename(&self) -> Result<(), WriteError> {
        faults::ask(&self.target).map_err(at(&self.target))?;
        fs::rename(&self.temporary, &self.target).map_err(at(&self.target))
    }

    fn aside(target: &Path, bytes: &[u8], durable: bool) -> Result<Self, WriteError> {
        refuse_special(target)?;
        let (mut file, temporary) = create_beside(target).map_err(at(target))?;
        let staged = Self {
            temporary,
            target: target.into(),
        };
        faults::write_all(&mut file, target, bytes).map_err(at(target))?;
        if durable {
            file.sync_all().map_err(at(target))?;
        }
        Ok(staged)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After publishing there is nothing left under the temporary name.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    |source| WriteError::Io {
        path: path.into(),
        source,
    }
}

fn folder_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// A new file in the folder of `target` with a name that no other process or thread uses.
fn create_beside(target: &Path) -> io::Result<(File, PathBuf)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = target.file_name() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the path names no file"));
    };
    loop {
        let nth = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{nth}.tmp", std::process::id()));
        let path = folder_of(target).join(hidden);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            // Left behind by a process of the same number that was killed.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            opened => return Ok((opened?, path)),
        }
    }
}

/// Renaming puts a file in the place of whatever is there.
fn refuse_special(path: &Path) -> Result<(), WriteError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(metadata) => Err(WriteError::Special {
            path: path.into(),
            found: kind_of(metadata.file_type()),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at(path)(error)),
    }
}

fn kind_of(kind: FileType) -> &'static str {
    match (kind.is_symlink(), kind.is_dir()) {
        (true, _) => "a symbolic link",
        (_, true) => "a folder",
        _ => "a device, a pipe or a socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_new_content_takes_the_place_of_the_old_one_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let check = |content: &str| {
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(names(folder.path()), ["file"]);
        };
        for content in ["one", "two"] {
            write_whole(&path, content).unwrap();
            check(content);
        }
        replace_whole(&path, "three").unwrap();
        check("three");
    }

    #[test]
    fn what_is_staged_is_not_seen_and_goes_away_unless_published() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_whole(&path, "old").unwrap();
        let staged = Staged::write(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        drop(staged);
        assert_eq!(names(folder.path()), ["file"]);
        Staged::write(&path, "new").unwrap().publish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn missing_folders_and_folders_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let absent = write_whole(folder.path().join("absent").join("file"), "x").unwrap_err();
        assert!(absent.to_string().contains("absent"), "{absent}");
        assert_eq!(io::Error::from(absent).kind(), ErrorKind::NotFound);
        let error = write_whole(folder.path(), "x").unwrap_err();
        assert!(error.to_string().contains("a folder"), "{error}");
        assert!(names(folder.path()).is_empty());
        assert!(write_whole("..", "x").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        write_whole(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        for (path, kind) in [
            (link.as_path(), "symbolic link"),
            (&dangling, "symbolic link"),
            (Path::new("/dev/null"), "device"),
        ] {
            for outcome in [write_whole(path, "new"), replace_whole(path, "new")] {
                let error = outcome.unwrap_err();
                assert!(error.to_string().contains(kind), "{}: {error}", path.display());
            }
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
        assert_eq!(names(folder.path()), ["dangling", "link", "target"]);
    }
}
