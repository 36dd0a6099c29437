//! Why there is no picture.

use std::path::{Path, PathBuf};

/// Why an image file gives no picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageFileError {
    /// The file does not exist.
    #[error("{}: no such file, expected {wanted}; check the path", path.display())]
    MissingFile {
        /// The file looked for.
        path: PathBuf,
        /// The content expected.
        wanted: String,
    },

    /// The operating system refused to read the file.
    #[error("{}: cannot read the file; check the path", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },

    /// The file is damaged, or of a kind that this crate does not read.
    #[error("{}: found {found}, expected {wanted}; {remedy}", path.display())]
    Content {
        /// The file, or the name that was given to bytes in memory.
        path: PathBuf,
        /// The kind of the file, or why decoding stopped.
        found: String,
        /// Contents that would do.
        wanted: String,
        /// The remedy.
        remedy: Box<str>,
    },
}

impl ImageFileError {
    /// The file that the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::MissingFile { path, .. } | Self::Io { path, .. } | Self::Content { path, .. } => path,
        }
    }

    /// A failed read of `path`.
    pub(crate) fn read(path: &Path, wanted: &str, source: std::io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::MissingFile {
                path,
                wanted: wanted.into(),
            },
            _ => Self::Io { path, source },
        }
    }
}
