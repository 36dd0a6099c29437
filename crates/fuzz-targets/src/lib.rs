//! Everything that reads what others wrote, as functions of bytes. Each must end with a value or an error, whatever the bytes
//! are: no panic, no run of more than five seconds, no allocation of more than a gibibyte.
//!
//! `cargo xtask fuzz` mutates the stored corpus; the tests replay it.

mod mutate;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

pub use mutate::Mutator;
pub use targets::{Bench, TARGETS, Target};

/// The folder of the stored corpus: a folder for each target.
pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The stored inputs of a target, by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn inputs(target: &str) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(corpus().join(target))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        inputs.push((name, fs::read(&path)?));
    }
    inputs.sort();
    Ok(inputs)
}
