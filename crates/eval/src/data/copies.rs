//! Folders that hold parquet copies instead of the official files.

use std::path::{Path, PathBuf};

/// The first parquet file below a folder, folders and files in alphabetical order.
pub(crate) fn parquet_copy(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let is_copy =
        |path: &&PathBuf| path.is_file() && path.extension().is_some_and(|ending| ending == "parquet");
    let here = paths.iter().find(is_copy).cloned();
    here.or_else(|| {
        paths
            .iter()
            .filter(|path| path.is_dir())
            .find_map(|dir| parquet_copy(dir))
    })
}
