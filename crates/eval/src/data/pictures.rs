//! Finding pictures.

use std::path::{Path, PathBuf};

/// Endings tried beside the one that a file names.
const ENDINGS: [&str; 4] = ["jpg", "png", "jpeg", "JPEG"];

/// The picture `name` in `folder`, or the same stem with another known ending.
pub(crate) fn find_picture(folder: &Path, name: &str) -> Option<PathBuf> {
    let exact = folder.join(name);
    if !name.is_empty() && exact.is_file() {
        return Some(exact);
    }
    let stem = ENDINGS
        .iter()
        .find_map(|ending| name.strip_suffix(&format!(".{ending}")))
        .unwrap_or(name);
    ENDINGS
        .iter()
        .map(|ending| folder.join(format!("{stem}.{ending}")))
        .find(|path| path.is_file())
}
