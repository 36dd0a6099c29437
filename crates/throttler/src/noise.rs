//! Noise that can be drawn again: by seed and step, on any device, with any number of threads.

use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::normal;

/// Numbers drawn in one go, from as many words of the stream.
const BLOCK: usize = 1024;
/// Part of the key, so that another user of the same seed (data order, Gumbel noise) gets other bits.
const DOMAIN: [u8; 16] = *b"diffprune/noise\0";

/// Standard normal noise for one training step, f32.
///
/// Drawn on the host from ChaCha8 with `seed` in the key and `step` as the stream, and by arithmetic of
/// its own: the same bits on every machine, device and thread count, and independent of the order in
/// which steps are drawn. A tensor with more tokens starts with the numbers of a smaller one of the
/// same seed and step (in row-major order).
///
/// # Shapes
/// - output: `shape`, on `device`
pub fn noise(shape: [usize; 3], seed: u64, step: u64, device: &Device) -> Tensor<3> {
    let mut values = vec![0.0_f32; shape.iter().product()];
    values
        .par_chunks_mut(BLOCK)
        .enumerate()
        .with_min_len(16)
        .for_each_init(
            || stream(seed, step),
            |rng, (block, values)| {
                rng.set_word_pos((block * BLOCK) as u128);
                fill(rng, values);
            },
        );
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

fn stream(seed: u64, step: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&DOMAIN);
    key[16..24].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(step);
    rng
}

/// Fills at most one block from the words at the generator's place.
fn fill(rng: &mut ChaCha8Rng, values: &mut [f32]) {
    let mut bytes = [0; 4 * BLOCK];
    rng.fill_bytes(&mut bytes);
    let (words, _) = bytes.as_chunks::<4>();
    let (radii, angles) = words.split_at(BLOCK / 2);
    let mut drawn = [0.0; BLOCK];
    let (cosines, sines) = drawn.split_at_mut(BLOCK / 2);
    for i in 0..BLOCK / 2 {
        (cosines[i], sines[i]) = normal::pair(u32::from_le_bytes(radii[i]), u32::from_le_bytes(angles[i]));
    }
    values.copy_from_slice(&drawn[..values.len()]);
}
