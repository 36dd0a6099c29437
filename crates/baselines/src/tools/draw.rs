//! Random draws that depend on the seed and the sample only.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The stream of one image for one method; `method` keeps the streams of different methods apart.
pub(crate) fn stream(method: u64, seed: u64, sample_id: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&sample_id.to_le_bytes());
    key[16..24].copy_from_slice(&method.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// A random order of `0..n`; its first `k` entries are a draw of `k` without replacement.
pub(crate) fn shuffled(n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for place in 0..n.saturating_sub(1) {
        let other = rng.random_range(place as u64..n as u64) as usize;
        order.swap(place, other);
    }
    order
}

/// One number of `0..n`.
pub(crate) fn one_of(n: usize, rng: &mut ChaCha8Rng) -> usize {
    rng.random_range(0..n as u64) as usize
}
