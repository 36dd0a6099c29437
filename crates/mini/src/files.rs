//! Writing files whole or not at all.

use crate::MiniError;
use std::io::{self, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// Writes `bytes` beside the target and renames: after a crash there is the old file or the new one, no half of one.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), MiniError> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = new_file(folder).map_err(MiniError::io("write", path))?;
    file.write_all(bytes).map_err(MiniError::io("write", path))?;
    file.persist(path)
        .map_err(|error| MiniError::io("write", path)(error.error))?;
    Ok(())
}

/// [`write_bytes`] of a text that ends in one newline.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), MiniError> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write_bytes(path, format!("{text}{end}").as_bytes())
}

/// A file of an unused name that goes away unless it is kept, readable as other new files are.
fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}
