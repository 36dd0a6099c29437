//! The files of a data folder, to be checked before a long run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use diffprune_files::sha256_hex;
use diffprune_files::write_whole;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path below the folder, with `/` between names.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, in hexadecimal digits.
    pub sha256: String,
}

/// The files of a folder, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// The files.
    pub files: Vec<FileEntry>,
}

/// A difference between a folder and its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A file is not there.
    Missing {
        /// Its path.
        path: String,
    },
    /// A file has another size.
    Size {
        /// Its path.
        path: String,
        /// Bytes in the folder.
        found: u64,
        /// Bytes in the manifest.
        wanted: u64,
    },
    /// A file has the right size and other content.
    Content {
        /// Its path.
        path: String,
        /// SHA-256 in the folder.
        found: String,
        /// SHA-256 in the manifest.
        wanted: String,
    },
    /// The manifest does not know a file.
    Extra {
        /// Its path.
        path: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path } => write!(f, "{path}: missing"),
            Self::Size { path, found, wanted } => write!(f, "{path}: found {found} bytes, expected {wanted}"),
            Self::Content { path, found, wanted } => {
                write!(f, "{path}: found sha256 {found}, expected {wanted}")
            }
            Self::Extra { path } => write!(f, "{path}: not in the manifest"),
        }
    }
}

impl Manifest {
    /// Lists and hashes every file below `root`. Hidden files and links to folders are passed over.
    ///
    /// # Errors
    /// When a folder cannot be listed or a file cannot be read.
    pub fn of(root: &Path) -> Result<Self, EvalError> {
        let entry = |(path, file): (&String, &PathBuf)| {
            Ok(FileEntry {
                path: path.clone(),
                bytes: size(file)?,
                sha256: sha256(file)?,
            })
        };
        let files: Result<Vec<FileEntry>, EvalError> = files(root)?.par_iter().map(entry).collect();
        let mut files = files?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// Writes the manifest as JSON; the file appears whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), EvalError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| EvalError::io(path, "encode the manifest", error.into()))?;
        Ok(write_whole(path, &text)?)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// When the file cannot be read or is no manifest.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let bytes = std::fs::read(path).map_err(|source| EvalError::io(path, "read", source))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let found = format!("no manifest ({error})");
            EvalError::line(path, error.line(), found, "a list of files with sizes and sha256")
        })
    }

    /// The differences of `root`, sorted by path; none when all is as it was. `contents` also compares
    /// hashes, which reads every byte.
    ///
    /// # Errors
    /// When a folder cannot be listed or a file cannot be read.
    pub fn check(&self, root: &Path, contents: bool) -> Result<Vec<Difference>, EvalError> {
        let present = files(root)?;
        let known: BTreeSet<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        let differences: Result<Vec<Option<Difference>>, EvalError> = self
            .files
            .par_iter()
            .map(|wanted| match present.get(&wanted.path) {
                Some(file) => difference(file, wanted, contents),
                None => Ok(Some(Difference::Missing {
                    path: wanted.path.clone(),
                })),
            })
            .collect();
        let extra = present
            .keys()
            .filter(|path| !known.contains(path.as_str()))
            .map(|path| Difference::Extra { path: path.clone() });
        Ok(differences?.into_iter().flatten().chain(extra).collect())
    }
}

fn difference(file: &Path, wanted: &FileEntry, contents: bool) -> Result<Option<Difference>, EvalError> {
    let path = wanted.path.clone();
    let bytes = size(file)?;
    if bytes != wanted.bytes {
        return Ok(Some(Difference::Size {
            path,
            found: bytes,
            wanted: wanted.bytes,
        }));
    }
    if contents {
        let found = sha256(file)?;
        if found != wanted.sha256 {
            let wanted = wanted.sha256.clone();
            return Ok(Some(Difference::Content { path, found, wanted }));
        }
    }
    Ok(None)
}

/// Every file below `root` by its path.
fn files(root: &Path) -> Result<BTreeMap<String, PathBuf>, EvalError> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(String::new(), root.to_path_buf())];
    while let Some((prefix, folder)) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|source| EvalError::io(&folder, "list", source))?;
        for entry in entries {
            let entry = entry.map_err(|source| EvalError::io(&folder, "list", source))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let (name, path) = (format!("{prefix}{name}"), entry.path());
            let kind = entry
                .file_type()
                .map_err(|source| EvalError::io(&path, "look at", source))?;
            if kind.is_dir() {
                folders.push((name + "/", path));
            } else if path.is_file() {
                files.insert(name, path);
            }
        }
    }
    Ok(files)
}

fn size(path: &Path) -> Result<u64, EvalError> {
    let metadata = std::fs::metadata(path).map_err(|source| EvalError::io(path, "look at", source))?;
    Ok(metadata.len())
}

fn sha256(path: &Path) -> Result<String, EvalError> {
    File::open(path)
        .and_then(sha256_hex)
        .map_err(|source| EvalError::io(path, "read", source))
}
