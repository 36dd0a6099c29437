//! The crate's results against those of the reference implementations, for every case found.

mod bad_input;
mod bad_next;
mod cases;
mod conversation;
mod language;
mod llava15;
mod llava_case;
mod llava_next;
mod llava_ragged;
#[cfg(target_os = "linux")]
mod memory;
mod positions;
mod preprocess;
mod qwen25vl;
mod qwen_bad_input;
mod qwen_batch;
mod qwen_preprocess;
mod signals;
mod tensors;
mod tokenizers;
mod vit;
mod weights;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Tests report any failure to read their oracles as an error.
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The repository's own fixtures.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");

/// A file or folder among the oracles.
fn fixture(part: &str) -> PathBuf {
    oracles().join("hf").join(part)
}

/// The folder of all oracles.
fn oracles() -> PathBuf {
    std::env::var_os("DIFFPRUNE_FIXTURES").map_or_else(|| SHIPPED.into(), PathBuf::from)
}

/// A file or folder of the repository, wherever the oracles are: sound input for tests that damage it.
fn shipped(part: &str) -> PathBuf {
    PathBuf::from(SHIPPED).join("hf").join(part)
}

/// The contents of a json oracle.
fn json(part: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let path = fixture(part);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// The files or folders in `part` whose names satisfy `wanted`, in order; at least one.
fn entries(part: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    entries_of(&fixture(part), wanted)
}

/// Like [`entries`], of any folder.
fn entries_of(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        names.extend(entry?.file_name().into_string().ok().filter(|name| wanted(name)));
    }
    assert!(!names.is_empty(), "nothing suitable in {}", dir.display());
    names.sort();
    Ok(names)
}
