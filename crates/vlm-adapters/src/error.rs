//! The crate's one error type: everything that files, weights, prompts or users can get wrong.

use std::path::{Path, PathBuf};

use diffprune_images::{ImageFileError, LFS_REMEDY, is_lfs_pointer};
use diffprune_vlm::VlmError;

/// Why a checkpoint, an image or a prompt could not be used.
///
/// Every message names the file, what was found, what was wanted and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file that the checkpoint layout asks for does not exist.
    #[error("{}: no such file, expected {wanted}; {remedy}", path.display())]
    MissingFile {
        /// The file looked for.
        path: PathBuf,
        /// The content expected.
        wanted: String,
        /// The remedy.
        remedy: Box<str>,
    },

    /// The operating system refused to read or write a file.
    #[error("{}: cannot {action} the file; {remedy}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operation, as a verb ("read", "write", "map").
        action: &'static str,
        /// The remedy.
        remedy: Box<str>,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },

    /// A file that should hold JSON does not, or its fields have the wrong types.
    #[error("{}: invalid json, expected {wanted}; {remedy}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The content expected.
        wanted: String,
        /// The remedy.
        remedy: Box<str>,
        /// The parser's error, with the place.
        #[source]
        source: serde_json::Error,
    },

    /// A file of git-lfs stands in the place of the one that it points to.
    #[error("{}: found a git-lfs pointer, expected {wanted}; {remedy}", path.display())]
    LfsPointer {
        /// The file.
        path: PathBuf,
        /// The content expected.
        wanted: String,
        /// The remedy.
        remedy: Box<str>,
    },

    /// A field of a configuration file has a value that this crate cannot honour.
    #[error("{}: found `{field}` = {found}, expected {wanted}; {remedy}", path.display())]
    Config {
        /// The configuration file (or a description, for a value built in code).
        path: PathBuf,
        /// The field, with its parents separated by dots.
        field: String,
        /// Its value.
        found: String,
        /// Values that would do.
        wanted: String,
        /// The remedy.
        remedy: Box<str>,
    },

    /// The checkpoint belongs to an architecture that this crate does not implement.
    #[error("{}: found architecture `{found}`, supported here: {supported}; {remedy}", path.display())]
    UnsupportedArchitecture {
        /// The configuration file.
        path: PathBuf,
        /// The architecture or `model_type` named by the file.
        found: String,
        /// Those that would do, separated by commas.
        supported: String,
        /// The remedy.
        remedy: Box<str>,
    },

    /// A safetensors file or its shard index is damaged or inconsistent.
    #[error("{}: found {found}, expected {wanted}; {remedy}", path.display())]
    Weights {
        /// The weight file or shard index.
        path: PathBuf,
        /// The problem.
        found: String,
        /// A sound file, in words.
        wanted: String,
        /// The remedy.
        remedy: Box<str>,
    },

    /// The shard index names a file that is not there.
    #[error("{}: the index names shard `{shard}`, which does not exist beside it; {remedy}", path.display())]
    MissingShard {
        /// The shard index.
        path: PathBuf,
        /// The shard's file name.
        shard: String,
        /// The remedy.
        remedy: Box<str>,
    },

    /// A tensor that the model needs is in none of the weight files.
    #[error("{}: tensor `{name}` is absent, expected {wanted}; {remedy}", path.display())]
    MissingTensor {
        /// The weight file, shard index or checkpoint folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The value expected, for example a shape.
        wanted: String,
        /// The remedy.
        remedy: Box<str>,
    },

    /// A tensor has another shape than the configuration implies.
    #[error("{}: tensor `{name}` has shape {found:?}, expected {wanted:?}; {remedy}", path.display())]
    TensorShape {
        /// The weight file or checkpoint folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        wanted: Vec<usize>,
        /// The remedy.
        remedy: Box<str>,
    },

    /// A tensor's element type cannot be converted to the one wanted.
    #[error("{}: tensor `{name}` holds {found}, expected {wanted}; {remedy}", path.display())]
    TensorDtype {
        /// The weight file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Its element type, or the value that does not fit.
        found: String,
        /// Element types that would do.
        wanted: String,
        /// The remedy.
        remedy: Box<str>,
    },

    /// An image file gives no picture.
    #[error(transparent)]
    Image(#[from] ImageFileError),

    /// A tokenizer file cannot be used, or a text cannot be encoded with it.
    #[error("{}: found {found}, expected {wanted}; {remedy}", path.display())]
    Tokenizer {
        /// The `tokenizer.json`.
        path: PathBuf,
        /// The problem.
        found: String,
        /// Values that would do.
        wanted: String,
        /// The remedy.
        remedy: Box<str>,
    },

    /// A chat template does not compile, or does not render the given turns.
    #[error("{}: the chat template fails: {found}; expected {wanted}; {remedy}", path.display())]
    Template {
        /// The file that holds the template.
        path: PathBuf,
        /// The template engine's message.
        found: String,
        /// Values that would do.
        wanted: String,
        /// The remedy.
        remedy: Box<str>,
    },

    /// The request itself makes no sense (no turns, a placeholder count that does not match the images, ...).
    #[error("{subject}: found {found}, expected {wanted}; {remedy}")]
    Request {
        /// The subject of the request ("prompt", "images", ...).
        subject: String,
        /// The value given.
        found: String,
        /// Values that would do.
        wanted: String,
        /// The remedy.
        remedy: Box<str>,
    },
}

impl From<LoadError> for VlmError {
    fn from(error: LoadError) -> Self {
        Self::Text(Box::new(error))
    }
}

impl LoadError {
    /// The file that the error is about, when there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::MissingFile { path, .. }
            | Self::Io { path, .. }
            | Self::Json { path, .. }
            | Self::LfsPointer { path, .. }
            | Self::Config { path, .. }
            | Self::UnsupportedArchitecture { path, .. }
            | Self::Weights { path, .. }
            | Self::MissingShard { path, .. }
            | Self::MissingTensor { path, .. }
            | Self::TensorShape { path, .. }
            | Self::TensorDtype { path, .. }
            | Self::Tokenizer { path, .. }
            | Self::Template { path, .. } => Some(path),
            Self::Image(error) => Some(error.path()),
            Self::Request { .. } => None,
        }
    }

    /// A failed read of `path`: [`LoadError::MissingFile`] when it is absent, [`LoadError::Io`] otherwise.
    pub(crate) fn read(path: &Path, wanted: &str, remedy: &str, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            Self::MissingFile {
                path: path.into(),
                wanted: wanted.into(),
                remedy: remedy.into(),
            }
        } else {
            Self::Io {
                path: path.into(),
                action: "read",
                remedy: remedy.into(),
                source,
            }
        }
    }

    /// Refuses a file that begins with `bytes` if it is a pointer of git-lfs.
    pub(crate) fn check_pointer(path: &Path, bytes: &[u8], wanted: &str) -> Result<(), Self> {
        if !is_lfs_pointer(bytes) {
            return Ok(());
        }
        Err(Self::LfsPointer {
            path: path.into(),
            wanted: wanted.into(),
            remedy: LFS_REMEDY.into(),
        })
    }

    /// A failed write of `path`.
    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        let remedy = "check that the folder exists, is writable and has space left".into();
        Self::Io {
            path: path.into(),
            action: "write",
            remedy,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_file_found_wanted_and_remedy() {
        let error = LoadError::Config {
            path: "dir/config.json".into(),
            field: "vision_config.patch_size".into(),
            found: "0".into(),
            wanted: "a positive number".into(),
            remedy: "restore the published file".into(),
        };
        let text = error.to_string();
        for part in [
            "dir/config.json",
            "vision_config.patch_size",
            "0",
            "a positive number",
            "restore",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert_eq!(error.path(), Some(Path::new("dir/config.json")));
    }

    #[test]
    fn an_absent_file_is_not_a_read_failure() {
        let absent = std::io::Error::from(std::io::ErrorKind::NotFound);
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let path = Path::new("a");
        assert!(matches!(
            LoadError::read(path, "x", "y", absent),
            LoadError::MissingFile { .. }
        ));
        assert!(matches!(
            LoadError::read(path, "x", "y", denied),
            LoadError::Io { .. }
        ));
    }
}
