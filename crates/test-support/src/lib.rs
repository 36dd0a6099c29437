//! What the tests of several packages share: where the stored numbers lie, and the oracle of the transformer block that
//! scorer and denoiser are both made of. Its functions panic where a test should fail.

pub mod encoder_block;

use std::path::PathBuf;

/// The root of the stored numbers: `DIFFPRUNE_FIXTURES`, or the folder `fixtures` of the repository.
pub fn fixtures() -> PathBuf {
    std::env::var_os("DIFFPRUNE_FIXTURES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")),
        PathBuf::from,
    )
}

/// Fails with all of these failures, if there are any.
///
/// # Panics
/// When the list is not empty.
pub fn none_failed(failures: &[String]) {
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
