//! Shared by the tests of several packages: the folder of the stored numbers, and the oracle of the transformer block that
//! scorer and denoiser are both made of. Its functions panic where a test should fail.

pub mod encoder_block;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The root of the stored numbers: `DIFFPRUNE_FIXTURES`, or the folder `fixtures` of the repository.
pub fn fixtures() -> PathBuf {
    std::env::var_os("DIFFPRUNE_FIXTURES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures")),
        PathBuf::from,
    )
}

/// The number of random cases of a property: `usual`, times the number in `DIFFPRUNE_TIMES_CASES` where that is set.
///
/// # Panics
/// When the variable is no positive whole number.
pub fn cases(usual: u32) -> u32 {
    let Some(times) = std::env::var_os("DIFFPRUNE_TIMES_CASES") else {
        return usual;
    };
    let times = times.to_str().and_then(|times| times.parse::<u32>().ok());
    match times.and_then(|times| usual.checked_mul(times)) {
        Some(cases) if cases > 0 => cases,
        _ => panic!("DIFFPRUNE_TIMES_CASES: expected a positive whole number"),
    }
}

/// Numbers between 0 and 1 on the CPU, the same in every run: Burn's own draws share one state among the threads of a
/// test program.
pub fn uniform<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..shape.iter().product()).map(|_| unit(&mut random) as f32);
    Tensor::from_data(TensorData::new(values.collect(), shape), &Device::flex())
}

/// As [`uniform`], from the standard normal distribution.
pub fn normal<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..shape.iter().product()).map(|_| {
        let (radius, turn) = ((-2.0 * unit(&mut random).ln()).sqrt(), unit(&mut random));
        (radius * (std::f64::consts::TAU * turn).cos()) as f32
    });
    Tensor::from_data(TensorData::new(values.collect(), shape), &Device::flex())
}

/// Strictly between 0 and 1.
fn unit(random: &mut ChaCha8Rng) -> f64 {
    (f64::from(random.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0)
}

/// Copies a folder with all that is in it; files get the permissions of new ones, so that copies can be changed.
///
/// # Panics
/// When something cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) {
    let copy = || -> std::io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let path = entry?.path();
            let target = to.join(path.file_name().unwrap_or_default());
            if path.is_dir() {
                copy_tree(&path, &target);
            } else {
                fs::write(target, fs::read(path)?)?;
            }
        }
        Ok(())
    };
    copy().unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.display()));
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
