//! Why a file could not be written.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be written; an older one of that name is untouched.
///
/// It becomes an [`io::Error`] where the path is told by an error around it.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The system refused.
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is something that is no regular file, and would be lost.
    Special {
        /// Its path.
        path: PathBuf,
        /// A description of it.
        found: &'static str,
    },
}

const REGULAR: &str = "expected a regular file or nothing; name another file";

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(
                f,
                "cannot write {}: {source}; check that its folder exists, is writable and has space left",
                path.display()
            ),
            Self::Special { path, found } => {
                write!(f, "cannot write {}: it is {found}, {REGULAR}", path.display())
            }
        }
    }
}

impl WriteError {
    /// The file that could not be written.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. } | Self::Special { path, .. } => path,
        }
    }
}

impl Error for WriteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Special { .. } => None,
        }
    }
}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io { source, .. } => source,
            WriteError::Special { found, .. } => {
                Self::new(io::ErrorKind::InvalidInput, format!("it is {found}, {REGULAR}"))
            }
        }
    }
}
