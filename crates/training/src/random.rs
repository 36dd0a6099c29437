//! Randomness without state.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A generator that is a pure function of the run's seed, a stream and a step.
///
/// A stream is one use of randomness (order of the data, noise, dropout of tokens, …). A resumed run draws what the
/// uninterrupted one would have drawn, since nothing carries over from one step to the next.
pub fn rng(seed: u64, stream: u64, step: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (part, value) in key
        .chunks_exact_mut(8)
        .zip([seed, stream, step, 0x6469_6666_7072_756e])
    {
        part.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn every_coordinate_matters_and_repeats() {
        let draw = |seed, stream, step| rng(seed, stream, step).next_u64();
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        let all = [
            draw(1, 2, 3),
            draw(2, 2, 3),
            draw(1, 3, 3),
            draw(1, 2, 4),
            draw(3, 2, 1),
        ];
        for (i, left) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|right| left != right));
        }
    }
}
