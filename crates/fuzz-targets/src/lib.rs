//! Everything that reads what others wrote, as functions of bytes. Each must end with a value or an error, whatever the bytes
//! are: no panic, no run of more than five seconds, no allocation of more than a gibibyte.
//!
//! `cargo xtask fuzz` mutates the stored corpus, `cargo fuzz` finds its own way (`fuzz/` of the repository); the tests replay
//! the corpus.

mod mutate;
mod served;
mod shaped;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

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

/// Hands bytes to the target of that name, for engines that start a program for each target.
///
/// # Panics
/// When the target does, when there is none of that name, or when the files that targets need cannot be prepared.
pub fn run(target: &str, bytes: &[u8]) {
    static BENCH: LazyLock<Bench> =
        LazyLock::new(|| Bench::new().expect("room for the files of the targets"));
    let found = TARGETS.iter().find(|known| known.name == target);
    let found = found.unwrap_or_else(|| panic!("found no target {target}"));
    (found.run)(&BENCH, bytes);
}
