//! Writing files whole or not at all.

use std::path::Path;

use diffprune_files::{replace_whole, write_whole};

use crate::MiniError;

/// Writes one of many files that can be made again: a reader finds the old file or the new one, no half of one.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), MiniError> {
    replace_whole(path, bytes).map_err(|error| MiniError::io("write", path)(error.into()))
}

/// Writes a text that ends in one newline: after a crash there is the old file or the new one.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), MiniError> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write_whole(path, format!("{text}{end}")).map_err(|error| MiniError::io("write", path)(error.into()))
}
