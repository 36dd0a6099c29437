//! Folders and JSON files, with errors that name them.

use std::path::Path;

use diffprune_files::write_whole;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::LabError;

/// Makes a folder and those above it.
///
/// # Errors
/// When the system refuses.
pub fn make_folder(dir: &Path) -> Result<(), LabError> {
    std::fs::create_dir_all(dir).map_err(|source| LabError::Folder {
        path: dir.into(),
        source,
    })
}

/// Writes a value as indented JSON, whole or not at all.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), LabError> {
    Ok(write_whole(path, &serde_json::to_vec_pretty(value)?)?)
}

/// Reads what [`write_json`] wrote; `wanted` says what that was.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, wanted: &'static str) -> Result<T, LabError> {
    let bytes = std::fs::read(path).map_err(LabError::io(path, "read"))?;
    serde_json::from_slice(&bytes).map_err(|source| LabError::Json {
        path: path.into(),
        wanted,
        source,
    })
}

/// The last part of a folder's path, links resolved.
pub(crate) fn folder_name(dir: &Path) -> Option<String> {
    let path = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}
